"""Small geometry and colours that things share."""

import numpy as np


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-9)


def turn(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rotation `[3 3]` by an angle in radians about a unit axis `[3]` (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def colourful(rng: np.random.Generator, most: float = 1.0) -> np.ndarray:
    """A colour `[3]` as clothes and things have: many dark, white or grey ones, some bright."""
    value = rng.uniform(0.03, most) ** rng.choice([0.6, 1.5])
    saturation = 0.0 if rng.random() < 0.35 else rng.uniform(0, 0.9)
    hue = np.abs((rng.random() * 6 + np.array([0, 4, 2])) % 6 - 3) - 1
    return np.clip(value * (1 - saturation * (1 - np.clip(hue, 0, 1))), 0.02, 0.97)
