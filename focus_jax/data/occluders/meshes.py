"""Meshes that things are put together from."""

import numpy as np

from focus_jax.data.occluders.part import OCCLUDER, Part


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-9)


def turn(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rotation `[3 3]` by an angle in radians about a unit axis `[3]` (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Of each vertex `[v 3]`, weighted by the triangles' areas."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    total = np.stack(
        [
            np.bincount(triangles.ravel(), np.repeat(face[:, k], 3), len(vertices))
            for k in range(3)
        ],
        axis=-1,
    )
    return unit(total)


def sheet(rows: int, columns: int, around: bool = False) -> np.ndarray:
    """Triangles `[t 3]` of a grid of vertices, row by row; `around` closes the rows."""
    number = np.arange(rows * columns).reshape(rows, columns)
    right = np.roll(number, -1, axis=1) if around else number[:, 1:]
    left = number if around else number[:, :-1]
    a, b, c, d = left[:-1], right[:-1], left[1:], right[1:]
    pairs = np.stack([np.stack([a, c, b], -1), np.stack([b, c, d], -1)], axis=2)
    return pairs.reshape(-1, 3).astype(np.int32)


def part(
    vertices: np.ndarray,
    triangles: np.ndarray,
    colour: np.ndarray,
    *,
    opacity: float = 1.0,
    label: int = OCCLUDER,
    shine: tuple[float, float] = (0.05, 10.0),
    uv: np.ndarray | None = None,
    texture: np.ndarray | None = None,
) -> Part:
    """A part seen from both sides, of one colour `[3]` or a colour of each vertex `[v 3]`."""
    colours = np.empty((len(vertices), 4), np.float32)
    colours[:, :3], colours[:, 3] = np.clip(colour, 0, 1), opacity
    flat = vertices.astype(np.float32)
    return Part(flat, triangles.astype(np.int32), colours, uv, texture, label, shine, True)


def tube(path: np.ndarray, radii: np.ndarray, sides: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles round a path `[k 3]`; radii are `[k]` or of two axes `[k 2]`."""
    along = unit(np.gradient(path, axis=0))
    pole = np.eye(3)[np.abs(along).mean(axis=0).argmin()]
    first = unit(np.cross(along, pole))
    second = np.cross(along, first)
    angle = np.arange(sides) * 2 * np.pi / sides
    wide = np.broadcast_to(np.reshape(radii, (len(path), -1)), (len(path), 2))
    ring = np.cos(angle)[:, None] * (wide[:, :1] * first)[:, None]
    ring = ring + np.sin(angle)[:, None] * (wide[:, 1:] * second)[:, None]
    return (path[:, None] + ring).reshape(-1, 3), sheet(len(path), sides, around=True)


def lathe(profile: np.ndarray, axis: int = 1, sides: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """A profile `[k 2]` (radius, height) turned about an axis."""
    angle = np.arange(sides) * 2 * np.pi / sides
    radius, height = profile.T[:, :, None]
    rings = [radius * np.cos(angle), radius * np.sin(angle), height + 0 * angle]
    order = [(axis + 1) % 3, (axis + 2) % 3, axis]
    vertices = np.stack([rings[order.index(k)] for k in range(3)], axis=-1)
    return vertices.reshape(-1, 3), sheet(len(profile), sides, around=True)


def noise(rng: np.random.Generator, points: np.ndarray, length: float) -> np.ndarray:
    """A smooth random function `[n]` of points `[n 3]`, of variance 1, that changes over `length`."""
    waves = rng.normal(0, 1 / length, (points.shape[1], 8))
    return np.sin(points @ waves + rng.uniform(0, 2 * np.pi, 8)).sum(axis=1) / 2


def colourful(rng: np.random.Generator, most: float = 1.0) -> np.ndarray:
    """A colour `[3]` as clothes and things have: many dark, white or grey ones, some bright."""
    value = rng.uniform(0.03, most) ** rng.choice([0.6, 1.5])
    saturation = 0.0 if rng.random() < 0.35 else rng.uniform(0, 0.9)
    hue = np.abs((rng.random() * 6 + np.array([0, 4, 2])) % 6 - 3) - 1
    return np.clip(value * (1 - saturation * (1 - np.clip(hue, 0, 1))), 0.02, 0.97)
