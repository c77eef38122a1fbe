"""What is around a rendered face: a background, neck and shoulders, and hair behind the face."""

import cv2
import numpy as np

from focus_jax.data.occluders.held import hair_colour
from focus_jax.data.occluders.painting import (
    cloth,
    colourful,
    extent,
    flat,
    grid,
    noise,
    over,
    polygon,
    soften,
    spline,
    tinted,
)
from focus_jax.data.occluders.scene import Scene


def background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A gradient, coloured noise, fabric, or a blurred room, `[n n 3]` in [0, 1]."""
    first, second = colourful(rng), colourful(rng)
    x, y = (plane / size for plane in grid(size))
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5) + 0.5
    picture = flat(size, first) + tinted(slope, second - first)
    kind = rng.choice(["gradient", "noise", "cloth", "room"], p=[0.25, 0.25, 0.15, 0.35])
    if kind == "noise":
        for _ in range(3):
            bumps = soften(noise(rng, size, rng.uniform(3, 12), 2), 0.01 * size)
            picture = picture + tinted(0.12 * bumps, colourful(rng) + 0.3)
    elif kind == "cloth":
        picture = cloth(rng, size, first, size / rng.uniform(4, 14))
    elif kind == "room":
        picture = np.ascontiguousarray(picture, np.float32)
        for _ in range(rng.integers(4, 14)):
            low = rng.uniform(-0.2, 0.9, 2) * size
            high = low + rng.uniform(0.05, 0.6, 2) * size
            colour = [float(c) for c in colourful(rng, 0.8)]
            corners = (tuple(int(v) for v in low), tuple(int(v) for v in high))
            cv2.rectangle(picture, *corners, colour, -1)
        picture = soften(picture, rng.uniform(0.004, 0.04) * size)
    return np.clip(picture, 0, 1).astype(np.float32)


def body(picture: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """The picture `[n n 3]` with hair, neck and clothes behind where the face will be."""
    size, points = scene.size, scene.landmarks
    hair = (hair_colour(rng) if scene.hair is None else scene.hair) + np.zeros(3)
    if rng.random() < 0.85:
        picture = over(picture, *_hair(scene, rng, hair))
    wide = rng.uniform(0.6, 0.85)
    chin, left, right = points[8], points[4], points[12]
    neck = np.stack(
        [
            chin + wide * (left - chin) - 0.1 * scene.mm * scene.down,
            chin + wide * (right - chin),
            chin + wide * (right - chin) + 90 * scene.mm * scene.down,
            chin + wide * (left - chin) + 90 * scene.mm * scene.down,
        ]
    )
    shade = 0.72 + 0.1 * noise(rng, size, 4)
    picture = over(picture, soften(polygon(size, neck), 0.6), tinted(shade, scene.skin))
    collar = chin + rng.uniform(18, 40) * scene.mm * scene.down
    across = scene.mm * scene.right
    shoulders = np.stack(
        [
            collar - 34 * across,
            collar + 10 * scene.mm * scene.down,
            collar + 34 * across,
            collar + 150 * across + 60 * scene.mm * scene.down,
            collar + 150 * across + 300 * scene.mm * scene.down,
            collar - 150 * across + 300 * scene.mm * scene.down,
            collar - 150 * across + 60 * scene.mm * scene.down,
        ]
    )
    garment = cloth(rng, size, colourful(rng), size / rng.uniform(8, 25))
    return over(picture, soften(polygon(size, shoulders), 0.6), garment)


def _hair(
    scene: Scene, rng: np.random.Generator, colour: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and colours of a head of hair, short or long, as seen behind the face."""
    long = rng.choice([0.0, rng.uniform(20, 130)], p=[0.55, 0.45])
    high, wide = rng.uniform(100, 130), rng.uniform(80, 104)
    sides = [(-wide, 40 + long), (-wide * 1.02, -10), (-0.72 * wide, -0.75 * high), (0, -high)]
    outline = [scene.at(x + rng.normal(0, 4), y + rng.normal(0, 4)) for x, y in sides]
    outline += [scene.at(-x + rng.normal(0, 4), y + rng.normal(0, 4)) for x, y in sides[2::-1]]
    alpha = soften(polygon(scene.size, spline(np.stack(outline), closed=True)), 0.8)
    centre, place = scene.at(0, -60), extent(alpha)
    x, y = (plane[place] for plane in grid(scene.size))
    around = np.arctan2(y - centre[1], x - centre[0])
    bands = np.sin(around * rng.uniform(25, 60) + 2 * noise(rng, scene.size, 6)[place])
    fine = noise(rng, scene.size, scene.size / 4)[place]
    texture = 1 + 0.18 * bands + 0.12 * fine + 0.15 * noise(rng, scene.size, 5)[place]
    picture = np.zeros((scene.size, scene.size, 3))
    picture[place] = np.clip(tinted(texture, colour), 0, 1)
    return alpha, picture
