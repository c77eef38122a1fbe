"""FLAME 2019, 2020 and 2023 (Li et al. 2017), as .pkl or .npz, with its companions.

Keys: `v_template [v 3]` (metres), `f [t 3]`, `shapedirs [v 3 400]` (300 identity, then 100
expression modes), `posedirs [v 3 36]`, `J_regressor [5 v]`, `kintree_table [2 5]`, `weights [v 5]`.

What lies in the same folder is used, by name:
- landmarks: `flame_static_embedding_68.pkl`, `flame_static_embedding_68_v4.npz` or
  `landmark_embedding.npy` (68 triangles and barycentric weights), or `flame_static_embedding.pkl`
  (51: without the jaw line, which is then found on the geometry); without any all are found so.
- albedo: `FLAME_albedo_from_BFM.npz` or `albedoModel2020_FLAME_albedoPart.npz` (`MU`, `PC`; the
  latter, Smith et al. 2020, in linear sRGB, of which its `specMU` tells), or `FLAME_texture.npz`
  (`mean`, `tex_dir`), whose coordinates are the `vt`, `ft` of one of them or of
  `head_template.obj`; without them the built-in model's albedo is laid over the face.
"""

import functools
import logging
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from focus_jax.face_models import Mesh, check_mesh, fitting, flame_albedo, meshes, npz, pickles
from focus_jax.face_models.companions import Companion, first_of
from focus_jax.face_models.meshes import Landmarks
from focus_jax.face_models.skinning import SkinnedModel, posed
from focus_jax.system.damage import DAMAGED
from focus_jax.types import FaceModel

log = logging.getLogger(__name__)

KEYS = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights")
MILLIMETRES = 1000.0  # a metre's
IDENTITY_MODES = 300  # before the expression modes, in `shapedirs`
JAW = 2  # of the joints root, neck, jaw, left eye, right eye
# FLAME opens the mouth by a joint, which a linear model has not: the first expression mode is the
# jaw's opening instead, for small angles, and this many radians are one standard deviation.
JAW_SPREAD = 0.1
LICENCE = "Max Planck Institute (FLAME); for research, on registration; FLAME 2023 Open: CC BY 4.0"
EMBEDDINGS = (
    "flame_static_embedding_68.pkl",
    "flame_static_embedding_68_v4.npz",
    "landmark_embedding.npy",
    "flame_static_embedding.pkl",
)
EMBEDDING_KEYS = (
    ("full_lmk_faces_idx", "full_lmk_bary_coords"),
    ("lmk_face_idx", "lmk_b_coords"),
    ("lmk_faces_idx", "lmk_bary_coords"),
)


def recognizes(path: Path) -> bool:
    """Whether the file is a pickle, or an npz with some of FLAME's keys."""
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] == b"PK":
        try:
            with zipfile.ZipFile(path) as archive:
                return len({f"{key}.npy" for key in KEYS} & set(archive.namelist())) >= 3
        except DAMAGED:
            return False  # a damaged archive is nobody's
    return start[:1] == b"\x80" or path.suffix == ".pkl"


def read(
    path: Path, builtin: FaceModel, *, modes: tuple[int, int, int], mesh: Mesh = "cropped"
) -> FaceModel:
    """The head as a linear model: its first modes, and the jaw's opening as first expression mode.

    In millimetres, placed as the built-in model. `read_head` has the joints. Raises ValueError
    naming the file and the key that does not fit.
    """
    check_mesh(mesh)
    head = read_head(path)
    mean, triangles = np.asarray(head.template, np.float64), np.asarray(head.triangles)
    placed, landmarks = _landmarks(path, mean, triangles, builtin)
    albedo_file, coordinates = (
        flame_albedo.albedo_file(path.parent),
        flame_albedo.coordinates(path.parent, triangles),
    )
    has_albedo = albedo_file is not None and coordinates is not None
    if albedo_file is not None and coordinates is None:
        log.info("%s is not used: no file beside it has the texture coordinates", albedo_file.path)
    chosen = meshes.choose(path, mean, triangles, placed, builtin, landmarks, mesh, albedo=modes[2])
    kept = chosen.vertices
    colour, albedo, uv = chosen.borrowed.albedo, chosen.borrowed.basis, chosen.borrowed.uv
    if coordinates is not None:
        uv = coordinates[kept]
    if has_albedo:
        colour, albedo = flame_albedo.albedo(albedo_file, uv, modes[2], colour)
    expression = np.asarray(head.expression_basis)[kept]
    jaw = jaw_mode(head)
    if jaw is not None:
        expression = np.concatenate([jaw[kept, :, None], expression], axis=-1)
    mean = mean[kept]
    mean += meshes.centre(meshes.points_of(mean, chosen.landmarks), builtin)
    return FaceModel(
        shape_mean=mean.astype(np.float32),
        identity_basis=np.asarray(head.identity_basis)[kept, :, : modes[0]],
        expression_basis=np.ascontiguousarray(expression[..., : modes[1]]),
        albedo_mean=colour,
        albedo_basis=albedo,
        triangles=chosen.triangles,
        landmark_vertices=chosen.landmarks[0],
        landmark_weights=chosen.landmarks[1],
        region=chosen.borrowed.region,
        uv=uv.astype(np.float32),
        name=path.stem,
        units="mm",
        licence=f"{LICENCE}{flame_albedo.albedo_licence(albedo_file if has_albedo else None)}",
    )


