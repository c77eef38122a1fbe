"""GNM, Google's head of 2026 (Apache 2.0): `gnm_head.npz` as it is downloaded.

Keys that are read, of v vertices and j joints: `template_vertex_positions [v 3]` (metres),
`vertex_identity_basis [i v 3]`, `expression_basis [e v 3]`, `triangles [t 3]`,
`triangle_uvs [t 3 2]`, `template_joint_positions [j 3]`, `joint_identity_basis [i j 3]`,
`joint_parent_indices [j]`, `skinning_weights [j v]`, `pose_correctives_regressor [9j 3v]`,
`vertex_groups [g v]` and `vertex_group_names [g]`. The file of version 3.0 has 17,821 vertices, 253
identity and 383 expression modes, of unit variance, and the joints neck, head, left eye, right eye.
Its colours are the built-in model's.
"""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from focus_jax.face_models import Mesh, check_mesh, meshes, npz
from focus_jax.face_models.meshes import Landmarks
from focus_jax.face_models.skinning import SkinnedModel
from focus_jax.system.damage import DAMAGED
from focus_jax.types import REGIONS, FaceModel

MILLIMETRES = 1000.0  # a metre's
LICENCE = "Apache 2.0 (GNM, Google); albedo CC0"
GROUPS = ("vertex_groups", "vertex_group_names")
SHAPES: dict[str, tuple[Any, ...]] = {  # letters stand for sizes that must agree
    "template_vertex_positions": ("v", 3),
    "vertex_identity_basis": ("i", "v", 3),
    "expression_basis": ("e", "v", 3),
    "template_joint_positions": ("j", 3),
    "joint_identity_basis": ("i", "j", 3),
    "joint_parent_indices": ("j",),
    "skinning_weights": ("j", "v"),
    "pose_correctives_regressor": ("p", "q"),
    "triangles": ("t", 3),
    "triangle_uvs": ("t", 3, 2),
    "vertex_groups": ("g", "v"),
    "vertex_group_names": ("g",),
}
INDICES = ("joint_parent_indices", "triangles")
# Regions that the file's groups tell better than the nearest point of the built-in face.
REGION_OF = {
    "eyes": "eyes",
    "left_eye": "eyes",
    "right_eye": "eyes",
    "teeth": "teeth",
    "gums": "gums",
    "tongue": "mouth",
    "mouth_sock": "mouth",
    "ears": "ears",
    "left_ear": "ears",
    "right_ear": "ears",
}
# The repository's landmarks (head_sparse_68, Apache 2.0), for the mesh of so many vertices: three
# vertices each, and the weights of the first two in thousandths.
VERTICES = 17821
LANDMARKS = np.array([
    (8777, 8841, 11165, 68, 79), (9838, 9835, 9836, 151, 45), (9986, 9984, 9982, 37, 216),
    (10087, 10090, 9996, 99, 828), (6846, 6849, 8028, 866, 102), (8738, 8736, 8737, 84, 158),
    (10085, 10084, 9845, 84, 57), (9747, 9754, 9740, 146, 407), (9975, 12257, 12258, 156, 138),
    (3612, 3626, 3619, 447, 407), (3854, 3856, 3858, 746, 216), (3868, 3962, 3959, 74, 828),
    (1900, 721, 718, 31, 102), (2609, 2608, 2610, 758, 158), (3717, 3956, 3957, 859, 57),
    (3708, 3707, 3710, 804, 45), (5037, 2713, 2649, 853, 79), (7635, 7636, 7458, 443, 143),
    (7578, 7575, 7574, 141, 65), (7093, 7090, 7671, 226, 351), (7572, 7566, 7565, 53, 41),
    (7111, 7108, 7640, 4, 996), (1512, 980, 983, 0, 996), (1437, 1438, 1444, 907, 41),
    (1543, 962, 965, 423, 351), (1446, 1447, 1450, 794, 65), (1330, 1508, 1507, 414, 143),
    (12319, 9970, 9971, 995, 5), (12329, 6766, 6764, 995, 4), (12310, 10070, 10052, 996, 3),
    (12287, 12296, 10055, 0, 997), (10105, 10106, 9931, 995, 3), (9478, 10221, 10225, 126, 355),
    (12297, 12298, 10219, 0, 998), (3350, 3354, 4097, 170, 588), (3803, 3978, 3977, 2, 3),
    (7426, 7425, 6708, 992, 2), (7288, 7289, 7290, 996, 2), (7164, 7165, 7404, 4, 1),
    (11028, 11027, 6758, 8, 974), (6736, 6739, 7181, 5, 988), (6722, 7307, 7308, 2, 994),
    (630, 4899, 4900, 17, 974), (1276, 1037, 1036, 995, 1), (1162, 1161, 1160, 3, 2),
    (580, 1297, 1298, 6, 2), (1180, 1179, 594, 4, 994), (1053, 611, 608, 8, 988),
    (10683, 10653, 10652, 409, 584), (10720, 10719, 10673, 0, 996), (10732, 10731, 10672, 0, 997),
    (10711, 12276, 12279, 2, 998), (4544, 4603, 4604, 3, 997), (4545, 4591, 4592, 4, 996),
    (4524, 4525, 4555, 6, 584), (4685, 4598, 4599, 3, 1), (4691, 4593, 4594, 2, 995),
    (10702, 12270, 12284, 0, 1000), (10722, 10721, 10819, 2, 995), (10727, 10726, 10813, 996, 1),
    (11285, 11286, 10694, 558, 312), (10805, 10806, 10801, 997, 2), (10709, 12285, 12272, 3, 997),
    (4673, 4678, 4677, 0, 2), (4566, 5158, 5157, 129, 312), (4689, 4690, 4687, 998, 1),
    (12271, 10704, 10703, 996, 4), (10815, 10818, 10817, 1, 1),
])  # fmt: skip


