"""Basel Face Model 2009, in the two shapes in which it circulates (MATLAB files).

`BFM_model_front.mat`, merged and cropped by the users of Deep3DFaceRecon: `meanshape`, `meantex`,
`idBase`, `exBase`, `texBase` (decimetres and 0 to 255, scaled by the deviations), `tri` and
`keypoints` (counted from 1).

`01_MorphableModel.mat`, as the University of Basel gives it out: `shapeMU`, `shapePC`, `shapeEV`
(deviations), `texMU`, `texPC`, `texEV` (micrometres, 0 to 255) and `tl` (counted from 1). It has
no expressions. Those of Guo et al. are read from the same folder: `Exp_Pca.bin` (number of modes,
mean, modes; of 53,215 vertices), `std_exp.txt` (deviations) and `BFM_exp_idx.mat` (`trimIndex`,
which vertices these are, counted from 1). If `BFM_front_idx.mat` (`idx`, those of them that make up
the front) and `facemodel_info.mat` (`tri`, `keypoints`) lie there too, that front is the cropped
mesh.
"""

import logging
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.io
from jaxtyping import Float, Int

from focus_jax.face_models import Mesh, check_mesh, fitting, meshes, npz
from focus_jax.face_models.bfm import LICENCE
from focus_jax.face_models.companions import Companion, together
from focus_jax.types import FaceModel

log = logging.getLogger(__name__)

DECIMETRE, MICROMETRE, COLOUR = 100.0, 1e-3, 1 / 255
EXPRESSION_FILES = ("Exp_Pca.bin", "std_exp.txt", "BFM_exp_idx.mat")
FRONT_FILES = ("BFM_front_idx.mat", "facemodel_info.mat")
_UNREADABLE = (
    ValueError, TypeError, OSError, EOFError, KeyError, IndexError, MemoryError, AttributeError,
    OverflowError, NotImplementedError, zlib.error, scipy.io.matlab.MatReadError,
)  # fmt: skip


class Parts(NamedTuple):
    """A model in the file's units, before the choice of vertices; bases are `[n 3 k]`."""

    shape: Float[np.ndarray, "n 3"]
    identity: Float[np.ndarray, "n 3 i"]
    expression: Float[np.ndarray, "n 3 e"]
    colour: Float[np.ndarray, "n 3"]
    albedo: Float[np.ndarray, "n 3 a"]
    triangles: Int[np.ndarray, "t 3"]
    keypoints: Int[np.ndarray, "68"] | None
    millimetres: float  # of a unit of length


def recognizes(path: Path) -> bool:
    """Whether the file is one of MATLAB's, which no other face model here is."""
    with path.open("rb") as file:
        return file.read(6) == b"MATLAB"


def read(
    path: Path, builtin: FaceModel, *, modes: tuple[int, int, int], mesh: Mesh = "cropped"
) -> FaceModel:
    """The model with the first `modes` of its bases, in millimetres, placed as the built-in model.

    Region and uv are those of the built-in model's nearest points. Raises ValueError naming the
    key or file that is missing or does not fit.
    """
    check_mesh(mesh)
    names = _names(path)
    if "meanshape" in names:
        parts, crop = _read_merged(path, modes), False
    elif "shapeMU" in names:
        parts, crop = _read_original(path, modes, mesh)
    else:
        raise ValueError(
            f"{path} is not Basel Face Model 2009: it has neither 'meanshape' nor 'shapeMU'"
        )
    mean = parts.millimetres * parts.shape.astype(np.float64)
    landmarks = None if parts.keypoints is None else fitting.on_vertices(parts.keypoints)
    placed = meshes.place(path, mean, parts.triangles, builtin, landmarks)
    landmarks = landmarks or meshes.find_landmarks(mean, placed, builtin)
    chosen = meshes.choose(path, mean, parts.triangles, placed, builtin, landmarks, mesh, crop=crop)
    kept, (corners, weights) = chosen.vertices, chosen.landmarks
    mean = mean[kept]
    mean += meshes.centre(meshes.points_of(mean, chosen.landmarks), builtin)
    return FaceModel(
        shape_mean=mean.astype(np.float32),
        identity_basis=np.float32(parts.millimetres) * parts.identity[kept],
        expression_basis=np.float32(parts.millimetres) * parts.expression[kept],
        albedo_mean=np.float32(COLOUR) * parts.colour[kept],
        albedo_basis=np.float32(COLOUR) * parts.albedo[kept],
        triangles=chosen.triangles,
        landmark_vertices=corners,
        landmark_weights=weights,
        region=chosen.borrowed.region,
        uv=chosen.borrowed.uv,
        name=path.stem,
        units="mm",
        licence=LICENCE,
    )


