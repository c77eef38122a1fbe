import json

import jax
import numpy as np
import pytest

from focus_jax.data import records
from focus_jax.data.augment import MARGIN
from focus_jax.data.pipeline import evaluation_batches, make_iterator
from focus_jax.types import Batch

SIZE = 32


def make(count: int, *, margin: bool = True, **more) -> list[dict]:
    rng = np.random.default_rng(0)
    side = SIZE + 2 * round(MARGIN * SIZE) if margin else SIZE
    return [
        {
            "image": rng.integers(0, 256, (side, side, 3)).astype(np.uint8),
            "landmarks": rng.uniform(8, 24, (68, 2)).astype(np.float32),
            **{name: value(number) for name, value in more.items()},
        }
        for number in range(count)
    ]


def start(data, *, batch_size=4, seed=0, augmented=True, **options):
    return make_iterator(
        data, batch_size=batch_size, size=SIZE, seed=seed, augmented=augmented, **options
    )


def equal(one: Batch, two: Batch) -> bool:
    return all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    )


def indices(iterator, batches: int) -> np.ndarray:
    return np.concatenate([next(iterator).index for _ in range(batches)])


def test_batches_have_the_documented_shapes():
    batch = next(start(make(10), batch_size=3))
    assert batch.image.shape == (3, SIZE, SIZE, 3) and batch.image.dtype == np.float32
    assert batch.image.min() >= 0 and 0.9 < batch.image.max() <= 1
    assert batch.landmarks.shape == (3, 68, 2) and batch.landmarks.dtype == np.float32
    assert batch.index.shape == (3,) and batch.index.dtype == np.int32
    assert batch.mask is None and batch.neutral is None and batch.features is None


def test_records_that_arrive_are_seen_in_their_order_once():
    data = make(10)
    stream = start(data, batch_size=5, arriving=True)
    epochs = [indices(stream, 2).tolist() for _ in range(4)]
    assert epochs[0] == list(range(10))
    for epoch in epochs[1:]:
        assert sorted(epoch) == list(range(10)) and epoch != epochs[0]
    parts = [
        start(data, batch_size=5, arriving=True, shard_index=i, shard_count=2) for i in range(2)
    ]
    together = np.stack([indices(part, 4) for part in parts], 1).reshape(-1)
    np.testing.assert_array_equal(together, np.concatenate(epochs))
    place = json.loads(json.dumps(stream.get_state()))
    further = indices(stream, 2)
    again = start(data, batch_size=5, arriving=True)
    again.set_state(place)
    np.testing.assert_array_equal(indices(again, 2), further)


def test_truth_reaches_the_batch():
    data = make(
        4,
        margin=False,
        mask=lambda n: np.full((SIZE, SIZE), 200 if n % 2 else 100, np.uint8),
        neutral=lambda n: np.full((5, 3), n, np.float32),
        pose=lambda n: np.full(6, n, np.float32),
        occluder=lambda n: n,
        features=lambda n: np.full(8, n, np.float16),
    )
    batch = next(start(data, augmented=False))
    number = np.asarray(batch.index)
    np.testing.assert_array_equal(np.asarray(batch.mask)[:, 0, 0, 0], number % 2)
    assert np.shape(batch.mask) == (4, SIZE, SIZE, 1)
    for name in ("neutral", "pose", "features"):
        values = np.asarray(getattr(batch, name))
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values.reshape(4, -1)[:, 0], number)
    np.testing.assert_array_equal(batch.occluder, number)
    moved = next(start(data))
    assert moved.mask is not None and moved.neutral is None and moved.pose is None


def test_every_epoch_is_another_order_of_all():
    iterator = start(make(12))
    epochs = indices(iterator, 9).reshape(3, 12)
    np.testing.assert_array_equal(np.sort(epochs, 1), np.tile(np.arange(12), (3, 1)))
    assert len(np.unique(epochs, axis=0)) == 3


def test_every_epoch_augments_anew():
    iterator = start(make(4))
    images = [b.image[np.argsort(b.index)] for b in (next(iterator), next(iterator))]
    assert (np.abs(images[0] - images[1]).mean((1, 2, 3)) > 0.02).all()


def test_the_seed_fixes_all():
    one, two, other = start(make(9)), start(make(9)), start(make(9), seed=1)
    assert all(equal(next(one), next(two)) for _ in range(5))
    assert not equal(next(start(make(9))), next(other))


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_resuming_is_bit_equal(steps):
    iterator = start(make(10), batch_size=3)
    for _ in range(steps):
        next(iterator)
    state = json.loads(json.dumps(iterator.get_state()))
    expected = [next(iterator) for _ in range(6)]
    resumed = start(make(10), batch_size=3, threads=1)
    resumed.set_state(state)
    assert all(equal(next(resumed), batch) for batch in expected)


@pytest.mark.parametrize("count", [2, 3])
def test_processes_share_out_one_stream(count):
    data = make(12)
    whole = start(data, batch_size=12)
    parts = [
        start(data, batch_size=12 // count, shard_index=i, shard_count=count) for i in range(count)
    ]
    for _ in range(3):
        expected, found = next(whole), [next(part) for part in parts]
        numbers = np.stack([part.index for part in found], 1).ravel()
        np.testing.assert_array_equal(numbers, expected.index)
        images = np.stack([part.image for part in found], 1).reshape(expected.image.shape)
        np.testing.assert_array_equal(images, expected.image)


def test_without_augmentation_only_the_margin_goes():
    data = make(6)
    batch = next(start(data, augmented=False))
    margin = round(MARGIN * SIZE)
    for image, landmarks, number in zip(batch.image, batch.landmarks, batch.index, strict=True):
        whole = data[int(number)]["image"][margin:-margin, margin:-margin]
        np.testing.assert_array_equal(np.rint(np.asarray(image) * 255), whole)
        np.testing.assert_allclose(landmarks, data[int(number)]["landmarks"] - margin, atol=1e-5)


def test_records_on_disk_give_the_same_batches(tmp_path):
    data = make(12)
    records.write_records(tmp_path, data)
    for in_memory in (0, records.IN_MEMORY):
        stored = start(records.open_records(tmp_path, in_memory=in_memory))
        plain = start(data)
        assert all(equal(next(stored), next(plain)) for _ in range(4))


def test_evaluation_sees_each_record_once_in_batches_of_one_size():
    batches = list(evaluation_batches(make(10), batch_size=4, size=SIZE))
    assert [count for _, count in batches] == [4, 4, 2]
    assert {b.image.shape for b, _ in batches} == {(4, SIZE, SIZE, 3)}
    seen = np.concatenate([np.asarray(b.index)[:count] for b, count in batches])
    np.testing.assert_array_equal(seen, np.arange(10))


def test_what_cannot_train():
    with pytest.raises(ValueError, match=r"5 training photos do not fill one batch of 4 in each"):
        start(make(5), shard_count=2)
    with pytest.raises(ValueError, match="make the records anew at that size"):
        make_iterator(make(5), batch_size=2, size=20, seed=0, augmented=True)
    with pytest.raises(ValueError, match="0 training photos"):
        start([])
