"""Cutout and cutmix: rectangles of training photos hidden, for methods that know true masks.

DeVries and Taylor 2017 hide a square; Yun et al. 2019 fill it from another photo. The paper's
Backbone-cutout and Backbone-cutmix train on such photos (Sec. 4.1).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

KINDS = ("cutout", "cutmix")
PROBABILITY = 0.5
SIDE = (0.2, 0.5)  # of the rectangle, in sides of the photo


def cut_records(
    records: Sequence[dict[str, Any]], kind: str, *, seed: int
) -> Iterator[dict[str, Any]]:
    """Records half of which have a rectangle of one grey, or of another photo (`cutmix`).

    `mask` is 0 there. Each is a function of the seed and its number. ValueError for other kinds and
    for records without true masks.
    """
    if kind not in KINDS:
        raise ValueError(f"config.data.cut must be one of {KINDS} or empty, not {kind!r}")
    for number, record in enumerate(records):
        if record.get("mask") is None:
            raise ValueError(f"config.data.cut={kind!r} needs photos with true masks")
        rng = np.random.default_rng((seed, number))
        if rng.random() >= PROBABILITY:
            yield dict(record)
            continue
        height, width = record["mask"].shape
        h, w = (int(rng.uniform(*SIDE) * n) for n in (height, width))
        y, x = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
        image, mask = record["image"].copy(), record["mask"].copy()
        where = (slice(y, y + h), slice(x, x + w))
        other = records[int(rng.integers(len(records)))]["image"]
        if kind == "cutmix" and other.shape == image.shape:
            # From its corner: a face in its own place would be face over face.
            shift = (height // 2, width // 2)
            image[where] = np.roll(other, shift, axis=(0, 1))[where]
        else:
            image[where] = 127
        mask[where] = 0
        yield {**record, "image": image, "mask": mask}
