"""White balance of a face's crop: photos of a cold cast and grey ones, as the networks know photos.

A diagonal transform (von Kries 1902) whose illuminant the skin tells, as in Bianco and Schettini,
"Color constancy using faces", CVPR 2012. It does nothing unless the photo is colder than faces of
photos are, so that a pale face or a white mask keeps its colour: what is brightest in the crop must
be bluish as well (the white-patch assumption of Land 1977), or the skin so cold that no light of
usual photos explains it. Warm casts are left alone: segmenters take them for skin anyhow.

Colours are sRGB values as they are stored. The bounds are of a collection of 303 photos from the
web, most of them of one face: percentiles 5 and 50 of the warmth of skin there are 0.28 and 0.61.
"""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

SKIN = np.array([1.53, 1.0, 0.804])  # median colour of skin, over green
# Warmth is log(red / blue). Below the first of each pair the correction is whole, above the second
# nothing: of skin where the whites are bluish, of the whites, and of skin whatever the whites are.
COLD_SKIN, COLD_WHITE, COLDER_SKIN = (0.3, 0.6), (-0.08, 0.0), (0.1, 0.2)
SIDE = 32  # pixels in which colours are averaged before they are compared
LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def gains(
    crops: UInt8[np.ndarray, "b r r 3"], landmarks: Float[np.ndarray, "b 68 2"]
) -> Float[np.ndarray, "b 3"]:
    """By what the channels of each crop are to be multiplied; 1 where nothing is to be done.

    `landmarks` are in pixels of the crops. The skin's luminance (BT.601) stays.
    """
    return np.stack([_gains(*pair) for pair in zip(crops, landmarks, strict=True)])


def apply(
    crops: UInt8[np.ndarray, "b r r 3"], factors: Float[np.ndarray, "b 3"]
) -> UInt8[np.ndarray, "b r r 3"]:
    """The crops with their channels multiplied, clipped at white."""
    changed = np.rint(crops * factors[:, None, None]).clip(0, 255).astype(np.uint8)
    return np.where((factors == 1).all(-1)[:, None, None, None], crops, changed)


def _gains(crop: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    inside = np.zeros(crop.shape[:2], np.uint8)
    outline = cv2.convexHull(np.rint(landmarks[:27]).astype(np.int32))  # jaw and brows
    cv2.fillConvexPoly(inside, outline, 255)
    size = (SIDE, SIDE)
    small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA).astype(np.float64) + 1
    face = small[cv2.resize(inside, size, interpolation=cv2.INTER_AREA) > 200]
    lit = small[small.sum(-1) > 12]  # black is what lies outside the photo
    if not len(face) or not len(lit):
        return np.ones(3, np.float32)
    skin = _skin(face)
    weight = max(
        _below(COLD_SKIN, _warmth(skin)) * _below(COLD_WHITE, _warmth(_whites(lit))),
        _below(COLDER_SKIN, _warmth(skin)),
    )
    factors = (SKIN * skin[1] / skin) ** weight
    return (factors * (LUMINANCE @ skin) / (LUMINANCE @ (factors * skin))).astype(np.float32)


def _skin(face: np.ndarray) -> np.ndarray:
    """Mean of the warmest quarter of a face's pixels: what covers a face is seldom warmer."""
    brightness = face.sum(-1)
    face = face[brightness >= 0.5 * np.median(brightness)]
    warmth = _warmth(face)
    return face[warmth >= np.quantile(warmth, 0.75)].mean(0)


def _whites(pixels: np.ndarray) -> np.ndarray:
    """Mean of the tenth of the pixels whose least channel is highest."""
    least = pixels.min(-1)
    return pixels[least >= np.quantile(least, 0.9)].mean(0)


def _warmth(colours: np.ndarray) -> np.ndarray:
    return np.log(colours[..., 0] / colours[..., 2])


def _below(bounds: tuple[float, float], warmth: np.ndarray) -> float:
    """1 below both bounds, 0 above, and linear between: what differs little is treated alike."""
    low, high = bounds
    return float(np.clip((high - warmth) / (high - low), 0, 1))
