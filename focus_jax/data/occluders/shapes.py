"""What is worn, held or hung before a face: the archive's shapes, mixed, coloured, put there."""

import functools
from typing import NamedTuple

import cv2
import numpy as np

from focus_jax.data.occluders.head import Girth, Head, Heights, fitted, photo, things
from focus_jax.data.occluders.meshes import colourful
from focus_jax.data.occluders.part import FACE, HAIR, OCCLUDER, Part

CLOTH, SAME, MEDICAL, PLASTIC, DARK, WHITE, METAL, LENS, PICTURE, STRANDS = range(10)
_SHINE = {
    **{CLOTH: (0.02, 5), MEDICAL: (0.02, 5), PLASTIC: (0.25, 30), DARK: (0.25, 30)},
    **{WHITE: (0.05, 10), METAL: (0.5, 25), LENS: (0.5, 70), STRANDS: (0.15, 15)},
}
Z = np.array([0.0, 0, 1])


class _Shape(NamedTuple):
    variants: np.ndarray  # [k v 3] mm
    triangles: np.ndarray  # [t 3] int32
    uv: np.ndarray  # [v 2] float32
    shade: np.ndarray  # [v 1]
    material: int


@functools.cache
def _families(kind: str) -> tuple[tuple[_Shape, ...], ...]:
    """The families of a kind; their shapes, one for each of a thing's pieces."""
    data, families = things(), {}
    for key in data:
        if key.startswith(f"{kind}_") and key.endswith("_material"):
            name = key.removesuffix("material")
            shape = _Shape(
                data[name + "vertices"].astype(np.float32) / 20,
                data[name + "triangles"].astype(np.int32),
                data[name + "uv"].astype(np.float32) / 10000,
                data[name + "shade"][:, None].astype(np.float32) / 255,
                int(data[key]),
            )
            families.setdefault(name[:-3], []).append(shape)
    return tuple(tuple(shapes) for shapes in families.values())


def draw(rng: np.random.Generator, kind: str, **look) -> list[Part]:
    """A thing of a kind, mixed of two variants of a family, where the archive has it.

    `look` is `dark` for lenses that hide the eyes and `hair`, a colour `[3]`, for strands.
    """
    families = _families(kind)
    shapes = families[rng.integers(len(families))]
    first, second = rng.integers(len(shapes[0].variants), size=2)
    share, opacity = rng.uniform(0, 1), 1.0 if rng.random() < 0.75 else rng.uniform(0.55, 0.9)
    colour, glass, parts = np.ones(3), None, []
    for shape in shapes:
        vertices = (1 - share) * shape.variants[first] + share * shape.variants[second]
        texture, label = None, OCCLUDER
        if shape.material == CLOTH:
            colour, texture = _cloth(rng)
        elif shape.material == MEDICAL:
            colour = rng.choice(things()["medical"]) + rng.uniform(-0.05, 0.05, 3)
        elif shape.material in (PLASTIC, METAL):
            grey = np.full(3, rng.choice(things()["greys"]))
            colour = grey if rng.random() < 0.6 else colourful(rng)
        elif shape.material in (DARK, WHITE):
            colour = np.full(3, rng.uniform(0.03, 0.12) if shape.material == DARK else 0.88)
        elif shape.material == LENS:
            glass = glass or _glass(rng, look.get("dark", False))
            colour, (texture, label) = np.ones(3), glass
        elif shape.material == PICTURE:
            colour, texture = np.ones(3), _picture(rng, stencil=len(shape.variants) > 4)
        elif shape.material == STRANDS:
            plane = things()["strands"].astype(np.float32)
            tint, label = plane[..., :1] * (2 * look.get("hair", colourful(rng))), HAIR
            texture = np.concatenate([tint, plane[..., 1:]], axis=-1).clip(0, 255).astype(np.uint8)
        colours = np.ones((len(vertices), 4), np.float32)
        colours[:, :3] = np.clip(colour * shape.shade, 0, 1)
        if kind == "veil" and parts:
            colours[:, 3] = opacity
        uv = None if texture is None else shape.uv
        shine = _SHINE.get(shape.material, (rng.choice([0.02, 0.2]), 20.0))
        parts.append(Part(vertices, shape.triangles, colours, uv, texture, label, shine, True))
    return parts


