"""The project's own face-model format: one npz of plain arrays (format "focus_jax 2").

Keys are the fields of `types.FaceModel`, and `format`; `expression_mean`, `name`, `units`,
`licence` and the two of dense landmarks, these together, may be absent. Bases are `[v 3 k]` with
one standard deviation per unit, in any float type; see `FaceModel` for the other shapes. Two things
are new since "focus_jax 1", which is read too. A basis may be of integers, `KEY_step` beside it
being what 1 is worth. And `expression_basis` may be given as `expression_units [v 3 52]`, the 52
ARKit units at full weight (`arkit`), and `expression_mixture [52 e]`, the weights that make up each
mode.
"""

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from focus_jax.system.damage import DAMAGED
from focus_jax.system.files import write_npz
from focus_jax.types import REGIONS, FaceModel

FORMAT = "focus_jax 2"
FORMATS = ("focus_jax 1", FORMAT)
SHAPES: dict[str, tuple[Any, ...]] = {  # letters stand for sizes that must agree
    "shape_mean": ("v", 3),
    "identity_basis": ("v", 3, "i"),
    "expression_basis": ("v", 3, "e"),
    "albedo_mean": ("v", 3),
    "albedo_basis": ("v", 3, "a"),
    "triangles": ("t", 3),
    "landmark_vertices": (68, 3),
    "landmark_weights": (68, 3),
    "region": ("v",),
    "uv": ("v", 2),
}
OPTIONAL: dict[str, tuple[Any, ...]] = {
    "expression_mean": ("v", 3),
    "dense_landmark_vertices": (478, 3),
    "dense_landmark_weights": (478, 3),
}
VERTICES = ("triangles", "landmark_vertices", "dense_landmark_vertices")  # indices of these


class _MisfitError(Exception):
    pass


def recognizes(path: Path) -> bool:
    """Whether a file is an npz with all that a face model of this format has."""
    if not (path.is_file() and zipfile.is_zipfile(path)):
        return False
    try:
        return set(SHAPES) <= set(names(path))
    except ValueError:
        return False  # damaged, which `read_arrays` says


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an npz. ValueError, in one sentence, for files that are missing or broken."""
    if not path.is_file():
        raise ValueError(f"the face model {path} does not exist; give 'builtin' or a file's path")
    try:
        with path.open("rb") as opened:
            loaded = np.load(opened, allow_pickle=False)
            if isinstance(loaded, np.ndarray):  # a lone array, .npy, has no keys
                raise ValueError("not an npz")
            return {name: loaded[name] for name in loaded.files}
    except DAMAGED:
        raise ValueError(
            f"{path} is not a face model: it cannot be read as npz, or is truncated"
        ) from None


def names(path: Path) -> list[str]:
    """Keys of an npz. ValueError for files that are broken."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except DAMAGED:
        raise ValueError(f"{path} cannot be read as npz, or is truncated") from None


def read_array(path: Path, key: str) -> np.ndarray:
    """One array of an npz, the others unread. ValueError for keys that are missing or broken."""
    if key not in names(path):
        raise ValueError(f"{path} lacks the key {key!r}")
    try:
        with np.load(path, allow_pickle=False) as loaded:
            return loaded[key]
    except DAMAGED:
        raise ValueError(f"{path}: {key!r} cannot be read, or is truncated") from None


