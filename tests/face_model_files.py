"""Writes face models in the layouts in which people download them, from the built-in geometry.

The head is the built-in face with rings around its border that make up skull and neck; its crop is
about the built-in face again. All formats have the same geometry, so that what is loaded from them
has equal shapes, and what is compiled for one serves all.
"""

import functools
import io
import pickle
import sys
import types
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import scipy.io
import scipy.sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from focus_jax.face_models import bfm, bfm2009, crop, fitting, ict, lender, load_face_model

MODES = (6, 5, 4)  # identity, expression, albedo


class Mesh(NamedTuple):
    vertices: np.ndarray  # [v 3] millimetres
    triangles: np.ndarray
    colours: np.ndarray  # [v 3] in [0, 1]
    landmarks: np.ndarray  # [68] vertices


@functools.cache
def head(rings: int = 5, spacing: float = 12.0) -> Mesh:
    """Skin and eyeballs of the built-in face, its border of 140 vertices drawn back and out."""
    built = lender()
    vertices, colours = built.shape_mean.astype(np.float64), built.albedo_mean.astype(np.float64)
    triangles = built.triangles.astype(np.int64)
    directed = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    known = {tuple(edge) for edge in directed.tolist()}
    alone = np.array([(a, b) for a, b in known if (b, a) not in known])
    graph = scipy.sparse.coo_matrix((np.ones(len(alone)), alone.T), (len(vertices),) * 2)
    loop = connected_components(graph, directed=False)[1]
    rim = np.flatnonzero(loop == np.bincount(loop[alone[:, 0]]).argmax())
    edges = np.searchsorted(rim, alone[np.isin(alone[:, 0], rim)])
    count, parts = len(vertices), [vertices]
    numbers = [rim] + [count + ring * len(rim) + np.arange(len(rim)) for ring in range(rings)]
    strips = [triangles]
    for ring in range(1, rings + 1):
        back = vertices[rim] * [1 + 0.004 * spacing * ring / rings, 1, 1]
        parts.append(back - [0, 0, spacing * ring])
        (a, b), (c, d) = numbers[ring - 1][edges].T, numbers[ring][edges].T
        strips += [np.stack([b, a, c], 1), np.stack([b, c, d], 1)]
    colours = np.concatenate([colours, np.full((rings * len(rim), 3), 0.5)])
    vertices = np.concatenate(parts)
    points = fitting.landmark_points(load_face_model("builtin"))
    # The lips' landmarks lie on each other where the mouth is closed; each has a vertex of its own.
    order = np.argsort(np.linalg.norm(vertices[None] - points[:, None], axis=-1), axis=1)
    landmarks: list[int] = []
    for near in order[:, :20]:
        landmarks.append(next(int(v) for v in near if int(v) not in landmarks))
    return Mesh(vertices, np.concatenate(strips).astype(np.int64), colours, np.array(landmarks))


@functools.cache
def chosen() -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles of the head's crop."""
    whole, builtin = head(), lender()
    placed = fitting.lay_over(whole.vertices, whole.triangles, builtin)
    return crop.face_patch(whole.vertices, whole.triangles, placed, builtin)


@functools.cache
def face() -> Mesh:
    """The head's crop."""
    whole, (kept, triangles) = head(), chosen()
    # The crop may leave out the ends of the jaw line.
    landmarks = np.asarray(KDTree(whole.vertices[kept]).query(whole.vertices[whole.landmarks])[1])
    return Mesh(whole.vertices[kept], triangles.astype(np.int64), whole.colours[kept], landmarks)


def close(gap: np.ndarray) -> None:
    """Landmarks lie millimetres `[n 3]` from where they should: by up to two edges of the mesh at
    the ends of the jaw, which a crop may leave out."""
    gap = np.linalg.norm(gap, axis=1)
    assert gap.mean() < 2.0 and gap.max() < 6.0


def basis(vertices: int, count: int, seed: int) -> np.ndarray:
    """Modes `[v 3 k]` of about a millimetre, the largest first."""
    rng = np.random.default_rng((seed, vertices))
    return rng.normal(size=(vertices, 3, count)) * np.linspace(1, 0.5, count)


# --- Basel Face Models ---------------------------------------------------------------------------


def mean_expression(mesh: Mesh) -> np.ndarray:
    """Millimetres by which the mean expression moves each vertex; part of `mesh.vertices`."""
    return 0.5 * np.sin(mesh.vertices / 20.0)