def _cloth(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
    """A colour, or a photo of cloth, in its own colours or dyed."""
    chance, size = rng.random(), int(rng.integers(40, 128))
    if chance < 0.45:
        return colourful(rng), None
    picture = photo(rng, "cloth")[:size, :size]
    if chance < 0.75:
        grey = picture.mean(axis=2, keepdims=True)
        picture = np.clip(grey / grey.mean() * colourful(rng) * 255, 0, 255).astype(np.uint8)
    # Mirrored, so that it goes on without an edge.
    picture = np.hstack([picture, picture[:, ::-1]])
    picture = np.tile(np.vstack([picture, picture[::-1]]), (*rng.integers(1, 4, 2), 1))
    return np.ones(3), _opaque(cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA))


def _glass(rng: np.random.Generator, dark: bool) -> tuple[np.ndarray, int]:
    """Lenses, in which surroundings are mirrored, and what they are: clear ones show the face."""
    world = photo(rng).astype(np.float32)
    bright = world.mean(axis=2, keepdims=True)
    opaque = np.linspace(255, rng.uniform(170, 255), 256)[:, None, None] + 0 * bright
    if not dark:
        opaque = np.clip(bright - rng.uniform(60, 200), 0, 255) * rng.uniform(0, 0.6) + 8
        world = world * 0.5 + 127
    elif rng.random() < 0.3:  # mirrored
        world = 0.5 * world + (0.5 / 160) * bright * (0.3 + 0.7 * colourful(rng)) * 255
        opaque[:] = 255
    else:
        world = rng.choice(things()["tints"]) + world * rng.uniform(0, 0.3)
    picture = np.clip(np.concatenate([world, opaque], axis=2), 0, 255).astype(np.uint8)
    return picture, OCCLUDER if dark else FACE


def _picture(rng: np.random.Generator, stencil: bool) -> np.ndarray:
    """A piece of a photograph `[128 128 4]`, cut out in some shape, or letters."""
    picture = photo(rng) if rng.random() < 0.8 else photo(rng, "cloth")
    side = int(rng.uniform(0.3, 0.65) * len(picture))
    y, x = rng.integers(0, len(picture) - side, 2)
    picture = cv2.resize(picture[y : y + side, x : x + side], (128, 128))
    if rng.random() < 0.3:
        picture = np.clip(picture * colourful(rng) * 1.5 + 20, 0, 255).astype(np.uint8)
    picture = _opaque(picture)
    if stencil:
        picture[..., 3] = things()["stencils"][rng.integers(32)]
    return picture


def _opaque(picture: np.ndarray) -> np.ndarray:
    return np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])


def worn(head: Head, rng: np.random.Generator, kind: str, **look) -> list[Part]:
    """A thing of a kind that is worn, on this head: around it, and out of its skin."""
    parts, side = draw(rng, kind, **look), rng.choice([-1, 1])
    places = [fitted(head, part.vertices * [side, 1, 1]) for part in parts]
    if kind == "glasses":
        # They slide back until the rims touch brows, nose or cheeks, but not to the lashes.
        seat = Heights(head.vertices, Z).depth(places[0]).max() + 0.5
        places = [p + Z * max(seat, -3) for p in places]
    else:
        girth = Girth(head)
        places = [girth.outside(p, 1.0 + 1.5 * k) for k, p in enumerate(places)]
    return [
        part._replace(vertices=p.astype(np.float32), triangles=part.triangles[:, ::side])
        for part, p in zip(parts, places, strict=True)
    ]


def patch(head: Head, rng: np.random.Generator) -> list[Part]:
    """A picture, letters or a round thing, stuck on the face or held before it."""
    part, size = draw(rng, "patch")[0], rng.uniform(0.3, 1.3)
    centre = head.landmarks[rng.integers(17, 68)] * [0.8, 1, 1] + rng.normal(0, 18, 3)
    vertices = part.vertices * size
    if rng.random() < 0.4 and np.ptp(vertices[:, 2]) < 30:
        girth = Girth(head)
        angle = np.arctan2(centre[0], 95) + vertices[:, 0] / 95
        height = np.minimum(vertices[:, 1] + centre[1], head.vertices[:, 1].max() - 4)
        vertices = girth.points(angle, height, girth.reach(angle, height) + 1.2)
    else:
        vertices = vertices + centre
        deep = Heights(head.vertices, Z).depth(vertices).max()
        vertices = vertices + Z * (max(deep, -50) + rng.uniform(0, 60))
    return [part._replace(vertices=vertices.astype(np.float32))]