# --- the head with its joints --------------------------------------------------------------------


def read_head(path: Path) -> SkinnedModel:
    """FLAME with all its modes and joints, in millimetres, where the file has it."""
    path = Path(path)
    arrays = _content(path)
    for key in KEYS:
        if key not in arrays:
            raise ValueError(f"{path} is not FLAME: it lacks the key {key!r}")
        if not isinstance(arrays[key], np.ndarray):
            kind = getattr(arrays[key], "named", type(arrays[key]).__name__)
            raise ValueError(f"{path}: {key!r} is {kind}, from which no array can be read")
    template = arrays["v_template"]
    if template.ndim != 2 or template.shape[1] != 3 or len(template) == 0:
        raise ValueError(f"{path}: 'v_template' has the shape {template.shape}, not v x 3")
    v, j = len(template), arrays["weights"].shape[-1] if arrays["weights"].ndim == 2 else 5
    wanted = {
        "weights": (v, j),
        "f": ("t", 3),
        "shapedirs": (v, 3, "k"),
        "posedirs": (v, 3, 9 * (j - 1)),
        "J_regressor": (j, v),
        "kintree_table": (2, j),
    }
    for key, shape in wanted.items():
        found = arrays[key].shape
        fits = len(found) == len(shape) and all(
            isinstance(w, str) or w == n for w, n in zip(shape, found, strict=True)
        )
        if not fits:
            raise ValueError(f"{path}: {key!r} has the shape {found} instead of {shape}")
    if arrays["shapedirs"].shape[-1] <= IDENTITY_MODES:
        raise ValueError(
            f"{path}: 'shapedirs' has the shape {arrays['shapedirs'].shape}, without expression "
            f"modes after the {IDENTITY_MODES} of identity"
        )
    floats = {
        key: npz.as_floats(arrays[key], key, path)
        for key in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights")
    }
    triangles = npz.as_indices(arrays["f"], v, "f", path)
    # The root's parent is written as -1 or as the largest integer.
    parents = tuple(int(p) for p in arrays["kintree_table"][0].astype(np.int64)[1:])
    for joint, parent in enumerate(parents, start=1):
        if not 0 <= parent < joint:
            raise ValueError(f"{path}: 'kintree_table' hangs joint {joint} on {parent}")
    shapes, template = MILLIMETRES * floats["shapedirs"], MILLIMETRES * floats["v_template"]
    regressor = floats["J_regressor"]
    moved = np.tensordot(regressor, shapes, axes=1)
    return SkinnedModel(
        template=template,
        identity_basis=shapes[..., :IDENTITY_MODES],
        expression_basis=shapes[..., IDENTITY_MODES:],
        pose_basis=MILLIMETRES * floats["posedirs"],
        joints=regressor @ template,
        joint_identity=moved[..., :IDENTITY_MODES],
        joint_expression=moved[..., IDENTITY_MODES:],
        skin_weights=floats["weights"],
        triangles=triangles,
        parents=(-1, *parents),
    )


