"""Fitted faces in the words of FLAME and GNM: npz of their own parameters, a row a frame.

Both say where the head is in the photo's camera: metres, y up, the camera at the origin looks along
-z. `K [3 3]` and `size` (width, height) are those of the photo; a point (x, y, z) is seen at
`K @ (x, -y, -z)`. `error` is the mean distance, in millimetres, between points of the two surfaces.

flame.npz has the keys of VHAP and GaussianAvatars: `shape [300]`, `expr [n 100]`, `rotation [n 3]`,
`neck_pose [n 3]`, `jaw_pose [n 3]`, `eyes_pose [n 6]` (left, right), `translation [n 3]` and
`static_offset [1 v 3]`, which is 0. Rotations are axis-angle; the neck is not told by a face.

gnm.npz has the arguments of GNM's own function: `identity [253]`, `expression [n 383]`,
`rotations [n 4 3]` (neck, which turns the whole head; head, which stays; left eye, right eye) and
`translation [n 3]`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from focus_jax.face_models import closed, flame, gnm
from focus_jax.photos import head_fit
from focus_jax.system.files import write_npz
from focus_jax.types import FaceModel

HEADS = {"flame": flame, "gnm": gnm}
JOINTS = {
    "flame": head_fit.Joints(free=(0, flame.JAW), eyes=(3, 4)),
    "gnm": head_fit.Joints(free=(0,), eyes=(2, 3)),  # the mouth opens by expressions
}
FLIP = np.array([1.0, -1.0, -1.0])  # a camera's y points down


def bind(kind: str, path: Path, face_model: FaceModel) -> head_fit.Bound:
    """The head of a file, with where a face model lies on it; `kind` is of `HEADS`.

    ValueError for a file that is no such head, and for a face model that is not in millimetres.
    """
    if face_model.units != "mm":
        raise ValueError(f"--export {kind} needs a face model in mm; this is in {face_model.units}")
    reader = HEADS[kind]
    if not reader.recognizes(path):
        raise ValueError(f"{path} is not {kind.upper()}'s file")
    head = reader.read_head(path)
    placed, landmarks = reader.place(path, head, closed(face_model)[0])
    return head_fit.bind(head, placed, landmarks, face_model, JOINTS[kind])


def write(
    folder: Path,
    kind: str,
    bound: head_fit.Bound,
    neutral: Float[np.ndarray, "v 3"],
    vertices: Iterable[Float[np.ndarray, "v 3"]],
    cameras: Sequence[dict[str, Any]],
    size: tuple[int, int],
    frames: Int[np.ndarray, "n"],
) -> None:
    """FOLDER/KIND.npz of one person's frames; `cameras` are those of face.json.

    Shapes as in `head_fit.fit`, of a face model in millimetres; `size` is the photo's width and
    height. OSError where that fails.
    """
    rotation = np.array([camera["R"] for camera in cameras]) * FLIP[:, None]
    translation = np.array([camera["t"] for camera in cameras]) * FLIP
    found = head_fit.fit(bound, neutral, vertices, rotation, translation)
    arrays = {"flame": _flame, "gnm": _gnm}[kind](found, bound)
    matrices = np.array([camera["K"] for camera in cameras], np.float32)
    about = {"K": matrices, "size": np.array(size), "frames": frames, "error": found.error}
    write_npz(folder / f"{kind}.npz", **arrays, **about)


def _flame(found: head_fit.Fit, bound: head_fit.Bound) -> dict[str, np.ndarray]:
    turns = found.rotations
    return {
        "shape": found.identity,
        "expr": found.expression,
        "rotation": turns[:, 0],
        "neck_pose": turns[:, 1],
        "jaw_pose": turns[:, 2],
        "eyes_pose": turns[:, 3:].reshape(len(turns), 6),
        "translation": found.translation / 1000,
        "static_offset": np.zeros((1, *np.shape(bound.whole.template)), np.float32),
    }


def _gnm(found: head_fit.Fit, bound: head_fit.Bound) -> dict[str, np.ndarray]:
    del bound
    return {
        "identity": found.identity,
        "expression": found.expression,
        "rotations": found.rotations,
        "translation": found.translation / 1000,
    }
