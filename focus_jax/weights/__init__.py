"""Weights of others, read into ours; ours kept as plain files; those of a run, read for use.

Imports everything up to `forward`. Read this module (variables as a plain file), `run` (a trained
model), `hub` (others', fetched), `checkpoint` (the state of a training), `recognizer`, then `torch`
with its readers `torch_file` and `onnx`, and `dlib`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as serialize

from focus_jax.system import content
from focus_jax.system.files import user_path, write_whole

__all__ = ["check_shapes", "flatten", "halved", "load", "load_like", "save", "unflatten"]


def flatten(variables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested Flax variables as one dictionary, 'params/conv1/kernel' and so on."""
    flat = {}
    for name, value in variables.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}/"))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict:
    """The inverse of `flatten`. ValueError where a name is an array's and a group's, too."""
    variables: dict = {}
    for name, value in flat.items():
        *path, last = name.split("/")
        place = variables
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ValueError(f"{name} is below {part}, which is an array itself; rename one")
        if last in place:
            raise ValueError(f"{name} is an array, and others are below it; rename one")
        place[last] = value
    return variables


def halved(variables: Mapping[str, Any]) -> dict:
    """Variables in half precision; an array with numbers beyond 65,504 in single, as they are.

    Such are variances of batch norm; in half precision they would be infinite.
    """

    def half(array: Any) -> np.ndarray:
        single = np.asarray(array, np.float32)
        holds = np.abs(single) <= np.finfo(np.float16).max
        return single.astype(np.float16) if holds.all() else single

    return unflatten({name: half(array) for name, array in flatten(variables).items()})


def save(path: str | Path, variables: dict) -> None:
    """Write variables as a safetensors file, whole or not at all; OSError where that cannot be."""
    path = user_path(path)
    # As `np.ascontiguousarray`, which would make arrays of single numbers.
    arrays = {name: np.asarray(value, order="C") for name, value in flatten(variables).items()}
    try:
        # safetensors' own writer makes files that nobody else may read.
        write_whole(Path(path), serialize(arrays))
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror}") from None


def load(path: str | Path) -> dict:
    """Variables that `save` wrote, or `focus-jax weights import`.

    Raises ValueError for another kind of file, FileNotFoundError for none.
    """
    path = user_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        flat = load_file(str(path))
    except SafetensorError as error:
        what = content.of_file(path).name
        detail = error if what == content.UNKNOWN else f"it is {what}"
        raise ValueError(
            f"{path} is not a safetensors file ({detail}); a PyTorch checkpoint becomes one by "
            "`focus-jax weights import`"
        ) from error
    try:
        return unflatten(flat)
    except ValueError as error:
        raise ValueError(f"{path} has names that clash: {error}") from None


def load_like(path: str | Path, like: dict, *, what: str) -> dict:
    """`load`, for the network that has the variables or the `jax.eval_shape` tree `like`.

    Raises ValueError with every name that differs; `what` names the network in it.
    """
    flat, expected = flatten(load(path)), flatten(like)
    try:
        check_shapes(flat, {name: tuple(value.shape) for name, value in expected.items()})
    except ValueError as error:
        raise ValueError(f"{path} is not for {what}: {error}") from None
    return unflatten({name: flat[name].astype(value.dtype) for name, value in expected.items()})


def check_shapes(found: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError with all names that are unknown, missing or of another shape."""
    problems = [f"unknown: {name}" for name in found if name not in expected]
    problems += [f"missing: {name}" for name in expected if name not in found]
    problems += [
        f"shape of {name}: {np.shape(found[name])}, not {shape}"
        for name, shape in expected.items()
        if name in found and np.shape(found[name]) != shape
    ]
    if problems:
        raise ValueError(
            f"the weights do not fit the network ({len(problems)}): " + "; ".join(problems)
        )
