"""Light as the world has it: rooms, skies, sun, flash, stages; and what harmonics tell."""

import functools

import numpy as np

from focus_jax.rendering import scenes, shading

KINDS = {"room": 0.34, "sky": 0.2, "sun": 0.12, "studio": 0.12, "flash": 0.06, "side": 0.06,
         "back": 0.05, "coloured": 0.05}  # fmt: skip


def random_light(rng: np.random.Generator) -> tuple[str, scenes.Light]:
    """A kind of light, and one of it, about 1 in sum; x right, y down, z away from the camera."""
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    ambient, lamps = rng.uniform(0.35, 0.7), []
    if kind == "room":
        lamps = [(_above(rng, 0.9), rng.uniform(0.3, 0.8), rng.uniform(4, 14)) for _ in range(2)]
        lamps = lamps[: rng.integers(1, 3)]
    elif kind == "sky":
        ambient = rng.uniform(0.7, 0.9)
        lamps = [(_above(rng, 0.6), rng.uniform(0.1, 0.35), 14.0)]
    elif kind == "sun":
        ambient = rng.uniform(0.2, 0.4)
        lamps = [(_above(rng, 1.0), rng.uniform(0.8, 1.6), rng.uniform(0.8, 2))]
    elif kind == "studio":
        ambient = rng.uniform(0.25, 0.5)
        key = rng.uniform(-1, 1)
        lamps = [
            (_unit(key, rng.uniform(-0.8, 0), -1), rng.uniform(0.5, 0.9), rng.uniform(5, 14)),
            (_unit(-key, -0.2, -1), rng.uniform(0.1, 0.4), 14.0),
            (_unit(-key, -0.6, 0.8), rng.uniform(0, 0.9), 6.0),
        ]
    elif kind == "flash":
        ambient = rng.uniform(0.05, 0.25)
        lamps = [(_unit(*rng.normal([0, -0.06], 0.05), -1), 1.0, rng.uniform(0.6, 1.5))]
    elif kind == "side":
        ambient = rng.uniform(0.05, 0.25)
        side = rng.choice([-1, 1])
        lamps = [(_unit(side, rng.normal(-0.3, 0.3), rng.uniform(-0.7, 0.2)), 1.2, 5.0)]
    elif kind == "back":
        ambient = rng.uniform(0.3, 0.5)
        lamps = [(_unit(rng.normal(0, 0.8), -0.5, 1), rng.uniform(1, 2.5), 3.0)]
    else:
        ambient = rng.uniform(0.05, 0.3)
        lamps = [(_above(rng, 1.2), rng.uniform(0.4, 1.1), rng.uniform(2, 10)) for _ in range(2)]
    vivid = 0.8 if kind == "coloured" else 0.1
    colours = [strength * _tint(rng, vivid) for _, strength, _ in lamps]
    tint = _tint(rng, 0.5 if kind == "coloured" else 0.08)
    slope = ambient * rng.normal(
        [0, -0.25, -0.2], [0.15, 0.15, 0.15]
    )  # more from above, and before
    return kind, scenes.Light(
        np.outer([ambient, *slope], tint).astype(np.float32),
        np.array([towards for towards, *_ in lamps], np.float32).reshape(-1, 3),
        np.array(colours, np.float32).reshape(-1, 3),
        np.array([soft for *_, soft in lamps], np.float32),
    )


def _unit(*direction: float) -> np.ndarray:
    return np.array(direction) / np.linalg.norm(direction)


def _above(rng: np.random.Generator, spread: float) -> np.ndarray:
    """A lamp before the face and mostly above."""
    return _unit(rng.normal(0, spread), rng.normal(-0.7, 0.5), -1.0)


def _tint(rng: np.random.Generator, vivid: float) -> np.ndarray:
    """Factors `[3]` of a colour of mean 1: a lamp's temperature, or a stage's filter."""
    warm = rng.normal(0, 0.5 * vivid)
    tint = np.exp([warm, rng.normal(0, 0.15 * vivid), -warm])
    if vivid > 0.3:
        tint = (1 - vivid) * tint + vivid * 3 * rng.dirichlet(np.full(3, 0.6))
    return tint / tint.mean()


@functools.cache
def _sphere() -> tuple[np.ndarray, np.ndarray]:
    """Directions `[400 3]` over the sphere, and what fits nine harmonics to values there.

    Those that face the camera count more: of what looks away one sees nothing.
    """
    z = np.linspace(-1, 1, 400)
    turn, ring = np.pi * (3 - np.sqrt(5)) * np.arange(400), np.sqrt(1 - z * z)
    directions = np.stack([ring * np.cos(turn), ring * np.sin(turn), z], axis=1).astype(np.float32)
    basis = np.asarray(shading.sh_basis(directions))
    weight = np.where(z < 0, 1.0, 0.1)[:, None]
    return directions, np.linalg.solve(basis.T @ (weight * basis), (weight * basis).T)


def harmonics(light: scenes.Light, gains: np.ndarray) -> np.ndarray:
    """Light coefficients `[27]`, as of `shading.shade`, nearest to a face's without shadows.

    They multiply an albedo in the picture's values, so the irradiance, times the camera's `gains
    [3]`, is taken through its curve.
    """
    directions, fit = _sphere()
    total = light.ambient[0] + directions @ light.ambient[1:]
    for towards, colour in zip(light.towards, light.colours, strict=True):
        total = total + np.maximum(directions @ towards, 0)[:, None] * colour
    values = np.maximum(total * gains, 1e-4) ** (1 / scenes.GAMMA)
    return (fit @ values).T.reshape(27).astype(np.float32)
