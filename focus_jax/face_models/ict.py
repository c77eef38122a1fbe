"""ICT-FaceKit (Li et al. 2020, MIT licence): geometry only; its colours are borrowed.

Two layouts: the `FaceXModel` folder of the cloned repository (Wavefront OBJ files of one topology,
centimetres: `generic_neutral_mesh`, `identity000` ..., and one file an expression), and one npz
with the keys `mean [n 3]` (centimetres), `id_basis [k n 3]` (unit variance), `exp_basis [57 n 3]`
(blendshapes for weights 0 to 1), `triangles`, `uv`, `lm68 [68]`, `orig_index [n]` (the vertex of
the original mesh; below 9409 it is face, ears and neck, of which `crop.face_patch` keeps the face).
"""

from itertools import islice
from pathlib import Path

import numpy as np

from focus_jax.face_models import Mesh, check_mesh, fitting, meshes, npz
from focus_jax.types import FaceModel

NEUTRAL = "generic_neutral_mesh"
FACE_VERTICES, HEAD_VERTICES, EYEBALLS = 9409, 11248, (21451, 24591)
MILLIMETRES = 10.0  # a centimetre's
# A blendshape's full weight is rare: this much of it is one standard deviation.
EXPRESSION_SPREAD = 0.18
KEYS = {  # number of axes, and which axis counts vertices
    "mean": (2, 0),
    "id_basis": (3, 1),
    "exp_basis": (3, 1),
    "triangles": (2, None),
    "uv": (2, 0),
    "lm68": (1, None),
    "orig_index": (1, 0),
}
# Vertices of the 68 landmarks, in the iBUG order, from the repository's README.
LANDMARKS = np.array([
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088,
    3443, 268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140,
    2075, 1147, 4269, 3360, 1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732,
    5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216,
    6207, 6470, 5517, 5966,
])  # fmt: skip


def is_ict(arrays: dict[str, np.ndarray]) -> bool:
    """Whether the arrays of an npz are those of this format, if not all of them."""
    return len({"id_basis", "exp_basis", "lm68", "orig_index"} & set(arrays)) >= 2


def from_arrays(
    arrays: dict[str, np.ndarray],
    path: Path,
    builtin: FaceModel,
    *,
    modes: tuple[int, int, int],
    mesh: Mesh = "cropped",
) -> FaceModel:
    """The face with its eyes (or all of the mesh), in millimetres, placed as the built-in model.

    Albedo, its modes and the regions are those of the built-in model's nearest points. ValueError
    names the first key that does not fit.
    """
    check_mesh(mesh)
    _check(arrays, path)
    triangles = arrays["triangles"].astype(np.int64)
    if mesh == "cropped":
        face = (arrays["orig_index"] < FACE_VERTICES) | _is_eyeball(arrays["orig_index"])
        triangles = triangles[face[triangles].all(axis=1)]
    kept = np.unique(triangles)
    place = np.full(len(arrays["mean"]), -1)
    place[kept] = np.arange(len(kept))
    landmarks = place[arrays["lm68"].astype(np.int64)]
    if (landmarks < 0).any():
        raise ValueError(f"{path}: 'lm68' has landmarks that are not on the face")
    mean = MILLIMETRES * arrays["mean"][kept].astype(np.float64)
    found, triangles = fitting.on_vertices(landmarks), place[triangles]
    placed = meshes.place(path, mean, triangles, builtin, found)
    chosen = meshes.choose(path, mean, triangles, placed, builtin, found, mesh, albedo=modes[2])
    mean += meshes.centre(mean[landmarks], builtin)
    mean, kept = mean[chosen.vertices], kept[chosen.vertices]
    # As everywhere, the modes of the largest variance come first: on the face, so that they are in
    # the same order in both meshes.
    on_face = arrays["exp_basis"][:, arrays["orig_index"] < FACE_VERTICES].astype(np.float32)
    order = np.argsort(-(on_face**2).sum(axis=(1, 2)), kind="stable")[: modes[1]]
    expression = arrays["exp_basis"][order][:, kept].astype(np.float32)
    expression *= MILLIMETRES * EXPRESSION_SPREAD
    identity = MILLIMETRES * arrays["id_basis"][: modes[0], kept].astype(np.float32)
    return FaceModel(
        shape_mean=mean.astype(np.float32),
        identity_basis=np.ascontiguousarray(np.moveaxis(identity, 0, -1)),
        expression_basis=np.ascontiguousarray(np.moveaxis(expression, 0, -1)),
        albedo_mean=chosen.borrowed.albedo,
        albedo_basis=chosen.borrowed.basis,
        triangles=chosen.triangles,
        landmark_vertices=chosen.landmarks[0],
        landmark_weights=chosen.landmarks[1],
        region=chosen.borrowed.region,
        uv=_atlas(arrays["uv"][kept], arrays["orig_index"][kept]).astype(np.float32),
        name="ict",
        units="mm",
        licence="MIT (ICT-FaceKit); albedo CC0",
    )


def _is_eyeball(original: np.ndarray) -> np.ndarray:
    return (EYEBALLS[0] <= original) & (original < EYEBALLS[1])


def _atlas(uv: np.ndarray, original: np.ndarray) -> np.ndarray:
    """Face, head and eyeballs have textures of their own; here they lie side by side in one."""
    return np.stack([(uv[:, 0] + 2 * _is_eyeball(original)) / 3, uv[:, 1]], axis=-1)


