"""What hands do before faces: joint angles, where they touch, how they lie. Right hands; the left mirror them."""

import builtin_face_mesh as mesh
import numpy as np

# Degrees: thumb (towards the palm, from the index, two bends), four fingers (spread, three bends),
# wrist (towards the palm, towards the thumb).
SHAPES = {
    "flat": [-15, -10, 0, 0, 3, 5, 4, 3, 0, 5, 4, 3, -3, 5, 4, 3, -7, 5, 4, 3, 15, 0],
    "cupped": [-5, -5, 5, 10, 3, 25, 18, 12, 0, 28, 20, 14, -3, 28, 22, 14, -7, 26, 22, 14, 20, 0],
    "curled": [20, -10, 10, 20, 4, 40, 55, 30, 0, 48, 60, 35, -3, 55, 62, 38, -6, 60, 60, 38, 20, 0],
    "relaxed": [10, -5, 5, 12, 6, 15, 25, 15, 1, 22, 32, 18, -4, 30, 36, 20, -9, 36, 38, 20, 25, 0],
    "fist": [38, -22, 25, 45, 2, 82, 100, 60, 0, 84, 102, 62, -2, 84, 102, 62, -4, 84, 100, 60, 15, 0],
    "spread": [0, 22, -15, -5, 16, 4, 8, 5, 3, 2, 8, 5, -11, 4, 8, 5, -27, 6, 10, 6, 10, 0],
    "point": [40, -15, 20, 45, 2, 8, 8, 5, 0, 78, 95, 55, -3, 82, 98, 58, -5, 82, 98, 58, 15, 0],
    "two": [42, -15, 25, 45, 9, 5, 8, 5, -7, 4, 8, 5, -4, 80, 98, 58, -6, 82, 98, 58, 15, 0],
    "two_closed": [35, -15, 25, 35, 2, 12, 12, 8, 0, 12, 12, 8, -4, 75, 90, 55, -6, 78, 92, 55, 15, 0],
    "pinch": [32, -12, 15, 20, 2, 48, 48, 20, -1, 52, 52, 26, -5, 40, 40, 24, -10, 32, 36, 20, 25, 0],
    "angle": [-8, 20, -5, 10, 4, 40, 45, 20, 0, 62, 75, 40, -3, 72, 82, 45, -6, 76, 84, 45, 10, 0],
    "claw": [0, 5, 10, 25, 8, 22, 42, 26, 2, 24, 44, 28, -6, 26, 44, 28, -15, 30, 44, 28, 10, 0],
    "grip": [38, 4, 5, 22, 6, 42, 42, 26, 1, 44, 46, 28, -4, 46, 48, 28, -9, 50, 48, 28, 5, 0],
    "grip_thin": [40, -12, 22, 35, 3, 66, 78, 42, 0, 68, 80, 42, -2, 70, 82, 44, -5, 72, 82, 44, 5, 0],
    "grip_ear": [15, 0, 0, 10, 8, 6, 12, 8, 2, 4, 12, 8, -5, 4, 12, 8, -14, 6, 12, 8, 10, 0],
    "grip_flat": [30, 15, 0, 20, 8, 26, 44, 30, 2, 24, 46, 32, -5, 24, 46, 32, -14, 26, 44, 30, 5, 0],
}  # fmt: skip
MOUTH, NOSE, BRIDGE, CHIN, FOREHEAD = (51, 57), (30,), (27,), (8,), (19, 24)
EYE, CHEEK, TEMPLE, EAR, JAW = (37, 40), (3, 31), (0, 17), (1,), (5,)
PALM, KNUCKLES, FINGERS, INDEX, TIPS = (0, 9, 9), (9, 10), (6, 10, 14), (8,), (8, 12)
NOTHING, PHONE, CUP, MICROPHONE = range(4)

