"""What right hands do before faces, of `hand_shapes.csv` and `hand_poses.csv`.

Shapes are angles in degrees, as `focus_jax/data/occluders/hands.py` describes them. A pose is: a
shape; landmarks aimed at, and a shift from their mean in mm; joints of the hand that aim, and a
shift from theirs; the directions of the fingers, of the palm, and from the face to the hand; mm
between them; whether fingers follow the face; whether both hands do the same; what is held; how
often it happens.
"""

import csv
from pathlib import Path

import builtin_face_mesh as mesh
import numpy as np

HELD = ("nothing", "phone", "cup", "microphone")


def read(name: str) -> list[dict[str, str]]:
    with (Path(__file__).parent / name).open(newline="") as file:
        return list(csv.DictReader(file))


def numbers(text: str) -> np.ndarray:
    return np.array([float(word) for word in text.split()])


def share(text: str, count: int) -> np.ndarray:
    """Equal weights `[count]` of those that are named."""
    row = np.bincount(numbers(text).astype(int), minlength=count)
    return row / max(row.sum(), 1)


def arrays() -> dict[str, np.ndarray]:
    """The poses as the package reads them."""
    poses = read("hand_poses.csv")
    rows = [list(row.values()) for row in read("hand_shapes.csv")]
    shapes = {name: [float(angle) for angle in angles] for name, *angles in rows}
    pairs = {**{k: 16 - k for k in range(17)}, **mesh.MIRROR}
    pairs = {**{k: k for k in range(68)}, **pairs, **{b: a for a, b in pairs.items()}}

    def column(make, dtype: type = np.float32) -> np.ndarray:
        return np.array([make(pose) for pose in poses], dtype)

    return {
        "landmark_mirror": np.array([pairs[k] for k in range(68)], np.int8),
        "pose_angles": column(lambda p: shapes[p["shape"]]),
        "pose_target": column(lambda p: share(p["landmarks"], 68)),
        "pose_target_shift": column(lambda p: numbers(p["shift"])),
        "pose_joints": column(lambda p: share(p["joints"], 21)),
        "pose_joints_shift": column(lambda p: numbers(p["joints shift"])),
        "pose_frame": column(lambda p: [numbers(p[k]) for k in ("fingers", "palm", "away")]),
        "pose_gap": column(lambda p: p["gap"]),
        "pose_follow": column(lambda p: int(p["follows"]), bool),
        "pose_both": column(lambda p: int(p["both"]), bool),
        "pose_held": column(lambda p: HELD.index(p["holds"]), np.int8),
        "pose_weight": column(lambda p: p["often"]),
    }
