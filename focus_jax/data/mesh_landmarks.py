"""What MediaPipe's 478 points are: 68 iBUG points out of them, their mirror images."""

import numpy as np
from jaxtyping import Float

# The point lies on the line from one vertex to the next, at that share of it. The corners of eyes
# and mouth, the middle and the peaks of the lips and the chin are where people place them by hand;
# the others divide lines of the mesh as dlib's points do (third_party/derive_ibug_landmarks.py).
IBUG = (
    # jaw
    (127, 234, 0.000),
    (234, 93, 0.225),
    (93, 132, 0.425),
    (132, 58, 0.550),
    (58, 172, 0.650),
    (136, 150, 0.125),
    (150, 149, 0.700),
    (176, 148, 0.475),
    (152, 152, 0.000),
    (400, 377, 0.475),
    (379, 378, 0.700),
    (365, 379, 0.125),
    (288, 397, 0.650),
    (361, 288, 0.550),
    (323, 361, 0.425),
    (454, 323, 0.225),
    (356, 454, 0.000),
    # brows
    (70, 46, 0.250),
    (63, 105, 0.150),
    (105, 66, 0.375),
    (66, 107, 0.350),
    (107, 55, 0.500),
    (336, 285, 0.500),
    (296, 336, 0.350),
    (334, 296, 0.375),
    (293, 334, 0.150),
    (300, 276, 0.250),
    # nose
    (168, 6, 0.175),
    (6, 197, 0.750),
    (195, 5, 0.575),
    (4, 1, 0.100),
    (98, 97, 0.325),
    (97, 2, 0.100),
    (2, 2, 0.000),
    (326, 2, 0.100),
    (327, 326, 0.325),
    # eyes
    (33, 33, 0.000),
    (160, 159, 0.325),
    (158, 157, 0.250),
    (133, 133, 0.000),
    (145, 153, 0.750),
    (163, 144, 0.925),
    (362, 362, 0.000),
    (385, 384, 0.250),
    (387, 386, 0.325),
    (263, 263, 0.000),
    (390, 373, 0.925),
    (374, 380, 0.750),
    # lips, outside
    (61, 61, 0.000),
    (40, 39, 0.550),
    (37, 37, 0.000),
    (0, 0, 0.000),
    (267, 267, 0.000),
    (270, 269, 0.550),
    (291, 291, 0.000),
    (321, 405, 0.500),
    (405, 314, 0.975),
    (17, 17, 0.000),
    (181, 84, 0.975),
    (91, 181, 0.500),
    # inside
    (78, 78, 0.000),
    (81, 82, 0.875),
    (13, 13, 0.000),
    (311, 312, 0.875),
    (308, 308, 0.000),
    (402, 317, 0.825),
    (14, 14, 0.000),
    (178, 87, 0.825),
)

# Points on the middle line. Those of the subject's right side and of his left one, 248 to 467, have
# the same order; then come two irises, which begin at the same side of the photo. (Facts of the
# mesh.)
MIDDLE = (*(0, 1, 2, 4, 5, 6, *range(8, 20), 94, 151, 152, 164, 168, 175, 195, 197, 199, 200),)
MIRROR = np.arange(478)  # of each point, the number of its mirror image
MIRROR[[n for n in range(248) if n not in MIDDLE]] = np.arange(248, 468)
MIRROR[[468, 469, 470, 471, 472]] = 473, 476, 475, 474, 477
MIRROR[MIRROR[np.arange(478) < MIRROR]] = np.flatnonzero(np.arange(478) < MIRROR)


def ibug_landmarks(points: Float[np.ndarray, "478 c"]) -> Float[np.ndarray, "68 2"]:
    """The 68 points of a mesh's face, as float32, in whatever pixels it comes in."""
    first, second, share = zip(*IBUG, strict=True)
    near, far = points[list(first), :2], points[list(second), :2]
    return (near + np.array(share)[:, None] * (far - near)).astype(np.float32)
