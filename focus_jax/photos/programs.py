"""Programs that were compiled once, kept whole: a command that ran before traces nothing.

JAX's own cache keeps what XLA made, but each process must trace and lower a function to know which
of them it needs, which takes several times as long as reading them. Here a program is known by
what it was made of: the package's code, versions, the machine, settings, and its arguments' shapes.
On one CPU device, where JAX keeps programs (`system.command.keep_programs`); elsewhere it is
`jax.jit`.
"""

import contextlib
import functools
import hashlib
import math
import os
import pickle
import platform
import secrets
import tempfile
from collections.abc import Callable, Generator, Hashable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.experimental import serialize_executable

from focus_jax.rendering import rasterize
from focus_jax.system import cpu

PACKAGES = ("jax", "jaxlib", "flax", "warp-lang", "numpy")
KEPT = 8  # programs of one function: sizes of batches and models, and versions of the code


_listeners: list[Callable[[str], object]] = []


@contextlib.contextmanager
def telling(listener: Callable[[str], object]) -> Generator[None]:
    """Say to `listener`, in a few words, which program is being compiled."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


class _Kept(NamedTuple):
    """A file's content. Like XLA's own it is run as it is: the folder is the user's own."""

    executable: bytes
    out: Any  # as the function's result, with numbers for arrays
    solves: bool  # by LAPACK, which JAX loads when it lowers a function that asks for it


def program(function: Callable, *, static: tuple[str, ...] = ()) -> Callable:
    """`jax.jit` of a function whose `static` arguments, hashable, are given by keyword."""
    jitted = jax.jit(function, static_argnames=static)
    ready: dict[Hashable, Callable] = {}

    @functools.wraps(function)
    def call(*arguments: Any, **fixed: Any) -> Any:
        leaves, tree = jax.tree.flatten(arguments)
        folder = _folder()
        if folder is None or any(isinstance(leaf, Tracer) for leaf in leaves):
            return jitted(*arguments, **fixed)
        shapes = tuple((np.shape(x), jax.dtypes.canonicalize_dtype(x.dtype)) for x in leaves)
        key = tree, shapes, tuple(sorted(fixed.items()))
        if key not in ready:
            # Modules of Flax print all that they are made of; an address would be of one process.
            made_of = f"{function.__module__}.{function.__qualname__} {key}"
            if " at 0x" in made_of:
                return jitted(*arguments, **fixed)
            name = _digest(f"{_surroundings()} {made_of}")
            path = folder / f"{function.__name__.strip('_')}-{name}.program"
            ready[key] = _read(path, tree) or _make(path, function, arguments, fixed)
        return ready[key](*arguments)

    return call


def _folder() -> Path | None:
    """Where programs lie; None where they are not kept."""
    place = jax.config.values["jax_compilation_cache_dir"]
    if not place or "://" in place or jax.default_backend() != "cpu" or jax.device_count() != 1:
        return None
    return Path(place)


def _read(path: Path, tree: Any) -> Callable | None:
    """The program of a file, for arguments of that structure; None where there is none, whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, content = content[:32], content[32:]
    if hashlib.sha256(content).digest() != digest:
        return None
    kept = pickle.loads(content)
    rasterize.expect_programs()
    if kept.solves:
        _load_lapack()
    given = jax.tree.structure((jax.tree.unflatten(tree, range(tree.num_leaves)), {}))
    out = jax.tree.structure(kept.out)
    return serialize_executable.deserialize_and_load(kept.executable, given, out, "cpu")


def _make(path: Path, function: Callable, arguments: tuple, fixed: dict[str, Any]) -> Callable:
    """The program, compiled and kept."""

    def named(*arguments: Any) -> Any:
        return function(*arguments, **fixed)

    # By a name of its own, so that it does not come out of JAX's cache: what has been read from a
    # file once is not whole when XLA writes it again. Nor needs it to go there.
    name = f"{function.__name__}_{secrets.token_hex(8)}"
    named.__name__ = name
    least = jax.config.values["jax_persistent_cache_min_compile_time_secs"]
    jax.config.update("jax_persistent_cache_min_compile_time_secs", math.inf)
    try:
        lowered = jax.jit(named).lower(*arguments)
        # Code that was changed elsewhere makes the same program, which another name has already.
        # With its arguments, of which those that the function does not use are not in the text.
        given = [(np.shape(x), str(x.dtype)) for x in jax.tree.leaves(arguments)]
        about = f"{_Kept._fields} {lowered.in_tree} {given} {lowered.out_tree}"
        program_text = lowered.as_text()
        text = f"{_surroundings()[1]} {about} {program_text}".replace(name, "")
        made_of = path.with_name(path.name.partition("-")[0] + f"-{_digest(text)}.made")
        if same := _read(made_of, jax.tree.structure(arguments)):
            _write(path, made_of.read_bytes())
            return same
        for tell in _listeners:
            tell(f"compiling {function.__name__.strip('_')}, once")
        compiled = lowered.compile()
    finally:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", least)
    executable, _, out = serialize_executable.serialize(compiled)
    numbered = jax.tree.unflatten(out, range(out.num_leaves))
    kept = _Kept(executable, numbered, "lapack" in program_text)
    content = pickle.dumps(kept)
    for place in (made_of, path):
        _write(place, hashlib.sha256(content).digest() + content)
    return compiled


@functools.cache
def _load_lapack() -> None:
    """What a program that was compiled elsewhere calls would not be there: it would crash."""
    jax.jit(jnp.linalg.solve).lower(np.eye(1, dtype=np.float32), np.ones(1, np.float32))


def _write(path: Path, content: bytes) -> None:
    """Write a file whole, and remove the oldest of its kind; what fails costs only time."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as part:
            part.write(content)
        os.replace(part.name, path)
        kind = path.parent.glob(f"{path.name.partition('-')[0]}-*{path.suffix}")
        for old in sorted(kind, key=lambda p: p.stat().st_mtime)[:-KEPT]:
            old.unlink(missing_ok=True)
    except OSError:
        pass  # a full disk, or another process that tidies up as well


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@functools.cache
def _surroundings() -> tuple[str, str]:
    """What every program depends on beside its function and its arguments: code, and the rest."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    settings = {k: v for k, v in jax.config.values.items() if "cache" not in k}
    packages = [(name, version(name)) for name in PACKAGES]
    flags = cpu.told().get("XLA_FLAGS", os.environ.get("XLA_FLAGS"))
    return digest.hexdigest(), f"{packages} {flags} {_processor()} {sorted(settings.items())}"


def _processor() -> str:
    """The processor, whose instructions a program uses."""
    lines = Path("/proc/cpuinfo")
    told = [platform.machine(), platform.processor(), platform.python_version()]
    if lines.exists():
        wanted = ("model name", "flags", "Features")
        told += sorted({line for line in lines.open() if line.startswith(wanted)})
    return " ".join(told)