def companions(path: Path) -> list[Companion]:
    """What is looked for beside the model, and what of it is read."""
    if "shapeMU" not in _names(path):
        return []
    return [
        together(path.parent, "expressions", EXPRESSION_FILES, "without which it cannot be used"),
        together(path.parent, "the front", FRONT_FILES, "the face is cut out here"),
    ]


# --- MATLAB files --------------------------------------------------------------------------------


def _names(path: Path) -> set[str]:
    try:
        return {name for name, _, _ in scipy.io.whosmat(path)}
    except _UNREADABLE:
        raise ValueError(f"{path} cannot be read as a MATLAB file, or is truncated") from None


def _read(path: Path, *keys: str) -> dict[str, np.ndarray]:
    try:
        found = scipy.io.loadmat(path, variable_names=keys)
    except _UNREADABLE:
        raise ValueError(f"{path} cannot be read as a MATLAB file, or is truncated") from None
    for key in keys:
        if key not in found:
            raise ValueError(f"{path} lacks the key {key!r}")
        if not isinstance(found[key], np.ndarray):
            raise ValueError(f"{path}: {key!r} is {type(found[key]).__name__}, not a plain array")
    return {key: found[key] for key in keys}  # without what SciPy says of the file


def _numbers(
    found: dict[str, np.ndarray], key: str, path: Path, shape: tuple[int, ...]
) -> np.ndarray:
    """An array as float32 of the given shape, in which -1 stands for any length."""
    array = found[key]
    if -1 not in shape and array.size == np.prod(shape):
        array = array.reshape(shape)  # rows and columns of one: MATLAB has no vectors
    fits = array.ndim == len(shape) and all(
        w in (-1, n) for w, n in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = tuple("any" if n == -1 else n for n in shape)
        raise ValueError(f"{path}: {key!r} has the shape {array.shape} instead of {wanted}")
    return npz.as_floats(array, key, path)


def _basis(
    found: dict[str, np.ndarray], key: str, path: Path, vertices: int, count: int
) -> np.ndarray:
    """The first `count` columns of a basis, `[n 3 k]`."""
    array = found[key]
    if array.ndim == 2:
        found = {key: array[:, :count]}
    basis = _numbers(found, key, path, (3 * vertices, -1))
    return basis.reshape(vertices, 3, -1)


def _vertices(found: dict[str, np.ndarray], key: str, path: Path) -> int:
    size = found[key].size
    if size == 0 or size % 3:
        raise ValueError(
            f"{path}: {key!r} has the shape {found[key].shape}, not three numbers for each vertex"
        )
    return size // 3


def _indices(array: np.ndarray, limit: int, key: str, path: Path) -> np.ndarray:
    """Indices from 0, of an array that counts from 1 in whatever type MATLAB chose."""
    if array.dtype.kind == "f" and (np.abs(array) < 2**53).all() and (array % 1 == 0).all():
        array = array.astype(np.int64)
    if array.dtype.kind in "iu":
        array = array.astype(np.int64) - 1
    return npz.as_indices(array, limit, key, path)


def _triangles(found: dict[str, np.ndarray], key: str, vertices: int, path: Path) -> np.ndarray:
    if found[key].ndim != 2 or found[key].shape[1] != 3:
        raise ValueError(f"{path}: {key!r} has the shape {found[key].shape}, not t x 3")
    return _indices(found[key], vertices, key, path)


def _keypoints(found: dict[str, np.ndarray], vertices: int, path: Path) -> np.ndarray:
    if found["keypoints"].size != 68:
        raise ValueError(f"{path}: 'keypoints' has the shape {found['keypoints'].shape}, not 68")
    return _indices(found["keypoints"].ravel(), vertices, "keypoints", path)


# --- the two shapes ------------------------------------------------------------------------------


def _read_merged(path: Path, modes: tuple[int, int, int]) -> Parts:
    keys = ("meanshape", "meantex", "idBase", "exBase", "texBase", "tri", "keypoints")
    found = _read(path, *keys)
    count = _vertices(found, "meanshape", path)
    identity, expression, albedo = (
        _basis(found, key, path, count, number)
        for key, number in zip(("idBase", "exBase", "texBase"), modes, strict=True)
    )
    return Parts(
        _numbers(found, "meanshape", path, (count, 3)),
        identity,
        expression,
        _numbers(found, "meantex", path, (count, 3)),
        albedo,
        _triangles(found, "tri", count, path),
        _keypoints(found, count, path),
        DECIMETRE,
    )


def _read_original(path: Path, modes: tuple[int, int, int], mesh: Mesh) -> tuple[Parts, bool]:
    """The model on the vertices that have expressions, and whether it is still to be cropped."""
    for name in EXPRESSION_FILES:
        if not (path.parent / name).is_file():
            raise ValueError(
                f"{path} has no expressions, and {name} is not beside it: put the expression basis "
                f"of Guo et al. there ({', '.join(EXPRESSION_FILES)})"
            )
    keys = ("shapeMU", "shapePC", "shapeEV", "texMU", "texPC", "texEV", "tl")
    found = _read(path, *keys)
    count = _vertices(found, "shapeMU", path)
    bases = []
    for kind, number in (("shape", modes[0]), ("tex", modes[2])):
        basis = _basis(found, f"{kind}PC", path, count, number)
        deviations = found[f"{kind}EV"].ravel()
        if len(deviations) < basis.shape[-1]:
            raise ValueError(
                f"{path}: '{kind}EV' has the shape {found[f'{kind}EV'].shape}, too short for "
                f"'{kind}PC' of shape {found[f'{kind}PC'].shape}"
            )
        bases.append(basis * npz.as_floats(deviations, f"{kind}EV", path)[: basis.shape[-1]])
    shape, colour = (_numbers(found, key, path, (count, 3)) for key in ("shapeMU", "texMU"))
    triangles = _triangles(found, "tl", count, path)
    del found
    trimmed = path.parent / "BFM_exp_idx.mat"
    kept = _indices(_read(trimmed, "trimIndex")["trimIndex"].ravel(), count, "trimIndex", trimmed)
    expression = _read_expressions(path.parent, len(kept), modes[1])
    place = np.full(count, -1)
    place[kept] = np.arange(len(kept))
    triangles = place[triangles]
    parts = Parts(
        shape[kept],
        bases[0][kept],
        expression,
        colour[kept],
        bases[1][kept],
        triangles[(triangles >= 0).all(axis=1)],
        None,
        MICROMETRE,
    )
    if not companions(path)[1].read:
        return parts, True
    return _front(path.parent, parts, mesh), False


def _read_expressions(folder: Path, vertices: int, count: int) -> np.ndarray:
    """The first `count` modes of Exp_Pca.bin, scaled, `[n 3 k]`; only these are read."""
    path = folder / "Exp_Pca.bin"
    size = path.stat().st_size
    modes = int(np.fromfile(path, "<i4", 1)[0]) if size >= 4 else 0
    wanted = 4 + 4 * 3 * vertices * (1 + modes)
    if modes <= 0 or size != wanted:
        raise ValueError(
            f"{path} has {size} bytes; {modes} modes of {vertices} vertices make {wanted}"
        )
    spread = folder / "std_exp.txt"
    try:
        deviations = np.array(spread.read_text().split(), np.float64)
    except (ValueError, UnicodeDecodeError):
        raise ValueError(f"{spread} holds something else than numbers") from None
    if len(deviations) < modes:
        raise ValueError(f"{spread} has {len(deviations)} deviations for {modes} modes")
    count = min(count, modes)
    flat = np.fromfile(path, "<f4", 3 * vertices * count, offset=4 + 4 * 3 * vertices)
    basis = npz.as_floats(flat, "Exp_Pca", path).reshape(count, vertices, 3)
    deviations = npz.as_floats(deviations, "std_exp", spread)[:count]
    return np.ascontiguousarray(np.moveaxis(basis * deviations[:, None, None], 0, -1))


def _front(folder: Path, parts: Parts, mesh: Mesh) -> Parts:
    """The front that Deep3DFaceRecon cuts out, with its landmarks; or all, with these."""
    index, info = (folder / name for name in FRONT_FILES)
    kept = _indices(_read(index, "idx")["idx"].ravel(), len(parts.shape), "idx", index)
    found = _read(info, "tri", "keypoints")
    keypoints = _keypoints(found, len(kept), info)
    if mesh == "full":
        return parts._replace(keypoints=kept[keypoints])
    return parts._replace(
        shape=parts.shape[kept],
        identity=parts.identity[kept],
        expression=parts.expression[kept],
        colour=parts.colour[kept],
        albedo=parts.albedo[kept],
        triangles=_triangles(found, "tri", len(kept), info),
        keypoints=keypoints,
    )
