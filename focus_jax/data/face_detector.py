"""Squares around the faces of a photo, by the detector network of MediaPipe's Face Landmarker.

The network (BlazeFace for short range: Bazarevsky et al. 2019) sees 128 x 128 pixels and finds
faces of a fifth of them and more, upright to about 45 degrees. Smaller faces are looked for in
tiles, turned ones in quarter turns of the photo.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

Photo = UInt8[np.ndarray, "h w 3"]

# What the network makes of a view [128 128 3]: for each anchor a box and six points, and a score.
Network = Callable[[UInt8[np.ndarray, "128 128 3"]], tuple[np.ndarray, np.ndarray]]

SIDE = 128  # pixels that the network sees
SURE = 0.5  # least score of a face
CERTAIN = 0.85  # of one that is upright: 180 degrees off, faces scored 0.8 at most
TURNED = 0.78  # least score of a face in a quarter turn of the photo; right ones score higher,
BETTER = 0.1  # and by this more than when it is taken for an upright one
UNSURE = 0.3  # of one that a closer look must confirm
OVERLAP = 0.3  # intersection over union of boxes that are of one face
CLOSER = 2.5  # side of the view of a closer look, in sides of the face
BORDER = 1.4  # side of the view with a border, in sides of the photo
SMALL = 0.25  # of a view's side: where the smallest face found is smaller, tiles are looked at
LEVELS = 3  # of tiles, each half as wide as those before
AVERAGED = 1.0  # twice a view's pixels over the photo's, below which the photo is shrunken first
LEAST_TILE = 160.0  # pixels of the photo


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
    are missed; then in ever smaller tiles, as long as the smallest face found is small in the
    views before, or none is.
    """
    size = np.array(photo.shape[1::-1])
    whole = Square(size / 2, float(size.max()), 0.0)
    found = detect(network, photo, whole, SURE)
    if min((face.score for face in found), default=0.0) < CERTAIN:
        found = _turned(network, photo, whole, found)
    if not found:
        found = _closer(network, photo, whole._replace(side=BORDER * whole.side), found)
    tile = whole.side
    for _ in range(LEVELS):
        if min((face.side for face in found), default=0.0) >= SMALL * tile or tile < 2 * LEAST_TILE:
            break
        tile /= 2
        for view in _tiles(size, tile):
            found = _closer(network, photo, view, found)
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


def _tiles(size: np.ndarray, side: float) -> Iterator[Square]:
    """Squares that cover a photo, each overlapping the next by half at least."""
    x, y = (
        np.linspace(side / 2, n - side / 2, max(1, int(np.ceil(2 * n / side)) - 1))
        if n > side
        else [n / 2]
        for n in size
    )
    for row in y:
        for column in x:
            yield Square(np.array([column, row]), side, 0.0)


def _closer(network: Network, photo: Photo, view: Square, found: list[Square]) -> list[Square]:
    """`found` and the new faces of a view that a closer look confirms, upright in its middle."""
    found = list(found)
    for seen in detect(network, photo, view, UNSURE):
        if any(_same(seen, face) for face in found):
            continue
        near = seen._replace(side=CLOSER * seen.side)
        for face in detect(network, photo, near, SURE):
            if _same(seen, face) and not any(_same(face, other) for other in found):
                found.append(face)
                break
    return found


def _same(one: Square, other: Square) -> bool:
    distance = float(np.linalg.norm(one.centre - other.centre))
    return distance < 0.5 * max(one.side, other.side)


# --- the network -----------------------------------------------------------------------------


def _anchors() -> Float[np.ndarray, "896 2"]:
    """Places, in sides of the view, from which boxes are counted: 2 on 16 x 16 each, 6 on 8 x 8."""
    layers = []
    for places, each in ((16, 2), (8, 6)):
        y, x = (np.indices((places, places)) + 0.5) / places
        layers.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2), each, axis=0))
    return np.concatenate(layers)


ANCHORS = _anchors()


def detect(network: Network, photo: Photo, view: Square, least: float) -> list[Square]:
    """Squares of the faces in a view of a photo with at least that score, the surest first."""
    regressors, logits = network(look(photo, view, SIDE, cv2.BORDER_CONSTANT))
    scores = 1 / (1 + np.exp(-np.clip(logits, -100, 100)))
    sure = scores >= least
    values, scores = regressors[sure].reshape(-1, 8, 2) / SIDE, scores[sure]
    # Centre, width and height of the box, then six points; all but the size from the anchor.
    values += ANCHORS[sure][:, None] * np.array([1, 0, *6 * [1]])[:, None]
    inverse = np.linalg.inv(np.vstack([square_transform(view, 1), [0, 0, 1]]))[:2]
    faces = []
    for box, score in merge_boxes(values, scores):
        centre, _, right_eye, left_eye = box[:4] @ inverse[:, :2].T + inverse[:, 2]
        across = left_eye - right_eye
        angle = float(np.arctan2(across[1], across[0]))
        faces.append(Square(centre, float(box[1].max() * view.side), angle, score))
    return faces


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