# Shape; landmarks aimed at and a shift in mm; joints that aim and a shift in the hand; directions of
# the fingers, of the palm, and from the face to the hand; mm between them; whether fingers follow
# the face; whether the other hand does the same; what is held; how often.
POSES = [
    ("flat", MOUTH, (0, 0, 0), (9, 10), (0, 0, 0), (0.85, 0.5, -0.15), (0, 0, -1), (0, 0, 1), 0, 1, 0, NOTHING, 2),
    ("cupped", MOUTH, (0, -5, 0), (9, 10), (0, 0, 0), (0.6, 0.75, -0.2), (0.25, 0, -1), (0, 0, 1), 0, 1, 0, NOTHING, 2),
    ("curled", MOUTH, (0, -8, 0), FINGERS, (0, 0, 0), (0.7, 0.6, -0.3), (0.2, 0.3, -1), (0, 0, 1), 0, 0, 0, NOTHING, 1),
    ("fist", MOUTH, (0, -6, 0), (5, 6), (0, 0, 0), (0.75, 0.55, 0.1), (-0.3, 0.1, -0.9), (0, 0, 1), 0, 0, 0, NOTHING, 1),
    ("flat", CHEEK, (-8, -5, 0), PALM, (0, 0, 0), (-0.15, 1, -0.25), (0.85, 0.1, -0.55), (-0.7, 0, 0.7), 0, 1, 0, NOTHING, 2),
    ("cupped", CHEEK, (-14, -18, 0), PALM, (0, 0, 0), (-0.3, 1, -0.1), (0.8, 0.35, -0.5), (-0.7, -0.3, 0.6), 0, 1, 0, NOTHING, 2),
    ("cupped", CHEEK, (-14, -18, 0), PALM, (0, 0, 0), (-0.3, 1, -0.1), (0.8, 0.35, -0.5), (-0.7, -0.3, 0.6), 0, 1, 1, NOTHING, 1),
    ("fist", CHEEK, (-2, 2, 0), (10, 14), (0, 0, 0), (0.35, 0.9, -0.1), (-0.2, 0.3, 0.9), (-0.4, -0.1, 0.9), 0, 0, 0, NOTHING, 1),
    ("curled", CHEEK, (-4, 0, 0), (10, 11), (0, 0, 0), (0.15, 1, 0), (0.6, 0.2, -0.8), (-0.7, 0, 0.7), 0, 0, 0, NOTHING, 1),
    ("fist", CHIN, (0, 12, 0), KNUCKLES, (0, 0, 0), (0.25, 1, 0.15), (0.5, 0, -0.85), (0, -0.35, 1), 0, 0, 0, NOTHING, 2),
    ("curled", CHIN, (0, 16, 0), FINGERS, (0, 0, 0), (0.55, 0.8, 0.2), (0.2, -0.2, -0.9), (0, -0.3, 1), 0, 0, 0, NOTHING, 1),
    ("angle", CHIN, (4, 20, 0), (6,), (0, 0, 0), (0.75, 0.65, -0.1), (0.1, 0.25, -1), (0, -0.1, 1), 0, 1, 0, NOTHING, 2),
    ("pinch", CHIN, (0, 18, 0), (4, 8), (0, 0, 0), (0.45, 0.75, -0.5), (0.25, 0.45, -0.85), (0, -0.3, 1), 0, 0, 0, NOTHING, 1),
    ("point", MOUTH, (0, -4, 0), (7,), (0, 0, 0), (0.12, 1, -0.1), (0.9, 0, -0.4), (0, 0, 1), 0, 0, 0, NOTHING, 2),
    ("point", NOSE, (0, 0, 0), INDEX, (0, 0, 0), (0.3, 0.75, -0.6), (0.5, 0.3, -0.8), (0, 0, 1), 0, 0, 0, NOTHING, 1),
    ("two_closed", BRIDGE, (0, -4, 0), TIPS, (0, 0, 0), (0.4, 0.8, -0.45), (0.25, 0.4, -0.9), (0, 0, 1), 0, 0, 0, NOTHING, 1),
    ("pinch", BRIDGE, (0, -8, 0), (4, 8), (0, 0, 0), (0.15, 0.85, -0.5), (0.2, 0.5, -0.85), (0, 0, 1), 0, 0, 0, NOTHING, 1),
    ("flat", EYE, (0, 0, 0), (9, 10), (0, 0, 0), (0.3, 1, -0.1), (0.15, 0, -1), (0, 0, 1), 0, 1, 0, NOTHING, 2),
    ("cupped", EYE, (0, -5, 0), (0, 9, 9, 10), (0, 0, 0), (0.1, 1, -0.1), (0.3, 0, -0.9), (-0.2, 0, 1), 0, 1, 0, NOTHING, 1),
    ("flat", BRIDGE, (0, 0, 0), (10,), (0, 0, 0), (1, 0.2, -0.1), (0, 0, -1), (0, 0, 1), 0, 1, 0, NOTHING, 2),
    ("cupped", EYE, (0, 0, 0), FINGERS, (0, 0, 0), (0.35, 1, -0.1), (0.1, 0, -1), (0, 0, 1), 0, 1, 1, NOTHING, 2),
    ("spread", NOSE, (0, 12, 0), (9, 10), (0, 0, 0), (0.15, 1, -0.1), (0.1, 0, -1), (0, 0, 1), 0, 1, 0, NOTHING, 2),
    ("spread", EYE, (5, 0, 0), (10,), (0, 0, 0), (0.55, 0.9, -0.1), (0.1, 0, -1), (0, 0, 1), 2, 1, 0, NOTHING, 1),
    ("claw", FOREHEAD, (-12, 12, 0), (9, 10), (0, 0, 0), (0.35, 0.9, -0.35), (0.1, -0.2, -1), (0, 0.2, 1), 0, 1, 0, NOTHING, 2),
    ("flat", FOREHEAD, (0, 15, 0), (9, 10), (0, 0, 0), (0.95, 0.35, -0.1), (0, -0.15, -1), (0, 0.2, 1), 0, 1, 0, NOTHING, 2),
    ("relaxed", FOREHEAD, (-10, 10, 0), (10,), (0, 0, 0), (0.8, 0.5, 0.1), (0, 0.15, 1), (0, 0.2, 1), 0, 0, 0, NOTHING, 1),
    ("two_closed", TEMPLE, (12, 0, 0), TIPS, (0, 0, 0), (0.45, 0.85, -0.3), (0.8, -0.1, -0.6), (-0.7, 0, 0.7), 0, 0, 0, NOTHING, 2),
    ("claw", CHEEK, (4, 0, 0), TIPS, (0, 0, 0), (0.3, 0.9, -0.4), (0.4, 0.2, -0.9), (-0.4, 0, 0.9), 0, 1, 0, NOTHING, 2),
    ("relaxed", JAW, (10, 20, 0), FINGERS, (0, 0, 0), (0.35, 0.9, 0), (0.7, 0.2, -0.7), (-0.6, -0.2, 0.8), 0, 1, 0, NOTHING, 2),
    ("flat", NOSE, (-14, -10, 0), (9, 10), (0, 0, 0), (0.1, 1, -0.25), (1, 0, 0.05), (0, 0, 1), 0, 0, 1, NOTHING, 1),
    ("spread", NOSE, (-20, 5, 0), (9,), (0, 0, 0), (0.1, 1, 0.1), (-0.1, 0, 1), (0, 0, 1), 70, 0, 0, NOTHING, 2),
    ("two", EYE, (0, 0, 0), (7, 11), (0, 0, 0), (0.4, 0.9, 0), (0, 0, 1), (0, 0, 1), 8, 0, 0, NOTHING, 1),
    ("pinch", MOUTH, (0, -2, 0), TIPS, (0, 0, 0), (0.4, 0.7, -0.6), (0.2, 0.6, -0.8), (0, 0, 1), 0, 0, 0, NOTHING, 1),
    ("flat", NOSE, (0, 0, 0), (9, 10), (0, 0, 0), (0.3, -1, -0.05), (0, 0, -1), (0, 0, 1), 0, 1, 0, NOTHING, 1),
    ("spread", BRIDGE, (0, 10, 0), (10,), (0, 0, 0), (1, -0.25, 0), (0, 0, -1), (0, 0, 1), 0, 1, 0, NOTHING, 1),
    ("grip_ear", EAR, (18, -4, 10), (), (0, 70, 20), (0.1, 0.85, -0.5), (0.9, 0, 0.25), (-1, 0, 0.4), 2, 0, 0, PHONE, 2),
    ("grip_flat", NOSE, (-5, -20, 0), (), (0, 85, 20), (0.1, 1, 0.25), (0, 0.2, -1), (0, 0, 1), 55, 0, 0, PHONE, 2),
    ("grip_flat", EYE, (15, 0, 0), (), (0, 75, 20), (0.9, 0.4, 0.2), (0, 0, -1), (0, 0, 1), 70, 0, 0, PHONE, 1),
    ("grip", MOUTH, (0, -8, 0), (), (45, 68, 44), (0.85, -0.05, 0.1), (0.2, -0.2, -1), (0, -0.1, 1), 0, 0, 0, CUP, 3),
    ("grip", MOUTH, (0, 0, 0), (), (50, 68, 44), (0.75, 0.2, -0.5), (0.4, -0.2, -0.9), (0, 0.1, 1), 0, 0, 0, CUP, 2),
    ("grip_thin", MOUTH, (0, -12, 0), (), (92, 84, 24), (0.75, -0.1, -0.5), (-0.5, -0.2, -0.8), (0, 0, 1), 2, 0, 0, MICROPHONE, 3),
    ("grip_thin", MOUTH, (8, -18, 0), (), (92, 84, 24), (0.6, 0.5, -0.3), (0.5, -0.1, -0.8), (0, 0, 1), 6, 0, 0, MICROPHONE, 2),
]  # fmt: skip


