"""What the things before a face are handed over as, and what a pixel of a rendering can be."""

from typing import NamedTuple

import numpy as np

BACKGROUND, FACE, HAIR, OCCLUDER = 0, 1, 2, 3


class Part(NamedTuple):
    """A mesh in the head's space: millimetres, x right, y up, z out of the face.

    Opacity below 1 lets through what lies behind.
    """

    vertices: np.ndarray  # [v 3] float32
    triangles: np.ndarray  # [t 3] int32, counter-clockwise from outside
    colours: (
        np.ndarray
    )  # [v 4] float32: sRGB and opacity in [0, 1]; times the texture if there is one
    uv: np.ndarray | None  # [v 2] float32 in [0, 1], (0, 0) the texture's upper left corner
    texture: np.ndarray | None  # [h w 4] uint8: sRGB and opacity
    label: int  # FACE (a clear lens), HAIR or OCCLUDER
    shine: tuple[float, float]  # strength of the highlight, and its exponent
    two_sided: bool  # whether the inner side is seen too