def write_bfm(path: Path, mesh: Mesh | None = None, *, modes: tuple[int, int, int] = MODES) -> None:
    """Basel Face Model 2017 or 2019."""
    mesh = mesh or head()
    points = mesh.vertices + bfm.CENTRE
    smile = mean_expression(mesh)
    means = {"shape": points - smile, "expression": smile, "color": mesh.colours}
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for (name, mean), count in zip(means.items(), modes, strict=True):
            modes_of = rng.normal(size=(mean.size, count)).astype(np.float32)
            modes_of /= np.linalg.norm(modes_of, axis=0)
            file[f"{name}/model/mean"] = mean.astype(np.float32).ravel()
            file[f"{name}/model/pcaBasis"] = modes_of
            file[f"{name}/model/pcaVariance"] = np.linspace(4.0, 1.0, count, dtype=np.float32)
        file["shape/representer/points"] = points.T.astype(np.float32)
        file["shape/representer/cells"] = mesh.triangles.T


def write_crop(path: Path) -> None:
    """The authors' `idxes_crop.pkl`."""
    kept, triangles = chosen()
    rows = (3 * kept[:, None] + np.arange(3)).ravel()
    names = ("shape_mean", "exp_mean", "color_mean")
    bases = ("shape_pcaBasis", "exp_pcaBasis", "color_pcaBasis")
    content = {"points": kept, "cells": triangles.T} | dict.fromkeys((*names, *bases), rows)
    path.write_bytes(pickle.dumps(content))


def write_merged_2009(path: Path) -> None:
    """`BFM_model_front.mat`."""
    mesh = face()
    count = len(mesh.vertices)
    sizes = dict(zip(("idBase", "exBase", "texBase"), MODES, strict=True))
    scale = {"idBase": 0.01, "exBase": 0.01, "texBase": 5.0}
    content = {
        key: scale[key] * basis(count, number, seed).reshape(3 * count, number)
        for seed, (key, number) in enumerate(sizes.items())
    }
    content |= {
        "meanshape": mesh.vertices.reshape(1, -1) / 100,
        "meantex": 255 * mesh.colours.reshape(1, -1),
        "tri": (mesh.triangles + 1).astype(np.float32),
        "keypoints": (mesh.landmarks + 1)[None].astype(np.float32),
        "point_buf": np.ones((count, 8), np.float32),
    }
    scipy.io.savemat(path, content, do_compression=True)


def write_original_2009(path: Path, *, front: bool = False) -> None:
    """`01_MorphableModel.mat`, whose last ten vertices have no expressions, and its companions."""
    mesh = head()
    count = len(mesh.vertices) + 10
    vertices = np.concatenate([mesh.vertices, np.tile(mesh.vertices[-1], (10, 1))])
    colours = np.concatenate([mesh.colours, np.zeros((10, 3))])
    content = {
        "shapeMU": 1e3 * vertices.reshape(-1, 1),
        "texMU": 255 * colours.reshape(-1, 1),
        "shapePC": 0.01 * basis(count, MODES[0], 0).reshape(3 * count, -1),
        "texPC": 0.01 * basis(count, MODES[2], 2).reshape(3 * count, -1),
        "shapeEV": np.linspace(1e5, 5e4, MODES[0])[:, None],
        "texEV": np.linspace(500, 100, MODES[2])[:, None],
        "tl": (mesh.triangles[:, ::-1] + 1).astype(np.float64),
    }
    scipy.io.savemat(path, content)
    folder, kept = path.parent, len(mesh.vertices)
    scipy.io.savemat(folder / "BFM_exp_idx.mat", {"trimIndex": np.arange(1, kept + 1)[:, None]})
    expression = np.moveaxis(basis(kept, MODES[1], 1), -1, 0).astype("<f4")
    with (folder / "Exp_Pca.bin").open("wb") as file:
        np.array([MODES[1]], "<i4").tofile(file)
        np.zeros(3 * kept, "<f4").tofile(file)
        expression.tofile(file)
    np.savetxt(folder / "std_exp.txt", np.linspace(1000, 500, MODES[1])[None])
    if front:
        part, index = face(), chosen()[0]
        scipy.io.savemat(folder / bfm2009.FRONT_FILES[0], {"idx": (index + 1.0)[:, None]})
        info = {"tri": part.triangles + 1.0, "keypoints": part.landmarks[None] + 1.0}
        scipy.io.savemat(folder / bfm2009.FRONT_FILES[1], info)


# --- FLAME ---------------------------------------------------------------------------------------


