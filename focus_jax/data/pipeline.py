"""Records to batches, through grain: order fixed by the seed, and a place to resume from."""

from collections.abc import Iterator, Sequence
from typing import Any

import grain
import numpy as np

from focus_jax.data.augment import augment, crop
from focus_jax.types import Batch

Records = Sequence[dict[str, Any]]
TRUTH = (
    "dense_landmarks",
    "clean",
    "pasted",
    "whole",
    "mask",
    "neutral",
    "pose",
    "occluder",
    "features",
    "coefficients",
)  # fields a record may lack


def to_batch(records: Sequence[dict[str, Any]]) -> Batch:
    """Records of one size, stacked: pictures and mask in [0, 1], numbers in float32."""

    def stack(name: str) -> np.ndarray:
        return np.stack([record[name] for record in records])

    known = [name for name in TRUTH if records[0].get(name) is not None]
    optional: dict[str, np.ndarray] = {name: stack(name) for name in known}
    if "clean" in optional:
        optional["clean"] = optional["clean"].astype(np.float32) / np.float32(255)
    for name in ("mask", "pasted"):
        if name in optional:
            optional[name] = (optional[name] >= 128).astype(np.float32)[..., None]
    for name in ("dense_landmarks", "whole", "neutral", "pose", "features", "coefficients"):
        if name in optional:
            optional[name] = optional[name].astype(np.float32)
    if "occluder" in optional:
        optional["occluder"] = optional["occluder"].astype(np.int32)
    return Batch(
        image=stack("image").astype(np.float32) / np.float32(255),  # type: ignore[arg-type]
        landmarks=stack("landmarks").astype(np.float32),  # type: ignore[arg-type]
        index=stack("index").astype(np.int32),  # type: ignore[arg-type]
        **optional,  # type: ignore[arg-type]
    )


def make_iterator(
    records: Records,
    *,
    batch_size: int,
    size: int,
    seed: int,
    augmented: bool,
    paste: float = 0.0,
    arriving: bool = False,
    shard_index: int = 0,
    shard_count: int = 1,
    threads: int = 2,
) -> grain.DatasetIterator[Batch]:
    """Endless batches: every epoch a new order and new augmentations (`augment.augment`).

    All is fixed by `seed`, and the iterator's `get_state` (JSON) and `set_state` continue bit for
    bit. Each of `shard_count` processes gets every `shard_count`-th photo of one common stream, so
    that their batches together are those of a single process. Batches run on across epochs, so
    none is incomplete. With `arriving` the first epoch has the records in their own order, in
    which they are made (`cache.Cached`); that should be a random one. Raises ValueError when the
    records do not fill one batch, or are not made for `size`.
    """
    if len(records) < batch_size * shard_count:
        raise ValueError(
            f"{len(records)} training photos do not fill one batch of {batch_size} in each of "
            f"{shard_count} process(es); lower config.data.batch_size or add photos"
        )
    crop(records[0], size)  # unsuitable records fail here, not in a thread in the first step

    def prepare(index: int) -> dict[str, Any]:
        return crop({**records[index], "index": index}, size)

    def move(index: int, rng: np.random.Generator) -> dict[str, Any]:
        return augment({**records[index], "index": index}, rng, size, paste=paste)

    count = len(records)
    examples = grain.MapDataset.range(count).seed(seed).shuffle().repeat()
    if arriving:
        examples = examples.map_with_index(lambda place, index: place if place < count else index)
    prepared = examples.random_map(move) if augmented else examples.map(prepare)
    mine = prepared[shard_index::shard_count]
    batches = mine.batch(batch_size, drop_remainder=True, batch_fn=to_batch)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return iter(batches.to_iter_dataset(options))


def evaluation_batches(
    records: Records, *, batch_size: int, size: int
) -> Iterator[tuple[Batch, int]]:
    """All records once, in order and as they are, with the number of those that count.

    The last batch is filled up with its last record, so that one compiled program serves all.
    """
    for start in range(0, len(records), batch_size):
        numbers = range(start, min(start + batch_size, len(records)))
        chosen = [crop({**records[i], "index": i}, size) for i in numbers]
        yield to_batch(chosen + [chosen[-1]] * (batch_size - len(chosen))), len(chosen)
