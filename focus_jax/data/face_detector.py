"""Squares around the faces of a photo, by the detector network of MediaPipe's Face Landmarker.

The network (BlazeFace for short range: Bazarevsky et al. 2019) was made for views of 128 x 128
pixels and finds faces of a fifth of that and more, upright to about 45 degrees. It is convolutional
throughout, so that smaller faces are found by showing it the photo larger, the whole at once (as in
OverFeat: Sermanet et al. 2014); turned ones in quarter turns of the photo.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

Photo = UInt8[np.ndarray, "h w 3"]

# What the network makes of a view, whose sides are multiples of STRIDE: for each anchor a box and
# six points, and a score.
Network = Callable[[UInt8[np.ndarray, "h w 3"]], tuple[np.ndarray, np.ndarray]]

SIDE = 128  # pixels of the view that the network was made for
STRIDE = 16  # pixels of its coarsest layer
SURE = 0.5  # least score of a face
CERTAIN = 0.85  # of one that is upright: 180 degrees off, faces scored 0.8 at most
TURNED = 0.78  # least score of a face in a quarter turn of the photo; right ones score higher,
BETTER = 0.1  # and by this more than when it is taken for an upright one
UNSURE = 0.2  # of one that a closer look must confirm; faces of half the size it knows score more
OVERLAP = 0.3  # intersection over union of boxes that are of one face
CLOSER = 2.5  # side of the view of a closer look, in sides of the face
TILTED = np.radians(60)  # off upright, what the network takes for a face in a view is a pattern
BORDER = 1.4  # side of the view with a border, in sides of the photo
SMALL = 0.25  # of SIDE: where the smallest likely face is smaller, the photo is shown larger
LIKELY = 0.7  # least score of such a face: patterns seldom score more
# How large a photo is shown at most, over its own size; each time twice as large as before. The
# third costs three times as much as all the rest, and is for photos that have the detail.
LARGEST = (0.8, 0.8, 0.4)
AVERAGED = 1.0  # twice a view's pixels over the photo's, below which the photo is shrunken first


class Square(NamedTuple):
    """A square in a photo, turned: of a face from brows to chin, or that a network sees."""

    centre: Float[np.ndarray, "2"]  # pixels; the centre of the first pixel is (0, 0)
    side: float  # pixels
    angle: float  # radians by which its upper side is turned clockwise, as one sees it
    score: float = 1.0


def square_transform(square: Square, size: int) -> Float[np.ndarray, "2 3"]:
    """The similarity from photo pixels to those of an upright picture of the square, `size` wide.

    As in MediaPipe's own cropping, the square's upper left corner is the centre of the first pixel.
    """
    scale = size / square.side
    cos, sin = scale * np.cos(square.angle), scale * np.sin(square.angle)
    linear = np.array([[cos, sin], [-sin, cos]])
    return np.concatenate([linear, (size / 2 - linear @ square.centre)[:, None]], axis=1)


def look(photo: Photo, square: Square, size: int, border: int) -> UInt8[np.ndarray, "s s 3"]:
    """An upright picture of a square, bilinear; what lies outside the photo as OpenCV's `border`.

    A photo of more than twice as many pixels across is averaged first: the points then differ half
    as much between a photo and itself made smaller or larger as by MediaPipe's own way.
    """
    transform = square_transform(square, size)
    factor = 2 * size / square.side
    if factor < AVERAGED:
        photo, transform = _shrunken(photo, square, transform, factor)
    return cv2.warpAffine(photo, transform, (size, size), flags=cv2.INTER_LINEAR, borderMode=border)


def _shrunken(
    photo: Photo, square: Square, transform: np.ndarray, factor: float
) -> tuple[Photo, np.ndarray]:
    """The part of a photo around a square, shrunken by `factor`, and the map from there."""
    reach = square.side * 0.75  # half the diagonal, and some
    size = np.array(photo.shape[1::-1])
    low = np.clip(np.floor(square.centre - reach).astype(int), 0, size - 1)
    high = np.clip(np.ceil(square.centre + reach).astype(int) + 1, low + 1, size)
    piece = photo[low[1] : high[1], low[0] : high[0]]
    few = np.maximum(1, np.rint((high - low) * factor)).astype(int)
    grown = (high - low) / few  # of a pixel, each way
    small = cv2.resize(piece, few.tolist(), interpolation=cv2.INTER_AREA)
    # The centre of pixel p of the small one is (p + 1/2) grown - 1/2 + low in the photo.
    offset = transform[:, 2] + transform[:, :2] @ (grown / 2 - 0.5 + low)
    return small, np.concatenate([transform[:, :2] * grown, offset[:, None]], axis=1)


def find_squares(network: Network, photo: Photo) -> list[Square]:
    """The faces of a photo, each once, in no order.

    They are looked for in the whole photo; in its quarter turns, unless all are certainly upright;
    where none is, with a black border around it, since faces that fill a photo or end at its edge
    are missed; then in the photo shown ever larger, as long as the smallest likely face is small
    there, or none is found.
    """
    small, grown = _smaller(photo, 2 * SIDE / max(photo.shape[:2]))
    size = np.array(small.shape[1::-1])
    whole = Square(size / 2, float(size.max()), 0.0)
    found = detect(network, small, whole, SURE)
    if min((face.score for face in found), default=0.0) < CERTAIN:
        found = _turned(network, small, whole, found)
    found = [_enlarged(face, grown) for face in found]
    if not found:
        seen = detect(network, small, whole._replace(side=BORDER * whole.side), UNSURE)
        found = _confirmed(network, photo, [_enlarged(face, grown) for face in seen], found)
    side = float(max(photo.shape[:2]))  # of the photo's part that SIDE pixels show
    for largest in LARGEST:
        if min((face.side for face in found if face.score >= LIKELY), default=0.0) >= SMALL * side:
            break
        side /= 2
        if SIDE / side > largest:
            break
        found = _confirmed(network, photo, _shown(network, photo, SIDE / side), found)
    return found


def _turned(network: Network, photo: Photo, whole: Square, upright: list[Square]) -> list[Square]:
    """`upright` and the faces of the photo's quarter turns, each as where it scores highest."""
    turns = [whole._replace(angle=quarters * np.pi / 2) for quarters in (1, 2, 3)]
    turned = [face for view in turns for face in detect(network, photo, view, TURNED)]
    ranked = [(face.score + BETTER, face) for face in upright]
    ranked += [(face.score, face) for face in turned]
    found: list[Square] = []
    for _, face in sorted(ranked, key=lambda pair: -pair[0]):
        if not any(_same(face, other) for other in found):
            found.append(face)
    return found