def flame_arrays() -> dict[str, np.ndarray]:
    """The keys of FLAME: the head, a jaw that carries the chin, 400 modes of which most are 0."""
    mesh = head()
    vertices = mesh.vertices / 1000 + [0.0, -0.02, 0.05]
    count = len(vertices)
    shapes = np.zeros((count, 3, 400), np.float32)
    shapes[..., :6], shapes[..., 300:305] = basis(count, 6, 0) / 1e3, basis(count, 5, 1) / 1e3
    # Root, neck, jaw, eyes: each joint at the mean of some vertices.
    regressor = np.zeros((5, count))
    behind = mesh.vertices[:, 2] < mesh.vertices[:, 2].min() + 15
    for joint, rows in enumerate(
        (behind, behind, behind, mesh.landmarks[42:48], mesh.landmarks[36:42])
    ):
        regressor[joint, rows] = 1 / np.count_nonzero(rows) if joint < 3 else 1 / 6
    chin = 1 / (1 + np.exp((mesh.vertices[:, 1] - mesh.vertices[mesh.landmarks[66], 1]) / 4))
    weights = np.zeros((count, 5))
    weights[:, 1], weights[:, 2] = 1 - chin, chin
    return {
        "v_template": vertices,
        "f": mesh.triangles.astype(np.uint32),
        "shapedirs": shapes,
        "posedirs": 1e-5 * np.random.default_rng(3).normal(size=(count, 3, 36)),
        "J_regressor": regressor,
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]]),
        "weights": weights,
    }


def write_flame(path: Path, *, modes: slice | list[int] = slice(None)) -> None:
    """`generic_model.pkl`, with chumpy and sparse arrays as in the original, or an npz."""
    arrays = flame_arrays()
    arrays["shapedirs"] = arrays["shapedirs"][..., modes]
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return
    # chumpy need not be installed: a pickle only names its classes.
    module, package = types.ModuleType("chumpy.ch"), types.ModuleType("chumpy")
    kind = type("Ch", (), {"__module__": "chumpy.ch"})
    module.Ch, sys.modules["chumpy"], sys.modules["chumpy.ch"] = kind, package, module
    try:
        chumpy = kind()
        chumpy.__dict__.update(x=arrays["shapedirs"], _dirty_vars=set(), _itr=None)
        content = arrays | {
            "shapedirs": chumpy,
            "J_regressor": scipy.sparse.csc_matrix(arrays["J_regressor"]),
            "bs_style": "lbs",
        }
        path.write_bytes(pickle.dumps(content, protocol=2))
    finally:
        del sys.modules["chumpy"], sys.modules["chumpy.ch"]


def gnm_arrays() -> dict[str, np.ndarray]:
    """The keys of GNM: the head, its eyeballs on joints of their own, few modes."""
    mesh = head()
    vertices = mesh.vertices / 1000 + [0.0, 0.25, 0.05]
    count, rng = len(vertices), np.random.default_rng(3)
    regions = np.zeros(count, int)
    regions[: len(lender().region)] = lender().region
    eyes = crop.eyeballs(mesh.triangles, regions)
    left = eyes & (mesh.vertices[:, 0] > 0)
    weights = np.zeros((4, count))
    below = 1 / (1 + np.exp((mesh.vertices[:, 1] - mesh.vertices[mesh.landmarks[8], 1]) / 4))
    weights[0], weights[1] = below * ~eyes, (1 - below) * ~eyes
    weights[2], weights[3] = left, eyes & ~left
    middle = [vertices.min(axis=0), vertices.mean(axis=0)]
    middle += [vertices[part].mean(axis=0) for part in (left, eyes & ~left)]
    corners = mesh.triangles
    return {
        "version": np.array("3.0"),
        "variant": np.array("head"),
        "template_vertex_positions": vertices.astype(np.float32),
        "template_joint_positions": np.array(middle, np.float32),
        "vertex_identity_basis": np.moveaxis(basis(count, 6, 0), -1, 0).astype(np.float32) / 1e3,
        "joint_identity_basis": 1e-3 * rng.normal(size=(6, 4, 3)).astype(np.float32),
        "expression_basis": np.moveaxis(basis(count, 5, 1), -1, 0).astype(np.float32) / 1e3,
        "identity_names": np.array([f"head_{k}" for k in range(6)]),
        "joint_names": np.array(["neck", "head", "left_eye", "right_eye"]),
        "expression_names": np.array([f"lower_face_region_{k}" for k in range(5)]),
        "joint_parent_indices": np.array([0, 0, 1, 1]),
        "skinning_weights": weights.astype(np.float32),
        "quads": np.concatenate([corners, corners[:, 2:]], axis=1),
        "triangles": corners,
        "quad_uvs": np.zeros((len(corners), 4, 2), np.float32),
        "triangle_uvs": np.tile(vertices[corners][..., :2] + 0.3, 1).astype(np.float32),
        "mesh_component_names": np.array(["skin", "eyes"]),
        "mirror_indices": np.arange(count),
        "joint_regressor": np.zeros((4, count), np.float32),
        "pose_correctives_regressor": 1e-5 * rng.normal(size=(36, 3 * count)).astype(np.float32),
        "bone_aligned_template_joint_orientations": np.tile(np.eye(3, dtype=np.float32), (4, 1, 1)),
        "vertex_groups": np.stack([~eyes, left, eyes & ~left]).astype(np.float32),
        "vertex_group_names": np.array(["skin", "left_eye", "right_eye"]),
    }


