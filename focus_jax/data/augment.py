"""The release's augmentation: small shifts, scalings and rotations, and mirroring.

On request an occluder is pasted on: photos with something in front of the face are otherwise few,
and those with hands or glasses fewer. The autoencoder is shown the photo with it and held against
the photo without, which teaches it not to paint occluders. Where it lies is told to nobody, unless
`losses.pasted` asks.
"""

from typing import Any

import cv2
import numpy as np

from focus_jax.data import mesh_landmarks
from focus_jax.data.align import compose, transform_points
from focus_jax.data.occluders import OCCLUDERS, paste_occluder

SHIFT = 10 / 224  # of the crop's width, either way
SCALE = 0.1
ROTATION = 10.0  # degrees
FLIP = 0.5
# What photos keep on every side for this to move into, of the crop's width. The corner that the
# largest shift, rotation and shrinking bring in together lies 0.193 outside the crop.
MARGIN = 1 / 5

# Pasted on so many times as often as other kinds: of all that covers faces in photos these are most
# often missed.
OFTEN = {"hand": 4.0, "glasses": 3.0, "fringe": 4.0, "hat": 2.0}
_SHARES = np.array([OFTEN.get(kind, 1.0) for kind in OCCLUDERS[1:]])

# The mirror image of each iBUG landmark.
MIRROR = np.array(
    [
        *range(16, -1, -1),  # jaw
        *range(26, 16, -1),  # brows
        *range(27, 31),  # nose ridge
        *range(35, 30, -1),  # nostrils
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),  # outer lips
        *(64, 63, 62, 61, 60, 67, 66, 65),  # inner lips
    ]
)

# What is no longer true, or no longer known, of a moved and mirrored photo.
SPOILED = ("neutral", "pose", "features", "coefficients")


def flip_landmarks(landmarks: np.ndarray, width: int) -> np.ndarray:
    """Landmarks `[68 2]` of the mirrored image of `width` pixels, in the iBUG order."""
    return (landmarks * np.array([-1, 1]) + np.array([width - 1, 0]))[MIRROR].astype(np.float32)


def random_transform(rng: np.random.Generator, size: int) -> np.ndarray:
    """Affine map `[2 3]` of a crop onto its shifted, scaled and rotated self."""
    angle = np.deg2rad(rng.uniform(-ROTATION, ROTATION))
    factor = 1 + rng.uniform(-SCALE, SCALE)
    shift = rng.uniform(-SHIFT, SHIFT, 2) * size
    linear = factor * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.full(2, (size - 1) / 2)
    return np.concatenate([linear, (centre + shift - linear @ centre)[:, None]], axis=1)


def augment(
    record: dict[str, Any], rng: np.random.Generator, size: int, *, paste: float = 0.0
) -> dict[str, Any]:
    """The record moved at random, and mirrored every other time, as a crop of `size` pixels.

    The stored image may be larger: its margin is what the move brings in. `paste` is the
    probability of an occluder pasted on; above zero, `clean` is the picture without it and `pasted`
    (uint8 `[h w]`) is 255 where it lies, and where a `whole` mask says that no face is seen. A
    function of its arguments and of the generator's state alone. Fields that it would falsify
    (`SPOILED`) are left out; a mask moves along, and loses what the occluder hides. Raises
    ValueError for a record made for another size.
    """
    moved = crop(record, size, random_transform(rng, size))
    moved["mirrored"] = np.uint8(rng.random() < FLIP)
    if moved["mirrored"]:
        moved["image"] = np.ascontiguousarray(moved["image"][:, ::-1])
        moved["landmarks"] = flip_landmarks(moved["landmarks"], size)
        if moved.get("dense_landmarks") is not None:
            mirrored = moved["dense_landmarks"][mesh_landmarks.MIRROR]
            moved["dense_landmarks"] = (mirrored * [-1, 1] + [size - 1, 0]).astype(np.float32)
        if moved.get("mask") is not None:
            moved["mask"] = np.ascontiguousarray(moved["mask"][:, ::-1])
        if "transform" in moved:
            mirror = np.array([[-1.0, 0, size - 1], [0, 1, 0]])
            moved["transform"] = compose(mirror, moved["transform"]).astype(np.float32)
    if paste:
        moved["clean"] = moved["image"]
        moved["pasted"] = np.zeros((size, size), np.uint8)
        if moved.get("whole"):  # a rendering, of which all is known
            moved["pasted"] = np.where(moved["mask"] >= 128, 0, 255).astype(np.uint8)
    if paste and rng.random() < paste:
        kind = str(rng.choice(OCCLUDERS[1:], p=_SHARES / _SHARES.sum()))
        image, hidden = paste_occluder(moved["image"], moved["landmarks"], rng, kind)
        moved["image"], moved["pasted"] = image, np.maximum(moved["pasted"], hidden)
        if moved.get("mask") is not None:
            moved["mask"] = np.where(hidden >= 128, 0, moved["mask"]).astype(np.uint8)
    return {k: v for k, v in moved.items() if k not in SPOILED}


def crop(record: dict[str, Any], size: int, transform: np.ndarray | None = None) -> dict[str, Any]:
    """The record without its margin: the middle `size` pixels, moved by `transform` if given.

    Raises ValueError for a record made for another size.
    """
    side = record["image"].shape[0]
    margin = (side - size) // 2
    # Cutting the middle out of a larger crop would enlarge the face without a word.
    if side - 2 * margin != size or margin not in (0, round(MARGIN * size)):
        raise ValueError(
            f"a record of {side} x {side} pixels is neither a crop of {size} pixels nor one with "
            f"its margin, {size + 2 * round(MARGIN * size)}; make the records anew at that size"
        )
    if transform is None and margin == 0:
        return dict(record)
    shifted = np.array(np.eye(2, 3) if transform is None else transform, np.float64)
    shifted[:, 2] -= shifted[:, :2] @ np.full(2, float(margin))
    moved = dict(record)
    for name in ("landmarks", "dense_landmarks"):
        if record.get(name) is not None:
            moved[name] = transform_points(shifted, record[name])
    if record.get("transform") is not None:
        moved["transform"] = compose(shifted, record["transform"]).astype(np.float32)
    inside = slice(margin, margin + size)
    for name in ("image", "mask"):
        picture = record.get(name)
        if picture is not None:
            moved[name] = (
                picture[inside, inside] if transform is None else _warp(picture, shifted, size)
            )
    return moved


def _warp(picture: np.ndarray, transform: np.ndarray, size: int) -> np.ndarray:
    """The picture moved; bicubic as in the release. Without a margin its edge pixels repeat."""
    flags, border = cv2.INTER_CUBIC, cv2.BORDER_REPLICATE
    return cv2.warpAffine(picture, transform, (size, size), flags=flags, borderMode=border)
