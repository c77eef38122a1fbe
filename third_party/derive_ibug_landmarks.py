"""Where the 68 iBUG points lie on MediaPipe's mesh: `IBUG` of focus_jax/data/mesh_landmarks.py.

    python third_party/derive_ibug_landmarks.py PHOTOS FRL

Every iBUG point lies on a line of the mesh: the jaw's on its rim, the brows' on their upper row or,
at their ends, between the upper and the lower one, and so on. Where people place the same point by
hand without doubt (corners of eyes and mouth, middle and peaks of the lips, chin), the vertex
nearest to the hand's is taken. The other points divide their line as dlib's points do, on the
median of frontal photos where the two detectors agree; both sides of the face are taken together.
The first folder holds photos with dlib's 68 points (train_landmarks.csv), the second people with
points placed by hand. Prints the table, and how far the points by the table in the package lie from
both.
"""

import csv
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from focus_jax.data.face_landmarker import LEFT, RIGHT, face_landmarker
from focus_jax.data.landmarks import read_landmarks
from focus_jax.data.mesh_landmarks import ibug_landmarks

# Lines of the mesh on the subject's right side, and the iBUG points on each; then their mirror.
RIGHT_LINES = {
    (127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152): range(0, 8),
    (70, 46): (17,),
    (63, 105, 66, 107): range(18, 21),
    (107, 55): (21,),
    (33, 246, 161, 160, 159, 158, 157, 173, 133): (37, 38),
    (33, 7, 163, 144, 145, 153, 154, 155, 133): (41, 40),
    (64, 98, 97, 2): (31, 32),
    (61, 185, 40, 39, 37): (49,),
    (61, 146, 91, 181, 84, 17): (59, 58),
    (61, 62, 78): (60,),
    (78, 191, 80, 81, 82, 13): (61,),
    (78, 95, 88, 178, 87, 14): (67,),
}
LEFT_LINES = {
    (356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152): range(16, 8, -1),
    (300, 276): (26,),
    (293, 334, 296, 336): range(25, 22, -1),
    (336, 285): (22,),
    (263, 466, 388, 387, 386, 385, 384, 398, 362): (44, 43),
    (263, 249, 390, 373, 374, 380, 381, 382, 362): (46, 47),
    (294, 327, 326, 2): (35, 34),
    (291, 409, 270, 269, 267): (53,),
    (291, 375, 321, 405, 314, 17): (55, 56),
    (291, 292, 308): (64,),
    (308, 415, 310, 311, 312, 13): (63,),
    (308, 324, 318, 402, 317, 14): (65,),
}
RIDGE = (168, 6, 197, 195, 5, 4, 1, 19, 94, 2)  # of the nose, which is its own mirror image
RIDGE_POINTS = (27, 28, 29, 30, 33)
# iBUG points that a hand places without doubt: the number of the hand's point, and the vertex.
BY_HAND = {
    **{36: (18, 33), 39: (22, 133), 42: (23, 362), 45: (27, 263)},
    **{48: (87, 61), 54: (93, 291), 50: (89, 37), 51: (90, 0), 52: (91, 267), 57: (106, 17)},
    **{62: (96, 13), 66: (101, 14), 8: (129, 152)},
}
AGREEING = 0.07  # of the outer-eye distance, median: more is a fault of one of the detectors
FRONTAL = 20.0  # degrees