def flame_embedding(count: int = 68) -> dict[str, np.ndarray]:
    """Landmarks inside triangles: the first one at each landmark's vertex."""
    mesh = head()
    faces = [np.flatnonzero((mesh.triangles == v).any(axis=1))[0] for v in mesh.landmarks]
    weights = 0.9 * (mesh.triangles[faces] == mesh.landmarks[:, None]) + 0.1 / 3
    return {"lmk_face_idx": np.array(faces)[-count:], "lmk_b_coords": weights[-count:]}


def write_flame_albedo(folder: Path, side: int = 64) -> np.ndarray:
    """`FLAME_albedo_from_BFM.npz`, blue first, with a gradient; `head_template.obj` with its uv.

    Returns the uv of each vertex.
    """
    mesh = head()
    low, high = mesh.vertices[:, :2].min(axis=0), mesh.vertices[:, :2].max(axis=0)
    uv = 0.05 + 0.9 * (mesh.vertices[:, :2] - low) / (high - low)
    v, u = np.mgrid[side:0:-1, :side] / side
    mean = np.stack([0.2 + 0.1 * u, 0.3 + 0 * u, 0.6 + 0.2 * v], axis=-1)
    modes = 0.01 * np.random.default_rng(0).normal(size=(side * side * 3, MODES[2]))
    np.savez(folder / "FLAME_albedo_from_BFM.npz", MU=mean.ravel(), PC=modes)
    lines = [f"vt {a:.6f} {b:.6f}" for a, b in uv]
    lines += ["f " + " ".join(f"{c}/{c}" for c in row) for row in mesh.triangles + 1]
    (folder / "head_template.obj").write_text("\n".join(lines))
    return uv


# --- ICT-FaceKit ---------------------------------------------------------------------------------


def ict_order() -> np.ndarray:
    """The head's vertices in the order of ICT-FaceKit's files: landmarks have their numbers."""
    mesh = head()
    order = np.empty(len(mesh.vertices), int)
    order[ict.LANDMARKS] = mesh.landmarks
    free = np.setdiff1d(np.arange(len(order)), ict.LANDMARKS)
    order[free] = np.setdiff1d(np.arange(len(order)), mesh.landmarks)
    return order


def write_ict(folder: Path) -> None:
    """`FaceXModel`: landmarks at their numbers, the other vertices around, some faces quads."""
    folder.mkdir(parents=True, exist_ok=True)
    mesh, order = head(), ict_order()
    place, total = np.argsort(order), len(order)
    corners = place[mesh.triangles] + 1
    # The last triangle, b c d, and the one that is b a c, as a quad.
    b, c, d = corners[-1]
    other = np.flatnonzero((corners[:, 0] == b) & (corners[:, 2] == c))[0]
    corners = [*np.delete(corners[:-1], other, axis=0), [b, corners[other, 1], c, d]]
    faces = [" ".join(f"{c}/{c}" for c in row) for row in corners]
    topology = [f"vt {i / total:.5f} 0.5" for i in range(total)] + [f"f {face}" for face in faces]

    def write(name: str, vertices: np.ndarray) -> None:
        text = io.StringIO("# a comment\n")
        text.seek(0, 2)
        np.savetxt(text, vertices[order] / 10, fmt="v %.6f %.6f %.6f")
        text.write("\n".join(topology))
        (folder / f"{name}.obj").write_text(text.getvalue())

    write(ict.NEUTRAL, mesh.vertices)
    for number, mode in enumerate(np.moveaxis(basis(len(mesh.vertices), MODES[0], 0), -1, 0)):
        write(f"identity{number:03}", mesh.vertices + mode)
    for number, mode in enumerate(np.moveaxis(basis(len(mesh.vertices), MODES[1], 1), -1, 0)):
        write(f"mouth{number}", mesh.vertices + 5 * mode)


def write_ict_npz(path: Path) -> None:
    """The npz: centimetres, blendshapes of full weight, numbers of the original mesh."""
    mesh = head()
    count = len(mesh.vertices)
    face_part = np.arange(count) < len(head(rings=0).vertices)
    np.savez(
        path,
        mean=(mesh.vertices / 10).astype(np.float32),
        id_basis=np.moveaxis(basis(count, MODES[0], 0), -1, 0).astype(np.float16) / 10,
        exp_basis=np.moveaxis(basis(count, MODES[1], 1), -1, 0).astype(np.float16),
        triangles=mesh.triangles.astype(np.int32),
        uv=np.full((count, 2), 0.5, np.float32),
        lm68=mesh.landmarks.astype(np.int32),
        orig_index=np.where(face_part, np.arange(count), ict.FACE_VERTICES + np.arange(count)),
    )
