"""Recognizer features of photos, computed once: what `encoder.FeatureEncoder` looks at.

The recognizer is frozen, so each photo is augmented a few times beforehand and the features of
every version are kept beside it; training then costs no recognizer pass at all.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import jax
import numpy as np
from tqdm import tqdm

from focus_jax import recognizer
from focus_jax.data.augment import augment, crop
from focus_jax.data.records import one_ahead

Record = dict[str, Any]


def recognized(
    records: Sequence[Record],
    variables: Any,
    *,
    kind: str,
    record_size: int,
    size: int,
    versions: int,
    paste: float,
    seed: int,
    batch_size: int = 32,
) -> Iterator[Record]:
    """Records at `size` pixels with the field `features`, from those at `record_size` pixels.

    With `versions` above zero each record comes as that many augmented versions, drawn from
    (seed, version, record) and with an occluder pasted on a part `paste` of them; with zero, once
    and as it is.
    """

    count = max(versions, 1) * len(records)

    def make(number: int) -> Record:
        version, index = divmod(number, len(records))
        if not versions:
            return crop(records[index], record_size)
        rng = np.random.default_rng((seed, version, index))
        return augment(records[index], rng, record_size, paste=paste)

    def begin(start: int) -> Iterator[Record]:
        """Make a batch of records, and leave it to the device to look at them."""
        made = [make(number) for number in range(start, min(start + batch_size, count))]
        # The last batch is filled up, so that one compiled program serves all.
        full = made + [made[-1]] * (batch_size - len(made))
        images = np.stack([record["image"] for record in full]).astype(np.float32) / 255
        return finish(made, _look(variables, images, kind=kind))

    def finish(made: list[Record], features: jax.Array) -> Iterator[Record]:
        for record, vector in zip(made, np.asarray(features), strict=False):
            yield {**shrink(record, size), "features": vector.astype(np.float16)}

    # The next batch is made, and the last one used, while the device looks at this one.
    done = one_ahead(begin(start) for start in range(0, count, batch_size))
    yield from tqdm(done, desc="recognizer features", unit="photo", total=count)


@functools.partial(jax.jit, static_argnames="kind")
def _look(variables: Any, images: jax.Array, *, kind: str) -> jax.Array:
    return recognizer.encoder_features(variables, images, kind=kind)


def shrink(record: Record, size: int) -> Record:
    """The record with its pictures at `size` pixels, landmarks with them."""
    before = record["image"].shape[0]
    if before == size:
        return record

    def resize(picture: np.ndarray) -> np.ndarray:
        return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)

    # Pixel centres are integers, so the image's edge lies half a pixel outside the first centre.
    small = {**record, "image": resize(record["image"])}
    small["landmarks"] = ((record["landmarks"] + 0.5) * (size / before) - 0.5).astype(np.float32)
    for name in ("clean", "mask", "pasted"):
        if record.get(name) is not None:
            small[name] = resize(record[name])
    return small