def read_rgb(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def eyes(points):
    return np.linalg.norm(points[..., LEFT, :2] - points[..., RIGHT, :2], axis=-1)


def yaw(points):
    across = points[:, 454] - points[:, 234]
    return np.degrees(np.arctan2(across[:, 2], np.linalg.norm(across[:, :2], axis=1)))


def dlib_pairs(folder, find):
    """Meshes [n 478 3] and dlib's points [n 68 2] of frontal photos on which they agree."""
    meshes, others = [], []
    for row in read_landmarks(folder / "train_landmarks.csv"):
        for face in find(read_rgb(folder / "Dataset" / row.filename)):
            apart = np.linalg.norm(
                face.points[[v for _, v in BY_HAND.values()], :2] - row.landmarks[list(BY_HAND)],
                axis=1,
            )
            if np.median(apart) < AGREEING * eyes(face.points):
                meshes.append(face.points)
                others.append(row.landmarks)
    meshes, others = np.array(meshes, float), np.array(others, float)
    frontal = np.abs(yaw(meshes)) < FRONTAL
    return meshes[frontal], others[frontal]


def hand_pairs(folder, find):
    """Meshes [n 478 3] and the hand's 189 points [n 189 2] of the people who are not the test."""
    meshes, hands = [], []
    with (folder / "split.csv").open() as file:
        people = [row for row in csv.DictReader(file) if row["split"] == "train"]
    for person in people:
        place = "neutral_front" if person["set"] == "london" else "canada"
        for path in sorted((folder / place).glob(f"{person['person']}*.jpg")):
            faces = find(read_rgb(path))
            if len(faces) == 1:
                meshes.append(faces[0].points)
                hands.append(np.loadtxt(path.with_suffix(".csv"), delimiter=","))
    return np.array(meshes, float), np.array(hands)


def place_on_line(lines, targets, sizes):
    """Which piece of a line, and where on it: [k p 2] lines in k photos, [k 2] targets."""
    shares = np.linspace(0, 1, 41)
    places = lines[:, :-1, None] + shares[:, None] * (lines[:, 1:, None] - lines[:, :-1, None])
    apart = np.linalg.norm(places - targets[:, None, None], axis=-1) / sizes[:, None, None]
    cost = np.median(apart, axis=0)
    piece, share = np.unravel_index(cost.argmin(), cost.shape)
    return int(piece), float(shares[share]), float(cost.min())


def derive(meshes, others):
    """[68] triples: a vertex, its neighbour on the line, and the neighbour's share."""
    table = {point: (vertex, vertex, 0.0) for point, (_, vertex) in BY_HAND.items()}
    sizes = eyes(meshes)
    for (right, points), (left, mirrored) in zip(
        RIGHT_LINES.items(), LEFT_LINES.items(), strict=True
    ):
        lines = np.concatenate([meshes[:, right, :2], meshes[:, left, :2]])
        for point, other in zip(points, mirrored, strict=True):
            targets = np.concatenate([others[:, point], others[:, other]])
            piece, share, cost = place_on_line(lines, targets, np.tile(sizes, 2))
            table[point] = (right[piece], right[piece + 1], share)
            table[other] = (left[piece], left[piece + 1], share)
            print(f"{point:2} {other:2}: {100 * cost:.1f} % of the outer-eye distance from dlib's")
    for point in RIDGE_POINTS:
        piece, share, cost = place_on_line(meshes[:, RIDGE, :2], others[:, point], sizes)
        table[point] = (RIDGE[piece], RIDGE[piece + 1], share)
        print(f"{point:2}   : {100 * cost:.1f} %")
    return [table[point] for point in range(68)]


def main(photos, people):
    find = face_landmarker()
    meshes, others = dlib_pairs(Path(photos), find)
    print(len(meshes), "frontal photos with dlib's points")
    for first, second, share in derive(meshes, others):
        print(f"    ({first}, {second}, {share:.3f}),")
    mapped = np.array([ibug_landmarks(mesh) for mesh in meshes])
    apart = np.linalg.norm(mapped - others, axis=-1) / eyes(meshes)[:, None]
    print(f"the table in the package: {100 * np.median(apart):.2f} % from dlib's, median of all")
    meshes, hands = hand_pairs(Path(people), find)
    sizes = eyes(meshes)[:, None]
    print(len(meshes), "people with points placed by hand: mean shift x, y, root mean square, in %")
    for point, (number, _) in BY_HAND.items():
        shift = np.array([ibug_landmarks(mesh)[point] for mesh in meshes]) - hands[:, number]
        shift /= sizes
        size = 100 * np.sqrt((shift**2).sum(-1).mean())
        print(point, *(100 * shift.mean(0)).round(2), size.round(2))


if __name__ == "__main__":
    main(*sys.argv[1:])
