"""Truth that people drew: the occluders of photos as polygons, and how masks fare against them.

The file is JSON:

    {"split": {"choose": [NAME, ...], "test": [NAME, ...]},
     "used_in_training": [NAME, ...],
     "photos": {NAME: [{"kind": KIND, "polygon": [[x, y], ...], "holes": [[[x, y], ...]]}, ...]}}

Points are pixels of the photo, x to the right, y down, pixel centres at integers; `holes` is
optional. Of a photo's polygons, those listed first lie in front. Each photo stands in one part of
the split: settings are chosen on "choose" and reported on "test".
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Int

from focus_jax.evaluation.masks import boundary_iou, calibration_error, mask_scores

# Clear lenses are face, so glasses are rims; tinted ones are hidden whole. "background" is no
# occluder: what a rendering may cover although no face is there. It is left out of every score.
KINDS = ("hand", "hair", "glasses", "sunglasses", "hat", "mask", "microphone", "other")
BACKGROUND = "background"
SPLITS = ("choose", "test")
LEAST = 0.01  # of the rendered face: less of a kind than this, and its score is that of "nothing"


class Outline(NamedTuple):
    kind: str  # one of KINDS, or BACKGROUND
    polygon: np.ndarray  # [n 2] pixels of the photo
    holes: tuple[np.ndarray, ...]


class Outlined(NamedTuple):
    """The file's content; photos in its order."""

    photos: dict[str, tuple[Outline, ...]]
    split: dict[str, tuple[str, ...]]  # of SPLITS -> names
    used_in_training: frozenset[str]  # photos that the shipped model was trained on