def _shown(network: Network, photo: Photo, scale: float) -> list[Square]:
    """What may be faces of a photo that is shown `scale` as large, the surest first."""
    small, grown = _smaller(photo, scale)
    height, width = (-n % STRIDE for n in small.shape[:2])  # black pixels to add
    top, left = height // 2, width // 2
    edges = top, height - top, left, width - left
    view = cv2.copyMakeBorder(small, *edges, cv2.BORDER_CONSTANT)
    offset = np.array([left, top])
    found = [_square(box - offset * _PLACES, score) for box, score in _boxes(network, view, UNSURE)]
    return [_enlarged(face, grown) for face in found]


def _smaller(photo: Photo, scale: float) -> tuple[Photo, Float[np.ndarray, "2"]]:
    """A photo shrunken by averaging, and what its pixels have become of, across and down."""
    size = np.array(photo.shape[1::-1])
    if scale >= 1:
        return photo, np.ones(2)
    few = np.maximum(1, np.rint(size * scale)).astype(int)
    return cv2.resize(photo, few.tolist(), interpolation=cv2.INTER_AREA), size / few


def _enlarged(face: Square, grown: Float[np.ndarray, "2"]) -> Square:
    """A square of a shrunken photo in the photo."""
    centre = (face.centre + 0.5) * grown - 0.5
    return face._replace(centre=centre, side=face.side * float(grown.mean()))


