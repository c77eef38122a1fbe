"""Landmarks against points that people placed by hand, in percent of the outer-eye distance.

The hand's are the 189 points of the templates of DeBruine and Jones (Face Research Lab London Set,
Young Adult White Faces; the order of their `.tem` files). Nobody has named them: those below were
chosen by drawing all of them on enlarged photos. A point counts where a hand has no choice (corners
of eyes and mouth, the foot of the nose, middles and peaks of the lips); a lid or the jaw is a line
that each hand and each detector divides as it likes, so that the distance to the line counts.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline

HAND = 189  # points
PUPILS = (0, 1)  # the subject's right one first, as everywhere
OUTER_EYES = (18, 27)
MOUTH_CORNERS = (87, 93)

# iBUG point: the hand's.
POINTS: dict[str, dict[int, int]] = {
    "eye corners": {36: 18, 39: 22, 42: 23, 45: 27},
    "nose": {33: 55},
    "mouth corners": {48: 87, 54: 93},
    "lips": {50: 89, 51: 90, 52: 91, 57: 106, 62: 96, 66: 101},
}
# The hand's points along a line, and the iBUG points that should lie on it.
_JAW = (110, 111, 125, 126, 127, 128, 129, 130, 131, 132, 133, 114, 113)
CURVES: dict[str, Sequence[tuple[Sequence[int], Sequence[int]]]] = {
    "lids": (
        ((18, 19, 20, 21, 22), (37, 38)),
        ((18, 28, 29, 30, 22), (40, 41)),
        ((23, 24, 25, 26, 27), (43, 44)),
        ((23, 31, 32, 33, 27), (46, 47)),
    ),
    "jaw": ((_JAW, tuple(range(3, 14))),),
}
# Of MediaPipe's mesh: vertices of the lids between the corners of the eyes, and of its rim as far
# as the jaw goes; centres of the irises. Facts of that mesh.
MESH_CURVES: dict[str, Sequence[tuple[Sequence[int], Sequence[int]]]] = {
    "lids": (
        ((18, 19, 20, 21, 22), (246, 161, 160, 159, 158, 157, 173)),
        ((18, 28, 29, 30, 22), (7, 163, 144, 145, 153, 154, 155)),
        ((23, 24, 25, 26, 27), (466, 388, 387, 386, 385, 384, 398)),
        ((23, 31, 32, 33, 27), (249, 390, 373, 374, 380, 381, 382)),
    ),
    "jaw": (
        (
            _JAW,
            (58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288),
        ),
    ),
}
MESH_PUPILS = {468: 0, 473: 1}


def outer_eyes(hand: Float[np.ndarray, "189 2"]) -> float:
    """Distance between the outer corners of the eyes; ValueError where they are one point."""
    if hand.shape != (HAND, 2):
        raise ValueError(f"people placed {HAND} points, not {hand.shape}")
    distance = float(np.linalg.norm(hand[OUTER_EYES[0]] - hand[OUTER_EYES[1]]))
    if not distance > 0:
        raise ValueError("the outer corners of the eyes are one point")
    return distance


def errors(found: Float[np.ndarray, "68 2"], hand: Float[np.ndarray, "189 2"]) -> dict[str, float]:
    """Mean error of each group of POINTS, of all of these as "points", and of each of CURVES.

    In percent of the outer-eye distance.
    """
    unit = 100 / outer_eyes(hand)
    groups = {name: _distances(found, hand, pairs) for name, pairs in POINTS.items()}
    groups["points"] = np.concatenate(list(groups.values()))
    groups |= {name: _off_curves(found, hand, lines) for name, lines in CURVES.items()}
    return {name: unit * float(distance.mean()) for name, distance in groups.items()}


def mesh_errors(
    mesh: Float[np.ndarray, "478 c"], hand: Float[np.ndarray, "189 2"]
) -> dict[str, float]:
    """Pupils, lids and jaw by the vertices of MediaPipe's mesh; in percent as in `errors`."""
    unit = 100 / outer_eyes(hand)
    points = mesh[:, :2]
    groups = {"pupils": _distances(points, hand, MESH_PUPILS)}
    groups |= {name: _off_curves(points, hand, lines) for name, lines in MESH_CURVES.items()}
    return {name: unit * float(distance.mean()) for name, distance in groups.items()}


def mouth_width(found: Float[np.ndarray, "68 2"], hand: Float[np.ndarray, "189 2"]) -> float:
    """Distance between the corners of the mouth, in that of the hand's."""
    right, left = MOUTH_CORNERS
    return float(np.linalg.norm(found[54] - found[48]) / np.linalg.norm(hand[left] - hand[right]))


def _distances(found: np.ndarray, hand: np.ndarray, pairs: Mapping[int, int]) -> np.ndarray:
    return np.linalg.norm(found[list(pairs)] - hand[list(pairs.values())], axis=1)


def _off_curves(
    found: np.ndarray, hand: np.ndarray, lines: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> np.ndarray:
    return np.concatenate(
        [curve_distance(found[list(points)], hand[list(curve)]) for curve, points in lines]
    )


def curve_distance(
    points: Float[np.ndarray, "n 2"], knots: Float[np.ndarray, "k 2"]
) -> Float[np.ndarray, "n"]:
    """Distance of points to the smooth line through `knots`, a cubic spline over their chords.

    Straight pieces would cut the corners of a line of few points by as much as is measured here.
    """
    steps = np.linalg.norm(np.diff(knots, axis=0), axis=1)
    knots = knots[np.r_[True, steps > 0]]  # two points of a hand may coincide
    length = np.r_[0, np.cumsum(steps[steps > 0])]
    fine = np.unique(np.r_[np.linspace(0, length[-1], 40 * len(knots)), length])
    line = CubicSpline(length, knots)(fine)
    start, along = line[:-1], np.diff(line, axis=0)
    share = ((points[:, None] - start) * along).sum(-1) / (along**2).sum(-1)
    nearest = start + np.clip(share, 0, 1)[..., None] * along
    return np.linalg.norm(points[:, None] - nearest, axis=-1).min(axis=1)
