"""Read the pickles that face models are passed around in, without running code from them.

`system.pickles` reads; here are the kinds that face models bring beside arrays, namely sparse
matrices and chumpy's arrays, which come in as stand-ins that keep what the file says of them, and
are built from that afterwards.
"""

import io
import math
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from focus_jax.system.damage import DAMAGED
from focus_jax.system.pickles import Array, Inert, Reader, RefusedError

LARGEST_DENSE = 10**8  # numbers that a sparse matrix may have when written out


def read_pickle(path: Path) -> Any:
    """Numbers, strings, containers and NumPy arrays of a pickle; sparse matrices are made dense.

    `Inert` where something is left unread: chumpy's expressions, objects of other classes.
    ValueError, in one sentence, for a file that is damaged.
    """
    with path.open("rb") as file:
        return _read(file, path)


def read_npy(path: Path) -> Any:
    """The content of an .npy file, pickled objects too, as `read_pickle` reads them."""
    with path.open("rb") as file:
        return _read_npy(file, path)


def read_npz(path: Path) -> dict[str, Any]:
    """All arrays of an npz by their keys, each as `read_npy` reads them."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = {}
            for name in archive.namelist():
                with archive.open(name) as file:
                    found[name.removesuffix(".npy")] = _read_npy(file, path)
            return found
    except ValueError:  # of one of the arrays, which says what is wrong
        raise
    except DAMAGED:
        raise ValueError(f"{path} cannot be read as npz, or is truncated") from None


def _read_npy(file: Any, path: Path) -> Any:
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            header = np.lib.format.read_array_header_1_0(file)
        else:
            header = np.lib.format.read_array_header_2_0(file)
        if not header[2].hasobject:
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)
    except DAMAGED:
        raise ValueError(f"{path} cannot be read as .npy, or is truncated") from None
    return _read(file, path)


def _read(file: io.BufferedIOBase, path: Path) -> Any:
    # latin1: bytes of Python 2 come as text of the same codes.
    try:
        return _plain(Reader(file, encoding="latin1", known=_stand_in).load(), {})
    except RefusedError as error:
        raise ValueError(f"{path}: {error}") from None
    except DAMAGED as error:
        detail = str(error) or type(error).__name__
        raise ValueError(f"{path} cannot be read as a pickle, or is truncated: {detail}") from None


# --- stand-ins, which keep what the file says ----------------------------------------------------


class _Sparse:
    """A sparse matrix of scipy."""

    kind = ""
    state: Any = None

    def __setstate__(self, state: dict[Any, Any]) -> None:
        self.state = state

    def plain(self, inside: Callable[[Any], Any]) -> np.ndarray:
        found = {key: inside(value) for key, value in (self.state or {}).items()}
        shape = found.get("_shape", found.get("shape"))
        if not isinstance(shape, tuple) or math.prod(shape) > LARGEST_DENSE:
            raise ValueError(f"a sparse matrix of shape {shape}")
        if self.kind == "coo":
            row, column = found["coords"] if "coords" in found else (found["row"], found["col"])
            matrix = scipy.sparse.coo_matrix((found["data"], (row, column)), shape)
        else:
            build: Any = {"csc": scipy.sparse.csc_matrix, "csr": scipy.sparse.csr_matrix}[self.kind]
            matrix = build((found["data"], found["indices"], found["indptr"]), shape)
            matrix.check_format(full_check=True)  # indices beyond the shape would write elsewhere
        return matrix.toarray()


class _Chumpy:
    """An array of chumpy, or an expression of several, which has no numbers of its own."""

    named = ""
    state: Any = None

    def __setstate__(self, state: dict[Any, Any]) -> None:
        self.state = state

    def plain(self, inside: Callable[[Any], Any]) -> Any:
        if isinstance(self.state, dict) and "x" in self.state:
            return inside(self.state["x"])
        return Inert.of(self.named)


def _stand_in(module: str, name: str) -> Any:
    kind = re.fullmatch(r"(csc|csr|coo)_(matrix|array)", name)
    if module.startswith("scipy.sparse") and kind:
        return type(name, (_Sparse,), {"kind": kind[1]})
    if module.partition(".")[0] == "chumpy":
        return type(name, (_Chumpy,), {"named": f"{module}.{name}"})
    return None


def _plain(content: Any, made: dict[int, Any]) -> Any:
    """What the stand-ins inside containers stand for; what occurs twice is made once."""
    if not isinstance(content, Array | _Sparse | _Chumpy | dict | list | tuple):
        return content
    if id(content) not in made:

        def inside(item: Any) -> Any:
            return _plain(item, made)

        if isinstance(content, dict):
            found: Any = {key: inside(value) for key, value in content.items()}
        elif isinstance(content, list | tuple):
            found = type(content)(map(inside, content))
        else:
            found = content.plain(inside)
        made[id(content)] = found
    return made[id(content)]
