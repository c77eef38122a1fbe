"""Styles of hair and its colours."""

import functools

import cv2
import numpy as np

from focus_jax.data.occluders.head import Girth, Head, fitted, things
from focus_jax.data.occluders.meshes import colourful
from focus_jax.data.occluders.part import HAIR, Part

_NATURAL = np.array(
    [
        *[(0.06, 0.05, 0.05), (0.13, 0.09, 0.07), (0.24, 0.16, 0.10), (0.40, 0.27, 0.16)],
        *[(0.66, 0.52, 0.33), (0.42, 0.20, 0.10), (0.55, 0.54, 0.53), (0.80, 0.79, 0.77)],
    ]
)


def hair_colour(rng: np.random.Generator) -> np.ndarray:
    """A colour of hair `[3]`: black to brown mostly, blond, red, grey, now and then a dye."""
    if rng.random() < 0.06:
        return colourful(rng, 0.9)
    base = _NATURAL[rng.choice(8, p=[0.25, 0.2, 0.17, 0.12, 0.1, 0.06, 0.06, 0.04])]
    return np.clip(base * rng.uniform(0.8, 1.25) + rng.normal(0, 0.01, 3), 0.02, 1)


@functools.cache
def _styles() -> tuple[tuple[np.ndarray, ...], ...]:
    """Vertices, triangles, texture coordinates and picture (brightness and opacity) of each."""
    data, styles = things(), []
    for key in sorted(data):
        if not (key.startswith("hair_") and key.endswith("_vertices")):
            continue
        get = functools.partial(_get, data, key.removesuffix("vertices"))
        picture = get("texture")
        if picture is None:  # curls
            grain = np.random.default_rng(0).normal(0, 1, (128, 128))
            grain = cv2.GaussianBlur(grain, (0, 0), 2) * 6
            plane = [np.clip(100 + 45 * grain, 10, 255)] * 3
            picture = np.dstack([*plane, np.full((128, 128), 255)]).astype(np.uint8)
        else:
            picture = cv2.imdecode(picture, cv2.IMREAD_UNCHANGED)
        uv = get("uv").astype(np.float32) / 65535
        styles.append((get("vertices") / 20.0, get("triangles").astype(np.int32), uv, picture))
    return tuple(styles)


def _get(data, name: str, key: str):
    return data.get(name + key)


def _coloured(picture: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """A picture of hair in this colour; its opacity a little firmer than painted."""
    table = np.clip(np.arange(256)[:, None] * [*(colour * 2), 1.3], 0, 255).astype(np.uint8)
    return cv2.LUT(picture, table[None])


def hairdo(
    head: Head, rng: np.random.Generator, colour: np.ndarray, style: int | None = None
) -> list[Part]:
    """A style of hair on the head. `style` is for looking."""
    chance = things()["hair_weight"]
    style = rng.choice(len(chance), p=chance / chance.sum()) if style is None else style
    vertices, triangles, uv, picture = _styles()[style]
    side = rng.choice([-1, 1])
    placed = Girth(head).outside(fitted(head, vertices * [side, 1, 1]), 1.0)
    white, texture = np.ones((len(placed), 4), np.float32), _coloured(picture, colour)
    placed, triangles = placed.astype(np.float32), triangles[:, ::side]
    return [Part(placed, triangles, white, uv, texture, HAIR, (0.12, 12.0), True)]
