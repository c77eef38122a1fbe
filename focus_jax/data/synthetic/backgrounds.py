"""What is behind a person, and what a garment is made of: photographs, changed; or painted."""

import functools

import cv2
import numpy as np

from focus_jax.data.occluders.head import things
from focus_jax.data.occluders.meshes import colourful
from focus_jax.rendering import scenes


@functools.cache
def _photographs(kind: str) -> list[np.ndarray]:
    """Pictures `[h w 3]` uint8 of the archive: "photo" of surroundings, "cloth" of clothes."""
    data = things()
    found = [
        np.asarray(cv2.imdecode(data[key], cv2.IMREAD_COLOR))[..., ::-1]
        for key in sorted(data)
        if key.startswith(f"{kind}_")
    ]
    return [np.ascontiguousarray(picture) for picture in found]


def _piece(rng: np.random.Generator, kind: str, size: int, least: float) -> np.ndarray:
    """A piece `[n n 3]` of a photograph, at least a part `least` of it wide, in [0, 1], dyed."""
    photographs = _photographs(kind)
    photo = photographs[rng.integers(len(photographs))]
    side = round(rng.uniform(least, 1) * min(photo.shape[:2]))
    top, left = (rng.integers(0, n - side + 1) for n in photo.shape[:2])
    piece = photo[top : top + side, left : left + side]
    if rng.random() < 0.5:
        piece = piece[:, ::-1]
    piece = cv2.resize(piece, (size, size), interpolation=cv2.INTER_LINEAR) * np.float32(1 / 255)
    return np.clip(piece * rng.uniform(0.6, 1.3) * np.exp(rng.normal(0, 0.08, 3)), 0, 1)


def background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A photograph or a wall, mostly out of focus, `[n n 3]` of linear light."""
    fine = max(96, size // 2)
    if rng.random() < 0.8:
        picture = _piece(rng, "photo", fine, 0.3)
        if rng.random() < 0.3:  # something of another one in front of it
            low, high = np.sort(rng.integers(0, fine, (2, 2)), axis=0)
            place = np.s_[low[0] : high[0], low[1] : high[1]]
            picture[place] = _piece(rng, "photo", fine, 0.3)[place]
    else:
        corners = np.stack([colourful(rng, 0.9) for _ in range(4)]).reshape(2, 2, 3)
        corners = corners.mean((0, 1)) + 0.3 * (corners - corners.mean((0, 1)))
        picture = cv2.resize(corners, (fine, fine), interpolation=cv2.INTER_LINEAR)
    picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.002, 0.03) * fine)
    picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR)
    return scenes.linear(picture.astype(np.float32))


def garment(rng: np.random.Generator) -> np.ndarray:
    """Cloth as a texture `[n n 4]` uint8: photographed, plain, striped or checked."""
    size, first, second = 128, colourful(rng, 0.9), colourful(rng, 0.9)
    y, x = np.mgrid[:size, :size].astype(np.float32) * (2 * np.pi / size)
    waves = np.sin(rng.integers(6, 40) * (x if rng.random() < 0.3 else y)) > rng.uniform(-0.6, 0.8)
    kind = rng.choice(["photo", "plain", "stripes", "checks"], p=[0.35, 0.45, 0.13, 0.07])
    if kind == "checks":
        waves = 0.5 * waves + 0.5 * (np.sin(rng.integers(6, 30) * x) > 0)
    pattern = np.zeros_like(x) if kind == "plain" else waves.astype(np.float32)
    cloth = first + pattern[..., None] * (second - first)
    if kind == "photo":
        cloth = _piece(rng, "cloth", size, 0.6)
    # Folds, which light falls on from above.
    rough = rng.normal(0, 1, (10, 10)).astype(np.float32)
    folds = cv2.resize(rough, (size, size), interpolation=cv2.INTER_CUBIC)
    cloth = cloth * (1 + 0.09 * folds[..., None] + rng.normal(0, 0.03, (size, size, 1)))
    opaque = np.full((size, size, 1), 255)
    return np.concatenate([np.clip(cloth, 0, 1) * 255, opaque], axis=-1).astype(np.uint8)