def read_outlines(path: Path) -> Outlined:
    """The outlines of a file. ValueError names the photo and what is wrong with it."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist; write what focus_jax.evaluation.outlines says")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error})") from None
    _check_shape(content, path)
    photos = {
        name: tuple(_outline(item, f"{path}, {name}, outline {i}") for i, item in enumerate(items))
        for name, items in content["photos"].items()
    }
    split = {part: tuple(names) for part, names in content["split"].items()}
    _check_names(split, photos, content["used_in_training"], path)
    return Outlined(photos, split, frozenset(content["used_in_training"]))


def _check_shape(content: Any, path: Path) -> None:
    keys = ("photos", "split", "used_in_training")
    if not isinstance(content, dict) or set(content) != set(keys):
        raise ValueError(f"{path} must hold an object of {', '.join(keys)}")
    photos, split = content["photos"], content["split"]
    if not isinstance(photos, dict):
        raise ValueError(f"{path}: photos must be an object, of a list of outlines for each name")
    for name, items in photos.items():
        if not isinstance(items, list):
            raise ValueError(f"{path}: {name} must have a list of outlines")
    if not isinstance(split, dict) or set(split) != set(SPLITS):
        raise ValueError(f"{path}: split must have the parts {' and '.join(SPLITS)}")
    for names in (*split.values(), content["used_in_training"]):
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise ValueError(f"{path}: split and used_in_training must hold lists of names")


def _check_names(
    split: Mapping[str, Sequence[str]], photos: Mapping[str, Any], used: Sequence[str], path: Path
) -> None:
    times = Counter(name for names in split.values() for name in names)
    odd = [name for name in {*times, *photos} if times[name] != 1 or name not in photos]
    if odd:
        raise ValueError(f"{path}: {min(odd)} must be outlined and be in one part of the split")
    if strangers := set(used) - set(photos):
        raise ValueError(f"{path}: used_in_training names {min(strangers)}, which is not outlined")


def _outline(item: Any, where: str) -> Outline:
    if not isinstance(item, dict) or set(item) - {"holes"} != {"kind", "polygon"}:
        raise ValueError(f"{where} must have kind and polygon, may have holes, and nothing else")
    if item["kind"] not in (*KINDS, BACKGROUND):
        raise ValueError(
            f"{where} is of the kind {item['kind']!r}; it must be one of "
            f"{', '.join((*KINDS, BACKGROUND))}"
        )
    holes = tuple(_points(hole, where) for hole in item.get("holes", ()))
    return Outline(item["kind"], _points(item["polygon"], where), holes)


def _points(values: Any, where: str) -> np.ndarray:
    try:
        points = np.array(values, np.float64)
    except (TypeError, ValueError):
        points = np.empty((0, 0))
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3 or not np.isfinite(points).all():
        raise ValueError(f"{where} has a polygon that is not three or more pairs of numbers")
    return points


def check_inside(outlines: Sequence[Outline], height: int, width: int, name: str) -> None:
    """ValueError for a point outside the photo `name` of that size."""
    for outline in outlines:
        for points in (outline.polygon, *outline.holes):
            outside = ((points < 0) | (points > [width - 1, height - 1])).any(1)
            if outside.any():
                x, y = points[outside][0]
                raise ValueError(
                    f"{name}: a {outline.kind}'s outline has the point ({x:g}, {y:g}), which lies "
                    f"outside its {width} x {height} pixels"
                )


def labels(
    outlines: Sequence[Outline], height: int, width: int, name: str = "photo"
) -> Int[np.ndarray, "h w"]:
    """What each pixel of a photo shows: 0 face, k + 1 for KINDS[k], -1 background.

    A pixel is a polygon's when its centre lies inside or on the edge (`cv2.fillPoly`); holes are
    cut the same way. ValueError for a point outside the photo, which errors call `name`.
    """
    check_inside(outlines, height, width, name)
    found = np.zeros((height, width), np.int32)
    for outline in reversed(outlines):  # the front last
        value = -1 if outline.kind == BACKGROUND else KINDS.index(outline.kind) + 1
        found[_filled(outline, height, width)] = value
    return found


def _filled(outline: Outline, height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.rint(outline.polygon).astype(np.int32)], 1)
    for hole in outline.holes:
        cv2.fillPoly(mask, [np.rint(hole).astype(np.int32)], 0)
    return mask > 0


def crop_labels(
    found: Int[np.ndarray, "h w"], transform: Float[np.ndarray, "2 3"], crop_size: int, size: int
) -> Int[np.ndarray, "size size"]:
    """Labels of a photo at `size` pixels of its crop; nothing lies outside the photo, so face.

    `transform` maps pixels of the photo to those of the crop of `crop_size` pixels
    (`data.align.align_face`). Each pixel takes the label at its centre.
    """
    scale = size / crop_size
    smaller = scale * transform + np.array([[0, 0, (scale - 1) / 2]])  # pixel centres: integers
    turned = found.astype(np.float32)
    return cv2.warpAffine(turned, smaller, (size, size), flags=cv2.INTER_NEAREST).astype(np.int32)


def outline_scores(
    found: Int[np.ndarray, "n h w"],
    mask: Float[np.ndarray, "n h w 1"],
    coverage: Float[np.ndarray, "n h w 1"],
) -> dict[str, dict[str, np.ndarray]]:
    """Scores of soft masks of the face, for each kind and for "all": columns over its photos.

    A kind is scored on the photos of which it hides `LEAST` of the rendered face, there where the
    rendered face shows face or that kind: other occluders neither help nor harm. Columns: `index`
    of the photo, those of `scores_in`.
    """
    tables = {}
    shown = coverage * (found != -1)[..., None]
    for name in (*KINDS, "all"):
        own = found > 0 if name == "all" else found == KINDS.index(name) + 1
        region = shown * ((found == 0) | own)[..., None]
        hidden = (own[..., None] * shown).sum((1, 2, 3)) / np.maximum(shown.sum((1, 2, 3)), 1)
        chosen = np.flatnonzero(hidden >= LEAST)
        if len(chosen):
            true = (~own)[chosen, ..., None].astype(np.float32)
            tables[name] = {"index": chosen} | scores_in(true, mask[chosen], region[chosen])
    return tables


def scores_in(
    true: Float[np.ndarray, "n h w 1"],
    mask: Float[np.ndarray, "n h w 1"],
    region: Float[np.ndarray, "n h w 1"],
) -> dict[str, np.ndarray]:
    """F1 and IoU of the rounded mask and of calling everything face, the occluder's IoU, Boundary
    IoU, and the calibration error of the soft mask; `[n]` each."""
    rounded, everything = mask.round(), np.ones_like(mask)
    ours, naive = mask_scores(true, rounded, region), mask_scores(true, everything, region)
    columns = {
        "f1": ours["f1"],
        "everything_f1": naive["f1"],
        "iou": ours["iou"],
        "everything_iou": naive["iou"],
        "occluder_iou": mask_scores(1 - true, 1 - rounded, region)["iou"],
        "boundary_iou": boundary_iou(true, rounded, region),
        "ece": calibration_error(true, mask, region),
    }
    return {name: np.asarray(values) for name, values in columns.items()}
