"""What is behind a person, and what a garment is made of."""

import cv2
import numpy as np

from focus_jax.rendering import scenes


def colourful(rng: np.random.Generator, saturation: float = 0.6) -> np.ndarray:
    """A random colour `[3]`, from pale to dark; saturations up to `saturation`."""
    hue, strength, value = rng.uniform(0, 1), rng.uniform(0, saturation), rng.uniform(0.08, 0.95)
    wheel = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return (value * (1 - strength + strength * wheel)).astype(np.float32)


def background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A wall, or a room out of focus, `[n n 3]` of linear light."""
    whole, size = size, max(48, size // 3)  # nothing is sharp there
    first, second = colourful(rng, 0.3), colourful(rng, 0.3)
    corners = np.stack([first, second, 0.5 * (first + second), first]).reshape(2, 2, 3)
    picture = cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.75:
        for _ in range(rng.integers(5, 25)):
            low = rng.uniform(-0.2, 0.95, 2) * size
            high = low + rng.gamma(2, 0.12, 2) * size
            corners = (tuple(int(v) for v in low), tuple(int(v) for v in high))
            cv2.rectangle(picture, *corners, [float(c) for c in colourful(rng, rng.uniform(0, 0.7))], -1)
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.01, 0.06) * size)
    rough = rng.normal(1, 0.12, (4, 4, 1)).astype(np.float32)
    shade = cv2.resize(rough, (size, size), interpolation=cv2.INTER_CUBIC)[..., None]
    picture = cv2.resize(picture * shade, (whole, whole), interpolation=cv2.INTER_CUBIC)
    return scenes.linear(picture)


def garment(rng: np.random.Generator) -> np.ndarray:
    """Cloth as a texture `[n n 4]` uint8: plain, striped or checked, with uneven dye."""
    size, first, second = 128, colourful(rng, 0.6), colourful(rng, 0.6)
    y, x = np.mgrid[:size, :size].astype(np.float32) * (2 * np.pi / size)
    waves = np.sin(rng.integers(6, 40) * (x if rng.random() < 0.3 else y)) > rng.uniform(-0.6, 0.8)
    kind = rng.choice(["plain", "stripes", "checks"], p=[0.7, 0.2, 0.1])
    if kind == "checks":
        waves = 0.5 * waves + 0.5 * (np.sin(rng.integers(6, 30) * x) > 0)
    pattern = np.zeros_like(x) if kind == "plain" else waves.astype(np.float32)
    rough = rng.normal(0, 1, (10, 10)).astype(np.float32)
    # Folds, which light falls on from above.
    folds = cv2.resize(rough, (size, size), interpolation=cv2.INTER_CUBIC)
    cloth = first + pattern[..., None] * (second - first)
    cloth = cloth * (1 + 0.09 * folds[..., None] + rng.normal(0, 0.03, (size, size, 1)))
    opaque = np.full((size, size, 1), 255)
    return np.concatenate([np.clip(cloth, 0, 1) * 255, opaque], axis=-1).astype(np.uint8)

