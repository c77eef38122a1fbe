"""Random scenes for the rasterizer: [b v 3] screen positions and [t 3] triangles."""

import numpy as np

KINDS = (
    "soup", "integers", "grid", "flat grid", "slivers", "points", "nan", "infinite", "huge",
    "tiny", "behind", "large",
)  # fmt: skip


def grid(rows, columns):
    """Triangles of a grid of vertices, two a cell, counter-clockwise on screen."""
    a = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1)
    b, c, d = a + 1, a + columns, a + columns + 1
    return np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)]).astype(np.int32)


def scene(kind, seed, batch, height, width):
    """Scenes of one kind, with one set of triangles."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    size = np.array([width, height, 1.0])
    if kind in ("grid", "flat grid"):
        rows, columns = 9, 11
        y, x = np.mgrid[:rows, :columns]
        # Whole and half steps put vertices and edges on pixel centres.
        step = rng.choice([0.5, 1.0, 1.5, 2.0], (batch, 1, 2))
        screen = np.stack([x, y], -1).reshape(1, -1, 2) * step + rng.integers(-3, 3, (batch, 1, 2))
        depth = 100 + rng.integers(0, 3, (batch, rows * columns, 1)) * (kind == "grid")
        return np.concatenate([screen, depth], -1).astype(np.float32), grid(rows, columns)
    count, triangles = 60, rng.integers(0, 60, (200, 3)).astype(np.int32)
    screen = rng.random((batch, count, 3)) * (size * 1.4) - size * 0.2
    screen[..., 2] = 1 + rng.random((batch, count))
    if kind == "integers":
        screen = np.round(screen)
    if kind == "slivers":
        screen[..., 1] = screen[..., 0] * 0.7 + rng.random((batch, count)) * 1e-4
    if kind == "points":
        screen[:, :, :2] = rng.integers(0, 3, (batch, count, 2)) * size[:2] / 3
    if kind == "nan":
        screen[rng.random(screen.shape) < 0.1] = np.nan
    if kind == "infinite":
        screen[rng.random(screen.shape) < 0.1] = np.inf
        screen[rng.random(screen.shape) < 0.1] = -np.inf
    if kind == "huge":
        exponents = rng.choice([5, 9, 12, 14.9, 15.1, 18, 25, 38], screen.shape[:2])
        where = rng.random(screen.shape[:2]) < 0.4
        screen[..., :2] *= np.where(where, 10**exponents, 1.0)[..., None] / size[:2]
    if kind == "tiny":
        exponents = rng.choice([-3.0, -8, -14, -16, -25, -38, -42, -45], screen.shape)
        screen = np.where(rng.random(screen.shape) < 0.4, 10**exponents, screen)
    if kind == "behind":
        screen[..., 2] = rng.choice([-1.0, 0.0, 1.0, 1e-30, 1e30, 5.0], screen.shape[:2])
    if kind == "large":
        screen[..., :2] = (screen[..., :2] - size[:2] / 2) * 50
    with np.errstate(over="ignore"):
        return screen.astype(np.float32), triangles