def recognizes(path: Path) -> bool:
    """Whether the file is an npz with some of GNM's keys."""
    try:
        with zipfile.ZipFile(path) as archive:
            return len({f"{key}.npy" for key in SHAPES} & set(archive.namelist())) >= 4
    except DAMAGED:
        return False


def read(
    path: Path, builtin: FaceModel, *, modes: tuple[int, int, int], mesh: Mesh = "cropped"
) -> FaceModel:
    """The head as a linear model, in millimetres, placed as the built-in model.

    Of its modes those that move the face most, first; `read_head` has all, and the joints. Raises
    ValueError naming the file and the key that does not fit.
    """
    check_mesh(mesh)
    arrays = _content(path)
    mean = MILLIMETRES * arrays["template_vertex_positions"].astype(np.float64)
    triangles = arrays["triangles"]
    placed, landmarks = _placed(path, mean, triangles, _group(arrays, "skin"), builtin)
    face = meshes.choose(path, mean, triangles, placed, builtin, landmarks, "cropped")
    chosen = meshes.choose(path, mean, triangles, placed, builtin, landmarks, mesh, albedo=modes[2])
    kept = chosen.vertices
    region = chosen.borrowed.region.copy()
    for group, name in REGION_OF.items():
        region[_group(arrays, group)[kept]] = REGIONS.index(name)
    uv = np.zeros((len(mean), 2), np.float32)
    uv[triangles] = arrays["triangle_uvs"]
    bases = [
        _first(arrays[key], face.vertices, kept, count)
        for key, count in zip(("vertex_identity_basis", "expression_basis"), modes[:2], strict=True)
    ]
    mean = mean + meshes.centre(meshes.points_of(mean, landmarks), builtin)
    return FaceModel(
        shape_mean=mean[kept].astype(np.float32),
        identity_basis=bases[0],
        expression_basis=bases[1],
        albedo_mean=chosen.borrowed.albedo,
        albedo_basis=chosen.borrowed.basis,
        triangles=chosen.triangles,
        landmark_vertices=chosen.landmarks[0],
        landmark_weights=chosen.landmarks[1],
        region=region,
        uv=uv[kept],
        name=path.stem,
        units="mm",
        licence=LICENCE,
    )


def _first(
    basis: Float[np.ndarray, "k v 3"], face: np.ndarray, kept: np.ndarray, count: int
) -> Float[np.ndarray, "n 3 c"]:
    """The `count` modes that move the face most, of the kept vertices, in millimetres.

    Judged by the face, so that they are in the same order in both meshes.
    """
    order = np.argsort(-(basis[:, face] ** 2).sum(axis=(1, 2)), kind="stable")[:count]
    return np.ascontiguousarray(MILLIMETRES * np.moveaxis(basis[order][:, kept], 0, -1))


# --- the head with its joints --------------------------------------------------------------------


