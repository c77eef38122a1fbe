"""Hair: whole styles, and strands that fall over the face."""

import functools

import cv2
import numpy as np

from focus_jax.data.occluders.head import Girth, Head, fitted, things
from focus_jax.data.occluders.meshes import colourful, part, sheet
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
            edge = 1.15 - np.abs(np.mgrid[-1:1:128j, -1:1:128j]).max(axis=0)
            plane = [np.clip(100 + 45 * grain, 10, 255)] * 3
            picture = np.dstack([*plane, np.where(edge * 3 + grain > 0.9, 255, 0)]).astype(np.uint8)
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
    styles = _styles()
    vertices, triangles, uv, picture = styles[rng.integers(len(styles)) if style is None else style]
    side = rng.choice([-1, 1])
    placed = Girth(head).outside(fitted(head, vertices * [side, 1, 1]), 1.0)
    hair = part(placed, triangles[:, ::side], np.ones(3), label=HAIR, shine=(0.12, 12))
    return [hair._replace(uv=uv, texture=_coloured(picture, colour))]


def fringe(head: Head, rng: np.random.Generator, colour: np.ndarray) -> list[Part]:
    """Strands from the hairline over the forehead, an eye or a temple, or single ones across."""
    girth, count = Girth(head), int(rng.integers(30, 70))
    style = rng.choice(["straight", "swept", "curtain", "strands"], p=[0.35, 0.25, 0.2, 0.2])
    brow = head.landmarks[17:27, 1].mean()
    top = head.vertices[:, 1].max()
    low = brow + rng.uniform(-30, 25)
    t = np.linspace(0, 1, 12)[:, None]
    place = np.sort(rng.uniform(-1, 1, count))
    parting = rng.uniform(-0.5, 0.5)
    if style == "straight":
        start = end = 1.05 * place
        bottom = low + 12 * place**2
    elif style == "swept":
        start = parting + 0.5 * place
        end = parting - np.sign(parting) * rng.uniform(0.2, 1.5, count)
        bottom = low - 18 * np.abs(end - parting) + 20
    elif style == "curtain":
        away = np.where(place > parting, 1, -1)
        start = parting + 0.25 * (place - parting)
        end = away * rng.uniform(0.75, 1.25, count)
        bottom = brow - rng.uniform(20, 130, count)
    else:
        count = int(rng.integers(2, 9))
        start = parting + rng.normal(0, 0.3, count)
        end = start + rng.normal(0, 0.5, count)
        bottom = brow - rng.uniform(-5, 110, count)
    bottom = bottom + rng.normal(0, 5, count)
    wave, phase = rng.uniform(0, 0.05), rng.uniform(0, 6, count)
    ease = t**1.6 if style in ("swept", "curtain") else t
    angle = start + (end - start) * ease + wave * np.sin(7 * t + phase)
    first = top + 8 - 14 * start**2
    height = first + (bottom - first) * t
    width = rng.uniform(2.5, 5, count) if style == "strands" else rng.uniform(7, 14, count)
    lift = rng.uniform(1.5, 7, count) + 6 * (1 - t) ** 2 - 40 * (1 - t) ** 8  # from under the hair
    # Strands are ribbons: a middle that bulges and two edges.
    radius = girth.reach(angle, height, 12) + lift
    half = width / 2 / 70 * (1 - 0.5 * t**3)
    strip = [girth.points(angle + k * half, height, radius + 1.5 * (k == 0)) for k in (-1, 0, 1)]
    vertices = np.stack(strip, axis=2).transpose(1, 0, 2, 3).reshape(-1, 3)  # strand, along, across
    grid = sheet(12, 3)
    triangles = np.concatenate([grid + 36 * k for k in range(count)])
    across = rng.uniform(0, 0.8, (count, 1, 1)) + 0.2 * np.linspace(0, 1, 3)
    uv = np.stack(np.broadcast_arrays(across, t[None]), axis=-1).reshape(-1, 2)
    shade = np.repeat(rng.uniform(0.75, 1.15, (count, 1)), 36, axis=0).repeat(3, axis=1)
    hair = part(vertices, triangles, shade, label=HAIR, shine=(0.15, 15))
    texture = _strands(rng, colour)
    return [hair._replace(uv=uv.astype(np.float32), texture=texture)]


def _strands(rng: np.random.Generator, colour: np.ndarray) -> np.ndarray:
    """Single hairs side by side, each ending somewhere in the last third `[128 256 4]`."""
    hairs = cv2.GaussianBlur(rng.normal(1, 0.55, (1, 256)), (0, 0), 0.8)
    tone = np.clip(hairs * np.linspace(0.8, 1.15, 128)[:, None], 0.2, 1.8)
    ends = 128 * rng.uniform(0.6, 1.0, 256)
    gaps = rng.random(256) < 0.12
    opaque = (np.arange(128)[:, None] < ends) & ~(gaps & (np.arange(128)[:, None] > 40))
    picture = np.concatenate([tone[..., None] * colour, opaque[..., None]], axis=-1)
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