def jaw_mode(head: SkinnedModel) -> Float[np.ndarray, "v 3"] | None:
    """How the vertices move as the jaw opens by JAW_SPREAD, to first order; None without a jaw."""
    joints = len(head.parents)
    if joints <= JAW:
        return None
    none = np.zeros(0, np.float32)
    opening = np.zeros((joints, 3), np.float32)
    opening[JAW, 0] = JAW_SPREAD
    pose = functools.partial(posed, head, none, none)
    _, mode = jax.jvp(pose, (0 * opening,), (opening,))
    return np.asarray(mode) if np.abs(mode).max() > 1e-3 else None


def _content(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    content = pickles.read_npz(path) if zipped else pickles.read_pickle(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not the keys of FLAME")
    return content


def place(
    path: Path, head: SkinnedModel, face: FaceModel
) -> tuple[Float[np.ndarray, "p 3"], Landmarks]:
    """A face model without the mouth's inside laid over the head of a file, and its landmarks."""
    return _landmarks(path, np.asarray(head.template, np.float64), head.triangles, face)


# --- landmarks -----------------------------------------------------------------------------------


def companions(path: Path) -> list[Companion]:
    """What is looked for beside the model, and what of it is read."""
    folder, builtin = path.parent, "the built-in model's is laid over the face"
    texture = first_of(folder, "albedo", tuple(flame_albedo.TEXTURES), builtin)
    place = flame_albedo.coordinate_file(folder)
    if place is None and texture.read:
        without = f"{texture.read[0]} has no texture coordinates beside it, {builtin}"
        texture = texture._replace(read=(), otherwise=without)
    read = () if place is None else (place.name,)
    otherwise = "those of the built-in model"
    return [
        first_of(folder, "landmarks", EMBEDDINGS, "they are found on the geometry"),
        texture,
        Companion("texture coordinates", flame_albedo.COORDINATES, read, otherwise),
    ]


def _landmarks(
    path: Path, mean: np.ndarray, triangles: np.ndarray, builtin: FaceModel
) -> tuple[np.ndarray, Landmarks]:
    """The placed built-in face, and the landmarks of the first embedding beside the model.

    They are checked on the geometry, and found on it where there is no embedding.
    """
    placed = meshes.place(path, mean, triangles, builtin)
    landmarks = meshes.find_landmarks(mean, placed, builtin)
    files = [path.parent / name for name in companions(path)[0].read]
    if not files:
        return placed, landmarks
    expected = meshes.points_of(mean, landmarks)
    corners, weights = _embedding(files[0], triangles)
    landmarks[0][-len(corners) :], landmarks[1][-len(corners) :] = corners, weights
    gap = np.linalg.norm(meshes.points_of(mean, landmarks) - expected, axis=1)[fitting.INNER]
    if np.median(gap) > 10:
        raise ValueError(
            f"{files[0]} does not fit {path.name}: its landmarks lie {np.median(gap):.0f} mm from "
            "where the face has them"
        )
    return meshes.place(path, mean, triangles, builtin, landmarks), landmarks


def _embedding(
    path: Path, triangles: np.ndarray
) -> tuple[Int[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Vertices and weights of 68 or 51 landmarks."""
    if path.suffix == ".npz":
        content = pickles.read_npz(path)
    else:
        content = pickles.read_npy(path) if path.suffix == ".npy" else pickles.read_pickle(path)
    present = set(content) if isinstance(content, dict) else set()
    keys = [pair for pair in EMBEDDING_KEYS if present.issuperset(pair)]
    if not keys:
        named = " or ".join(faces for faces, _ in EMBEDDING_KEYS)
        raise ValueError(f"{path} has no landmarks under {named}")
    faces, weights = (np.asarray(content[key]) for key in keys[0])
    if faces.size not in (51, 68) or weights.size != 3 * faces.size:
        raise ValueError(
            f"{path}: {keys[0][0]!r} and {keys[0][1]!r} have the shapes {faces.shape} and "
            f"{weights.shape}, not 68 and 68 x 3 (or 51)"
        )
    faces = npz.as_indices(faces.ravel(), len(triangles), keys[0][0], path)
    weights = npz.as_floats(weights.reshape(-1, 3), keys[0][1], path)
    if np.abs(weights.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError(f"{path}: {keys[0][1]!r} has rows that do not sum to 1")
    return triangles[faces], weights
