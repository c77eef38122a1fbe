"""Recognizer features of photos, computed once: what `encoder.FeatureEncoder` looks at.

The recognizer is frozen, so each photo is augmented a few times beforehand and the features of
every version are kept beside it; training then costs no recognizer pass at all.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import jax
import numpy as np
from tqdm import tqdm

from focus_jax import recognizer
from focus_jax.data.augment import augment, crop

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

    @jax.jit
    def look(images: jax.Array) -> jax.Array:
        return recognizer.encoder_features(variables, images, kind=kind)

    pending: list[Record] = []

    def flush() -> Iterator[Record]:
        # The last batch is filled up, so that one compiled program serves all.
        full = pending + [pending[-1]] * (batch_size - len(pending))
        images = np.stack([r["image"] for r in full]).astype(np.float32) / 255
        features = np.asarray(look(images))
        for record, vector in zip(pending, features, strict=False):
            yield {**shrink(record, size), "features": vector.astype(np.float16)}
        pending.clear()

    for version in range(max(versions, 1)):
        for index in tqdm(range(len(records)), desc="recognizer features", unit="photo"):
            rng = np.random.default_rng((seed, version, index))
            record = records[index]
            pending.append(
                augment(record, rng, record_size, paste=paste)
                if versions
                else crop(record, record_size)
            )
            if len(pending) == batch_size:
                yield from flush()
    if pending:
        yield from flush()


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
