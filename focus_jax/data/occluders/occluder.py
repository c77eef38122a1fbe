"""The kinds of things that get before a face."""

import numpy as np

from focus_jax.data.occluders import hands, shapes
from focus_jax.data.occluders.hair import hair_colour
from focus_jax.data.occluders.head import Head
from focus_jax.data.occluders.part import Part

OCCLUDERS = (
    *("none", "glasses", "sunglasses", "mask", "scarf", "hand", "fringe", "microphone", "patch"),
    *("hat", "cup", "phone", "veil", "headset"),
)


def draw_occluder(
    kind: str, head: Head, rng: np.random.Generator, hair: np.ndarray | None = None
) -> list[Part]:
    """A thing of a kind before a face, as meshes in the face's space, solid ones first.

    `hair` is the colour `[3]` of what falls over the face. Raises ValueError for a kind that is not
    in OCCLUDERS.
    """
    if kind not in OCCLUDERS:
        raise ValueError(f"occluder must be one of {OCCLUDERS}, not {kind!r}")
    if kind == "none":
        return []
    if kind in ("hand", *hands.HELD):
        return hands.hand(head, rng, kind)
    if kind == "patch":
        return shapes.patch(head, rng)
    if kind in ("glasses", "sunglasses"):
        return shapes.worn(head, rng, "glasses", dark=kind == "sunglasses")
    return shapes.worn(head, rng, kind, hair=hair_colour(rng) if hair is None else hair)