# --- the folder ----------------------------------------------------------------------------------


def folder_of(path: Path) -> Path | None:
    """`FaceXModel` in a folder or the folder itself, if it holds this model."""
    for folder in (path, path / "FaceXModel"):
        if (folder / f"{NEUTRAL}.obj").is_file():
            return folder
    return None


def from_folder(
    folder: Path, builtin: FaceModel, *, modes: tuple[int, int, int], mesh: Mesh = "cropped"
) -> FaceModel:
    """`from_arrays` for the `FaceXModel` folder; reads the identities that are kept."""
    check_mesh(mesh)
    neutral = folder / f"{NEUTRAL}.obj"
    triangles, uv, count = _read_topology(neutral)
    index = np.arange(count)
    kept = np.flatnonzero(_is_eyeball(index) | (index < HEAD_VERTICES))  # no teeth, no lashes
    if count <= LANDMARKS.max():
        raise ValueError(f"{neutral} has {count} vertices, too few for ICT-FaceKit's landmarks")
    names = sorted(file.stem for file in folder.glob("*.obj"))
    identities = [name for name in names if name.startswith("identity")][: modes[0]]
    expressions = [n for n in names if not n.startswith("identity") and n != NEUTRAL]
    if not identities or not expressions:
        raise ValueError(f"{folder} has no {'expression' if identities else 'identity'} shapes")
    last = int(kept[-1]) + 1
    mean = _read_vertices(neutral, last)[kept]

    def offsets(names: list[str]) -> np.ndarray:
        shapes = (_read_vertices(folder / f"{name}.obj", last)[kept] - mean for name in names)
        return np.stack([shape.astype(np.float32) for shape in shapes])

    place = np.full(count, -1)
    place[kept] = np.arange(len(kept))
    triangles = place[triangles]
    arrays = {
        "mean": mean,
        "id_basis": offsets(identities),
        "exp_basis": offsets(expressions),
        "triangles": triangles[(triangles >= 0).all(axis=1)],
        "uv": uv[kept],
        "lm68": LANDMARKS,
        "orig_index": kept,
    }
    return from_arrays(arrays, folder, builtin, modes=modes, mesh=mesh)


def _read_vertices(path: Path, count: int) -> np.ndarray:
    """The first `count` vertices of an OBJ file, [count 3]."""
    with path.open(encoding="utf-8", errors="replace") as file:
        rows = list(islice((line[2:] for line in file if line.startswith("v ")), count))
    try:
        vertices = np.array(" ".join(rows).split(), np.float64).reshape(-1, 3)
    except ValueError:
        vertices = np.zeros((0, 3))
    if len(vertices) != count or not np.isfinite(vertices).all():
        raise ValueError(
            f"{path} is damaged: it should begin with {count} vertices of 3 numbers, as the other "
            f"files of its folder do; {len(rows)} were found"
        )
    return vertices


def _read_topology(path: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Triangles, uv of each vertex (that of one of its corners), number of vertices."""
    corners, coordinates, count = [], [], 0
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("v "):
                    count += 1
                elif line.startswith("vt "):
                    coordinates.append([float(x) for x in line.split()[1:3]])
                elif line.startswith("f "):
                    face = [[int(x) for x in word.split("/")[:2]] for word in line.split()[1:]]
                    corners += [(face[0], face[k], face[k + 1]) for k in range(1, len(face) - 1)]
        corner = np.array(corners, np.int64).reshape(-1, 3, 2) - 1
        uv = np.zeros((count, 2))
        uv[corner[..., 0]] = np.array(coordinates).reshape(-1, 2)[corner[..., 1]]
    except (ValueError, IndexError):
        raise ValueError(
            f"{path} is damaged: its faces or texture coordinates do not fit"
        ) from None
    if len(corner) == 0:
        raise ValueError(f"{path} has no faces")
    return corner[..., 0], uv, count


def _check(arrays: dict[str, np.ndarray], path: Path) -> None:
    for key in KEYS:
        if key not in arrays:
            raise ValueError(f"{path} lacks the key {key!r} of an ICT-FaceKit npz")
    widths = {"mean": 3, "triangles": 3, "uv": 2, "id_basis": 3, "exp_basis": 3, "lm68": 68}
    mean = arrays["mean"]
    for key, (axes, vertex_axis) in KEYS.items():
        array = arrays[key]
        if array.ndim != axes or (key in widths and array.shape[-1] != widths[key]):
            last = f", the last of length {widths[key]}" if key in widths else ""
            raise ValueError(
                f"{path}: {key!r} has the shape {array.shape}; it must have {axes} axes{last}"
            )
        # 'mean' is the first of KEYS, so it has been found to have rows.
        if vertex_axis is not None and array.shape[vertex_axis] != len(mean):
            raise ValueError(
                f"{path}: {key!r} has the shape {array.shape}, which does not fit 'mean' of shape "
                f"{mean.shape}"
            )
    for key in ("mean", "id_basis", "exp_basis", "uv"):
        npz.as_floats(arrays[key], key, path)
    for key in ("triangles", "lm68"):
        npz.as_indices(arrays[key], len(mean), key, path)
    npz.as_indices(arrays["orig_index"], np.iinfo(np.int32).max, "orig_index", path)
