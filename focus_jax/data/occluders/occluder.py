"""Things in front of a face that a face model cannot explain, painted onto any picture.

They are anchored to the 68 landmarks, so that a mask follows the jaw and glasses the eyes. What
they hide is known exactly, which is what masks are judged by.
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from focus_jax.data.occluders import held as occluders_held
from focus_jax.data.occluders import worn as occluders_worn
from focus_jax.data.occluders.painting import Layer, blank, composite, polygon, rgb
from focus_jax.data.occluders.scene import Scene, face_outline, look_at

OCCLUDERS = (
    "none",
    "glasses",
    "sunglasses",
    "mask",
    "scarf",
    "hand",
    "fringe",
    "microphone",
    "patch",
    "hat",
)
CANVAS = 192  # the least width to paint on, in pixels
HIDDEN = (0.05, 0.55)  # least and largest part of the face that an occluder may hide
_ATTEMPTS = 12

_PAINTERS: dict[str, Callable[[Scene, np.random.Generator], Layer]] = {
    "glasses": occluders_worn.glasses,
    "sunglasses": occluders_worn.sunglasses,
    "mask": occluders_worn.mask,
    "scarf": occluders_worn.scarf,
    "hand": occluders_held.hand,
    "fringe": occluders_held.fringe,
    "microphone": occluders_held.microphone,
    "patch": occluders_held.patch,
    "hat": occluders_worn.hat,
}


class Pasted(NamedTuple):
    image: np.ndarray  # uint8 [s s 3]
    occluded: np.ndarray  # uint8 [s s]: 255 where the occluder hides what was there


def paste_occluder(
    image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator, kind: str
) -> Pasted:
    """An occluder pasted on a picture `[s s 3]` uint8 of a face with landmarks `[68 2]` in pixels.

    A pure function of its arguments and the generator's state. Returns the picture and a mask
    `[s s]` uint8, 255 where the occluder covers at least half of the pixel's light (the lenses of
    glasses do not, those of sunglasses do). Raises ValueError for other shapes, dtypes and kinds.
    """
    size = image.shape[0]
    if image.shape != (size, size, 3) or image.dtype != np.uint8:
        raise ValueError(f"a square uint8 RGB picture is needed, not {image.dtype}{image.shape}")
    if landmarks.shape != (68, 2):
        raise ValueError(f"68 landmarks (x, y) are needed, not an array of {landmarks.shape}")
    factor = canvas_factor(size)
    canvas = (np.asarray(landmarks, np.float64) + 0.5) * factor - 0.5
    large = cv2.resize(image, (size * factor, size * factor), interpolation=cv2.INTER_LINEAR)
    scene = look_at(large.astype(np.float32) / 255, canvas)
    region = polygon(scene.size, face_outline(scene)) > 0.5
    layer = shrink(paint_occluder(scene, kind, region, rng), size)
    picture = composite(image.astype(np.float32) / 255, layer)
    occluded = np.where(layer.alpha > 0.5, 255, 0).astype(np.uint8)
    return Pasted(np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8), occluded)


def canvas_factor(size: int) -> int:
    """How many times larger than a picture of `size` pixels the canvas is that one paints on."""
    return max(2, -(-CANVAS // size))


def paint_occluder(scene: Scene, kind: str, region: np.ndarray, rng: np.random.Generator) -> Layer:
    """A layer `[n n]` with one occluder that hides a part of `region [n n]` within HIDDEN.

    It is painted anew until it does; after some attempts the one that came closest is taken.
    Raises ValueError for a kind that is not in OCCLUDERS.
    """
    if kind == "none":
        return blank(scene.size)
    if kind not in _PAINTERS:
        raise ValueError(f"occluder must be one of {OCCLUDERS}, not {kind!r}")
    best, best_miss = blank(scene.size), np.inf
    for _ in range(_ATTEMPTS):
        layer = _PAINTERS[kind](scene, rng)
        part = hidden_part(layer.alpha, region)
        miss = max(HIDDEN[0] - part, part - HIDDEN[1], 0.0)
        if miss < best_miss:
            best, best_miss = layer, miss
        if miss == 0:
            break
    return best


def hidden_part(alpha: np.ndarray, region: np.ndarray) -> float:
    """Which part of a region `[n n]` (0 to 1) lies under more than half of an alpha `[n n]`."""
    return float(((alpha > 0.5) * region).sum() / max(region.sum(), 1.0))


def shrink(layer: Layer, size: int) -> Layer:
    """The layer averaged down to `size` pixels; colours are weighted by what they hide."""

    def down(plane: np.ndarray) -> np.ndarray:
        return cv2.resize(plane, (size, size), interpolation=cv2.INTER_AREA)

    alpha = down(layer.alpha)
    colour = down(layer.colour * rgb(layer.alpha)) / rgb(np.maximum(alpha, 1e-4))
    return Layer(colour, alpha, down(layer.shadow))