def read_rows(
    path: Path, key: str, wanted: Int[np.ndarray, "n"], *, rows: int, width: int, count: int
) -> np.ndarray:
    """Rows of an array that is `rows` x `width` x modes, in whatever shape: `[n width count]`.

    The texture models have a gigabyte, of which a face needs a fiftieth: it is read once through,
    in pieces. ValueError if the array has another size.
    """
    if key not in names(path):
        raise ValueError(f"{path} lacks the key {key!r}")
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as file:
            version = np.lib.format.read_magic(file)
            read_header = np.lib.format.read_array_header_1_0
            if version != (1, 0):
                read_header = np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read_header(file)
            if dtype.hasobject or len(shape) < 2 or math.prod(shape[:-1]) != rows * width:
                raise _MisfitError(
                    f"{path}: {key!r} has the shape {shape} for {rows} x {width} values"
                )
            if fortran:  # the last axis is the slowest: nothing can be left out
                whole = read_array(path, key).reshape(rows, width, shape[-1])
                return whole[wanted, :, :count]
            modes = shape[-1]
            found = np.empty((len(wanted), width, min(count, modes)), dtype)
            order = np.argsort(wanted, kind="stable")
            start, step = 0, max(1, 2**24 // (width * modes * dtype.itemsize))
            for first in range(0, rows, step):
                stop = start + np.searchsorted(wanted[order[start:]], first + step)
                piece = file.read(min(step, rows - first) * width * modes * dtype.itemsize)
                if stop > start:
                    values = np.frombuffer(piece, dtype).reshape(-1, width, modes)
                    found[order[start:stop]] = values[wanted[order[start:stop]] - first, :, :count]
                start = stop
            return found
    except _MisfitError as error:
        raise ValueError(str(error)) from None
    except DAMAGED:
        raise ValueError(f"{path}: {key!r} cannot be read, or is truncated") from None


def from_arrays(arrays: dict[str, np.ndarray], path: Path) -> FaceModel:
    """The face model that the arrays make up; a ValueError names the first key that is wrong."""
    if str(arrays.get("format")) not in FORMATS:
        raise ValueError(f"{path} is not a face model: its key 'format' is not {FORMAT!r}")
    arrays = unpacked(arrays, path)
    sizes: dict[str, int] = {}
    fields: dict[str, Any] = {}
    for key, shape in (SHAPES | OPTIONAL).items():
        if key not in arrays:
            if key in OPTIONAL:
                continue
            raise ValueError(f"{path} lacks the key {key!r} of a face model")
        array = arrays[key]
        wanted = tuple(sizes.get(n, n) if isinstance(n, str) else n for n in shape)
        fits = array.ndim == len(wanted) and all(
            isinstance(w, str) or w == n for w, n in zip(wanted, array.shape, strict=True)
        )
        if not fits:
            raise ValueError(f"{path}: {key!r} has the shape {array.shape} instead of {wanted}")
        sizes |= {n: s for n, s in zip(shape, array.shape, strict=True) if isinstance(n, str)}
        limit = {**dict.fromkeys(VERTICES, sizes["v"]), "region": len(REGIONS)}
        if key in limit:
            fields[key] = as_indices(array, limit[key], key, path)
        else:
            fields[key] = as_floats(array, key, path)
    sums = fields["landmark_weights"].sum(axis=1)
    if np.abs(sums - 1).max() > 1e-3:
        raise ValueError(f"{path}: 'landmark_weights' has rows that do not sum to 1")
    _check_dense(fields, path)
    mean, triangles = fields["shape_mean"], fields["triangles"]
    check_size(mean, path)
    if (outward(mean, triangles) != triangles).any():
        raise ValueError(f"{path}: 'triangles' are clockwise seen from outside; turn them round")
    names = {k: str(arrays[k]) for k in ("name", "units", "licence") if k in arrays}
    return FaceModel(**fields, **names)


def outward(
    mean: Float[np.ndarray, "n 3"], triangles: Int[np.ndarray, "m 3"]
) -> Int[np.ndarray, "m 3"]:
    """The triangles, all turned round if most look inwards."""
    a, b, c = (mean[triangles[:, k]] - mean.mean(axis=0) for k in range(3))
    volume = np.einsum("tc,tc->", a, np.cross(b - a, c - a))
    return triangles if volume >= 0 else triangles[:, ::-1]


def check_size(mean: Float[np.ndarray, "n 3"], path: Path) -> None:
    """ValueError if a mean in millimetres is too small or large for a face or head."""
    extent = np.ptp(mean, axis=0)
    # Another unit, or damaged numbers, which most formats do not notice.
    if extent.min() < 10 or extent.max() > 1000:
        size = " x ".join(f"{side:.3g}" for side in extent)
        raise ValueError(f"{path}: the mean shape measures {size} mm, which is no face")


def _check_dense(fields: dict[str, Any], path: Path) -> None:
    keys = ("dense_landmark_vertices", "dense_landmark_weights")
    given = [key for key in keys if key in fields]
    if len(given) == 1:
        raise ValueError(
            f"{path} has the key {given[0]!r} alone; {' and '.join(keys)} belong together"
        )
    sums = fields["dense_landmark_weights"].sum(axis=1) if given else np.ones(1)
    if (np.minimum(np.abs(sums - 1), np.abs(sums)) > 1e-3).any():
        raise ValueError(f"{path}: 'dense_landmark_weights' has rows that sum to neither 1 nor 0")


def unpacked(arrays: dict[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """The arrays with floats for bases of integers, and with the expression basis of its units."""
    arrays = dict(arrays)
    for key in [key for key in arrays if f"{key}_step" in arrays]:
        step = as_floats(arrays.pop(f"{key}_step"), f"{key}_step", path)
        if step.ndim:
            raise ValueError(f"{path}: '{key}_step' is not one number, but of shape {step.shape}")
        arrays[key] = as_floats(arrays[key], key, path) * step
    if "expression_basis" not in arrays and "expression_units" in arrays:
        units, mixture = (
            as_floats(arrays.get(key, np.zeros(0)), key, path)
            for key in ("expression_units", "expression_mixture")
        )
        if units.ndim != 3 or mixture.ndim != 2 or units.shape[-1] != len(mixture):
            raise ValueError(
                f"{path}: 'expression_mixture' has the shape {mixture.shape}, which does not fit "
                f"'expression_units' of shape {units.shape}"
            )
        arrays["expression_basis"] = units @ mixture
    return arrays


def as_floats(array: np.ndarray, key: str, path: Path) -> np.ndarray:
    """The array as float32; ValueError unless it holds numbers, all finite as float32."""
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{path}: {key!r} holds {array.dtype} instead of numbers")
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
        floats = array.astype(np.float32)
    if not np.isfinite(floats).all():
        raise ValueError(f"{path}: {key!r} holds values that are not finite")
    return floats


def as_indices(array: np.ndarray, limit: int, key: str, path: Path) -> np.ndarray:
    """The array as int32; ValueError unless it holds integers from 0 to `limit` - 1, at least one.

    Checked before the cast, which would fold large integers back into the mesh.
    """
    if array.dtype.kind not in "iu":
        raise ValueError(f"{path}: {key!r} holds {array.dtype} instead of integers")
    if array.size == 0:
        raise ValueError(f"{path}: {key!r} is empty, of shape {array.shape}")
    if array.min() < 0 or array.max() >= limit:
        raise ValueError(f"{path}: {key!r} has an index outside 0 to {limit - 1}")
    return array.astype(np.int32)


def write(path: Path, face_model: FaceModel) -> None:
    """Write a face model in this format."""
    arrays = {
        key: np.asarray(getattr(face_model, key))
        for key in (*SHAPES, *OPTIONAL)
        if getattr(face_model, key) is not None
    }
    names = {k: np.array(getattr(face_model, k)) for k in ("name", "units", "licence")}
    write_npz(path, format=np.array(FORMAT), **names, **arrays)
