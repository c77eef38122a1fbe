"""Recognizer features of photos, computed once: what `encoder.FeatureEncoder` looks at.

The recognizer is frozen, so each photo is augmented a few times beforehand and the features of
every version are kept beside it; training then costs no recognizer pass at all.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from focus_jax.data.align import shrink
from focus_jax.data.augment import augment, crop
from focus_jax.data.workers import spread
from focus_jax.networks import recognizer

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
    detail: bool = False,
    landmarks: bool = False,
    batch_size: int = 32,
) -> Iterator[Record]:
    """Records at `size` pixels with the field `features`, from those at `record_size` pixels.

    With `versions` above zero each record comes as that many augmented versions, drawn from
    (seed, version, record) and with an occluder pasted on a part `paste` of them; with zero, once
    and as it is. `detail` is of `recognizer.encoder_features`,
    which sees the records' landmarks if `landmarks`.
    """

    count = max(versions, 1) * len(records)

    def task(start: int) -> list[tuple[tuple[int, int, int] | None, Record]]:
        numbers = [divmod(n, len(records)) for n in range(start, min(start + batch_size, count))]
        return [((seed, *n) if versions else None, records[n[1]]) for n in numbers]

    prepare = functools.partial(_versions, record_size=record_size, paste=paste)
    look = functools.partial(
        _features,
        variables,
        kind=kind,
        detail=detail,
        landmarks=landmarks,
        size=size,
        batch_size=batch_size,
    )
    starts = range(0, count, batch_size)
    tasks = (task(start) for start in starts)
    with tqdm(desc="recognizer features", unit="photo", total=count) as bar:
        # An accelerator looks at what the cores prepare; without one they do both.
        if jax.default_backend() == "cpu":
            done = spread(lambda t: look(prepare(t)), tasks, count=len(starts))
        else:
            done = map(look, spread(prepare, tasks, count=len(starts)))
        for batch in done:
            bar.update(len(batch))
            yield from batch


def _versions(
    task: Sequence[tuple[tuple[int, int, int] | None, Record]], *, record_size: int, paste: float
) -> list[Record]:
    """Augmented versions of records, each from its own seed; without one the record as it is."""
    return [
        crop(record, record_size)
        if seed is None
        else augment(record, np.random.default_rng(seed), record_size, paste=paste)
        for seed, record in task
    ]


def _features(
    variables: Any,
    records: list[Record],
    *,
    kind: str,
    detail: bool,
    landmarks: bool,
    size: int,
    batch_size: int,
) -> list[Record]:
    """The records at `size` pixels, with their features."""
    # The last batch is filled up, so that one compiled program serves all.
    full = records + [records[-1]] * (batch_size - len(records))
    images = np.stack([record["image"] for record in full]).astype(np.float32) / 255
    points = None
    if landmarks:  # as a detector finds them, where those of the record are exact
        points = np.stack(
            [r.get("found_landmarks", r["landmarks"]) for r in full], dtype=np.float32
        )
    seen = look(variables, images, points, kind=kind, detail=detail)
    features = np.asarray(seen).astype(np.float16)
    made = zip(records, features, strict=False)
    seen = [{**shrink(record, size), "features": vector} for record, vector in made]
    return [{n: v for n, v in record.items() if n != "found_landmarks"} for record in seen]


look = jax.jit(recognizer.encoder_features, static_argnames=("kind", "detail"))