def _confirmed(
    network: Network, photo: Photo, seen: list[Square], found: list[Square]
) -> list[Square]:
    """`found` and those of `seen` that are new and that a closer look, upright, finds again."""
    found = list(found)
    for one in seen:
        if abs(one.angle) > TILTED or any(_same(one, face) for face in found):
            continue
        near = one._replace(side=CLOSER * one.side)
        for face in detect(network, photo, near, SURE):
            if _same(one, face) and not any(_same(face, other) for other in found):
                found.append(face)
                break
    return found


def _same(one: Square, other: Square) -> bool:
    distance = float(np.linalg.norm(one.centre - other.centre))
    return distance < 0.5 * max(one.side, other.side)


# --- the network -----------------------------------------------------------------------------


# Of a box, its size and six points: which are places, and which is not.
_PLACES = np.array([1, 0, *6 * [1]])[:, None]


@functools.lru_cache(maxsize=8)
def anchors(height: int, width: int) -> Float[np.ndarray, "n 2"]:
    """Places in a view from which boxes are counted, in pixels.

    Two at the middle of each 8 x 8 pixels, then six at that of each 16 x 16.
    """
    layers = []
    for stride, each in ((STRIDE // 2, 2), (STRIDE, 6)):
        y, x = (np.indices((height // stride, width // stride)) + 0.5) * stride
        layers.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2), each, axis=0))
    return np.concatenate(layers)


def detect(network: Network, photo: Photo, view: Square, least: float) -> list[Square]:
    """Squares of the faces in a view of a photo with at least that score, the surest first."""
    inverse = np.linalg.inv(np.vstack([square_transform(view, SIDE), [0, 0, 1]]))[:2]
    linear, shift = inverse[:, :2], inverse[:, 2]
    faces = []
    for box, score in _boxes(network, look(photo, view, SIDE, cv2.BORDER_CONSTANT), least):
        places = np.where(_PLACES, box @ linear.T + shift, box * view.side / SIDE)
        faces.append(_square(places, score))
    return faces


def _boxes(
    network: Network, view: Photo, least: float
) -> list[tuple[Float[np.ndarray, "8 2"], float]]:
    """Centre, size and six points of each face that the network sees, in pixels, with its score."""
    regressors, logits = network(view)
    scores = 1 / (1 + np.exp(-np.clip(logits, -100, 100)))
    sure = scores >= least
    values = regressors[sure].reshape(-1, 8, 2)
    return merge_boxes(values + anchors(*view.shape[:2])[sure][:, None] * _PLACES, scores[sure])


def _square(box: Float[np.ndarray, "8 2"], score: float) -> Square:
    across = box[3] - box[2]  # from the right eye to the left one
    return Square(box[0], float(box[1].max()), float(np.arctan2(across[1], across[0])), score)


def merge_boxes(
    boxes: Float[np.ndarray, "n 8 2"], scores: Float[np.ndarray, "n"]
) -> list[tuple[Float[np.ndarray, "8 2"], float]]:
    """Weighted non-maximum suppression: overlapping boxes become their mean, weighted by scores.

    A box is its centre, its size, and points that go with it. Each merged box has the best score.
    """
    low, high = boxes[:, 0] - boxes[:, 1] / 2, boxes[:, 0] + boxes[:, 1] / 2
    area = boxes[:, 1].prod(-1)
    merged = []
    left = np.argsort(-scores, kind="stable")
    while len(left):
        best = left[0]
        common = np.minimum(high[left], high[best]) - np.maximum(low[left], low[best])
        inter = np.maximum(common, 0).prod(-1)
        near = inter > OVERLAP * (area[left] + area[best] - inter)
        near[0] = True  # also where a box has no area
        together = left[near]
        mean = np.average(boxes[together], axis=0, weights=scores[together])
        merged.append((mean, float(scores[best])))
        left = left[~near]
    return merged
