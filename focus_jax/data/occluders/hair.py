"""Styles of hair and its colours."""

import functools

import cv2
import numpy as np

from focus_jax.data.occluders.head import Girth, Head, fitted, things
from focus_jax.data.occluders.meshes import colourful
from focus_jax.data.occluders.part import HAIR, Part


def hair_colour(rng: np.random.Generator) -> np.ndarray:
    """A colour of hair `[3]`: black to brown mostly, blond, red, grey, now and then a dye."""
    if rng.random() < 0.06:
        return colourful(rng, 0.9)
    base = rng.choice(things()["hair_tones"])
    return np.clip(base * rng.uniform(0.8, 1.25) + rng.normal(0, 0.01, 3), 0.02, 1)


@functools.cache
def _style(number: int) -> tuple[np.ndarray, ...]:
    """Vertices, triangles, texture coordinates and picture (brightness and opacity) of a style."""
    vertices, triangles, uv, texture = (
        things()[f"hair_{number}_{key}"] for key in ("vertices", "triangles", "uv", "texture")
    )
    picture = np.asarray(cv2.imdecode(texture, cv2.IMREAD_UNCHANGED))
    return vertices / 20.0, triangles.astype(np.int32), uv.astype(np.float32) / 65535, picture


def hairdo(
    head: Head, rng: np.random.Generator, colour: np.ndarray, style: int | None = None
) -> list[Part]:
    """A style of hair on the head. `style` is for looking."""
    chance = things()["hair_weight"]
    style = rng.choice(len(chance), p=chance / chance.sum()) if style is None else style
    vertices, triangles, uv, picture = _style(style)
    side = rng.choice([-1, 1])
    placed = Girth(head).outside(fitted(head, vertices * [side, 1, 1]), 1.0)
    white = np.ones((len(placed), 4), np.float32)
    # Opacity is a little firmer than it was painted.
    table = np.clip(np.arange(256)[:, None] * [*(colour * 2), 1.3], 0, 255).astype(np.uint8)
    texture = cv2.LUT(picture, table[None])
    placed, triangles = placed.astype(np.float32), triangles[:, ::side]
    return [Part(placed, triangles, white, uv, texture, HAIR, (0.12, 12.0), True)]