def arrays() -> dict[str, np.ndarray]:
    """The poses as the package reads them."""

    def share(indices: tuple, count: int) -> np.ndarray:
        row = np.bincount(np.array(indices, int), minlength=count)
        return row / max(row.sum(), 1)

    columns = list(zip(*POSES, strict=True))
    pairs = {**{k: 16 - k for k in range(17)}, **mesh.MIRROR}
    pairs = {**{k: k for k in range(68)}, **pairs, **{b: a for a, b in pairs.items()}}
    return {
        "landmark_mirror": np.array([pairs[k] for k in range(68)], np.int8),
        "pose_angles": np.array([SHAPES[name] for name in columns[0]], np.float32),
        "pose_target": np.array([share(c, 68) for c in columns[1]], np.float32),
        "pose_target_shift": np.array(columns[2], np.float32),
        "pose_joints": np.array([share(c, 21) for c in columns[3]], np.float32),
        "pose_joints_shift": np.array(columns[4], np.float32),
        "pose_frame": np.array(list(zip(*columns[5:8], strict=True)), np.float32),
        "pose_gap": np.array(columns[8], np.float32),
        "pose_follow": np.array(columns[9], bool),
        "pose_both": np.array(columns[10], bool),
        "pose_held": np.array(columns[11], np.int8),
        "pose_weight": np.array(columns[12], np.float32),
    }
