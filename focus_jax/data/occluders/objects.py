"""Phones, cups, microphones, patches: things held or hung before a face."""

import numpy as np

from focus_jax.data.occluders.meshes import colourful, lathe, part, sheet
from focus_jax.data.occluders.part import Part

NOTHING, PHONE, CUP, MICROPHONE = range(4)


def held(rng: np.random.Generator, what: int) -> list[Part]:
    """A phone, cup or microphone in a right hand's own space."""
    if what == PHONE:
        return _phone(rng)
    return _cup(rng) if what == CUP else _microphone(rng)


def _slab(size: tuple[float, float, float], corner: float) -> tuple[np.ndarray, np.ndarray]:
    """A rounded slab in x, y with its thickness along z, as rings from its back to its front."""
    angle = np.arange(40) * 2 * np.pi / 40
    power = 2 / 7
    x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power
    y = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power
    rings = []
    for inset, z in ((1e9, 0), (corner, 0), (0, 0.25), (0, 0.75), (corner, 1), (1e9, 1)):
        half = np.maximum(np.array(size[:2]) / 2 - inset, 0)
        rings.append(np.stack([half[0] * x, half[1] * y, np.full(40, (z - 0.5) * size[2])], -1))
    return np.concatenate(rings), sheet(6, 40, around=True)


def _phone(rng: np.random.Generator) -> list[Part]:
    vertices, triangles = _slab((rng.uniform(66, 80), rng.uniform(140, 165), 9.0), 1.5)
    place = np.array([4.0, 84, 24])
    case = part(vertices + place, triangles, colourful(rng), shine=(rng.uniform(0.05, 0.5), 40))
    screen = vertices[-80:] * [0.95, 0.97, 1] + [0, 0, 0.3]
    dark = rng.choice([0.03, 0.05, 0.6]) * np.ones(3)
    front = part(screen + place, sheet(2, 40, around=True), dark, shine=(0.4, 80))
    spots = []
    for x, y in ((-18, 55), (-18, 38))[: rng.integers(1, 3)]:
        lens, round_ = lathe(np.array([(7.0, 0), (7, -1.5), (0, -1.5)]), 2)
        spots.append(part(lens + place + [x, y, -4.5], round_, np.full(3, 0.05), shine=(0.6, 60)))
    return [case, front, *spots]


def _cup(rng: np.random.Generator) -> list[Part]:
    wide, tall = rng.uniform(33, 40), rng.uniform(80, 120)
    narrow = wide * rng.uniform(0.72, 1.0)
    outer = [(0, -tall / 2), (narrow, -tall / 2), (wide, tall / 2)]
    inner = [(wide - 2.5, tall / 2), (narrow - 2.5, 4 - tall / 2), (0, 4 - tall / 2)]
    if rng.random() < 0.4:  # a lid
        inner = [(wide + 1.5, tall / 2), (wide + 1, tall / 2 + 4), (wide - 5, tall / 2 + 9), (0, tall / 2 + 8)]
    vertices, triangles = lathe(np.array(outer + inner), 0)
    colours = np.tile(colourful(rng), (len(vertices), 1))
    if len(inner) == 4:
        colours[72:] = rng.choice([0.92, 0.1])
    return [part(vertices + [5, 68, 46], triangles, colours, shine=(rng.uniform(0.05, 0.4), 30))]


def _microphone(rng: np.random.Generator) -> list[Part]:
    ball = rng.uniform(22, 27)
    arc = np.linspace(0.25 * np.pi, np.pi, 9)
    head = np.stack([ball * np.sin(arc), 85 - ball * np.cos(arc)], axis=1)[::-1]
    shaft = np.array([(0, -120), (10, -120), (13, 40), (17, 66), (head[-1, 0] + 1, head[-1, 1])])
    place = np.array([0.0, 84, 24])
    dark = rng.choice([0.05, 0.1, 0.3, 0.6]) * np.ones(3)
    handle, around = lathe(shaft, 0)
    metal, top = lathe(head, 0)
    grain = 0.75 + 0.25 * (np.arange(len(metal)) % 2)[:, None]
    ring, band = lathe(np.array([(ball * 0.97, 83.0), (ball + 1.5, 84), (ball + 1.5, 89), (ball * 0.97, 90)]), 0)
    tone = rng.choice([0.12, 0.35, 0.55]) * np.ones(3) if rng.random() < 0.8 else colourful(rng)
    return [
        part(handle + place, around, dark, shine=(0.3, 30)),
        part(metal + place, top, grain * tone, shine=(0.3, 20)),
        part(ring + place, band, np.full(3, 0.5), shine=(0.5, 40)),
    ]
