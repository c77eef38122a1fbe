"""Weights of others, read into ours, and ours kept as plain files."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

__all__ = ["flatten", "load", "save", "unflatten"]


def flatten(variables: dict, prefix: str = "") -> dict[str, np.ndarray]:
    """Nested Flax variables as one dictionary, 'params/conv1/kernel' and so on."""
    flat = {}
    for name, value in variables.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{name}/"))
        else:
            flat[f"{prefix}{name}"] = np.asarray(value)
    return flat


def unflatten(flat: dict[str, np.ndarray]) -> dict:
    """The inverse of `flatten`."""
    variables: dict = {}
    for name, value in flat.items():
        *path, last = name.split("/")
        place = variables
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return variables


def save(path: str | Path, variables: dict) -> None:
    """Write variables as a safetensors file."""
    arrays = {name: np.ascontiguousarray(value) for name, value in flatten(variables).items()}
    save_file(arrays, str(path))


def load(path: str | Path) -> dict:
    """Variables that `save` wrote, or `python -m focus_jax.weights import`.

    Raises ValueError for another kind of file, FileNotFoundError for none.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        return unflatten(load_file(str(path)))
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a safetensors file ({error}); a PyTorch checkpoint becomes one by "
            "`python -m focus_jax.weights import`"
        ) from error