def read_head(path: Path) -> SkinnedModel:
    """GNM with all its modes and joints, in millimetres, where the file has it."""
    arrays = _content(Path(path))
    identity, expression = arrays["vertex_identity_basis"], arrays["expression_basis"]
    joints = len(arrays["template_joint_positions"])
    corrective = arrays["pose_correctives_regressor"].reshape(9 * joints, -1, 3)
    return SkinnedModel(
        template=MILLIMETRES * arrays["template_vertex_positions"],
        identity_basis=MILLIMETRES * np.moveaxis(identity, 0, -1),
        expression_basis=MILLIMETRES * np.moveaxis(expression, 0, -1),
        pose_basis=MILLIMETRES * np.moveaxis(corrective, 0, -1),
        joints=MILLIMETRES * arrays["template_joint_positions"],
        joint_identity=MILLIMETRES * np.moveaxis(arrays["joint_identity_basis"], 0, -1),
        joint_expression=np.zeros((joints, 3, len(expression)), np.float32),
        skin_weights=arrays["skinning_weights"].T,
        triangles=arrays["triangles"],
        parents=(-1, *(int(parent) for parent in arrays["joint_parent_indices"][1:])),
    )


def place(
    path: Path, head: SkinnedModel, face: FaceModel
) -> tuple[Float[np.ndarray, "p 3"], Landmarks]:
    """A face model without the mouth's inside laid over the head of a file, and its landmarks."""
    arrays = {key: npz.read_array(path, key) for key in GROUPS}
    mean = np.asarray(head.template, np.float64)
    return _placed(path, mean, np.asarray(head.triangles), _group(arrays, "skin"), face)


def _placed(
    path: Path,
    mean: Float[np.ndarray, "v 3"],
    triangles: Int[np.ndarray, "t 3"],
    skin: Bool[np.ndarray, "v"],
    face: FaceModel,
) -> tuple[Float[np.ndarray, "p 3"], Landmarks]:
    """Laid over the skin alone: what lies inside the head faces the same way."""
    outside = triangles[skin[triangles].all(axis=1)]
    if len(mean) == VERTICES:
        first = LANDMARKS[:, 3:] / 1000
        weights = np.concatenate([first, 1 - first.sum(axis=1, keepdims=True)], axis=1)
        landmarks = LANDMARKS[:, :3].astype(np.int32), weights.astype(np.float32)
    else:
        rough = meshes.place(path, mean[skin], _renamed(outside, skin), face)
        found, weights = meshes.find_landmarks(mean[skin], rough, face)
        landmarks = np.flatnonzero(skin)[found].astype(np.int32), weights
    points = np.searchsorted(np.flatnonzero(skin), landmarks[0]), landmarks[1]
    return meshes.place(path, mean[skin], _renamed(outside, skin), face, points), landmarks


def _renamed(triangles: np.ndarray, kept: np.ndarray) -> np.ndarray:
    return (np.cumsum(kept) - 1)[triangles]


def _group(arrays: dict[str, np.ndarray], name: str) -> Bool[np.ndarray, "v"]:
    """Vertices of a group; none of one that the file has not."""
    names = [str(one) for one in arrays["vertex_group_names"]]
    groups = arrays["vertex_groups"]
    return groups[names.index(name)] > 0.5 if name in names else np.zeros(groups.shape[1], bool)


def _content(path: Path) -> dict[str, np.ndarray]:
    """The keys that are read, as float32 and int32; ValueError names the first that is wrong."""
    arrays = npz.read_arrays(path)
    sizes: dict[str, int] = {}
    for key, shape in SHAPES.items():
        if key not in arrays:
            raise ValueError(f"{path} is not GNM: it lacks the key {key!r}")
        found = arrays[key].shape
        wanted = tuple(sizes.get(n, n) if isinstance(n, str) else n for n in shape)
        fits = len(found) == len(wanted) and all(
            isinstance(w, str) or w == n for w, n in zip(wanted, found, strict=True)
        )
        if not fits:
            raise ValueError(f"{path}: {key!r} has the shape {found} instead of {wanted}")
        sizes |= {n: s for n, s in zip(shape, found, strict=True) if isinstance(n, str)}
        if key not in (*INDICES, "vertex_group_names"):
            arrays[key] = npz.as_floats(arrays[key], key, path)
    corrective = (9 * sizes["j"], 3 * sizes["v"])
    if (sizes["p"], sizes["q"]) != corrective:
        shape = arrays["pose_correctives_regressor"].shape
        raise ValueError(
            f"{path}: 'pose_correctives_regressor' has the shape {shape} instead of {corrective}"
        )
    arrays["triangles"] = npz.as_indices(arrays["triangles"], sizes["v"], "triangles", path)
    for joint, parent in enumerate(arrays["joint_parent_indices"].tolist()[1:], start=1):
        if not 0 <= parent < joint:
            raise ValueError(f"{path}: 'joint_parent_indices' hangs joint {joint} on {parent}")
    if not _group(arrays, "skin").any():
        raise ValueError(f"{path} has no vertex group 'skin'")
    return arrays
