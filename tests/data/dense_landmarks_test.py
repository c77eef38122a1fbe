import numpy as np
import pytest

from focus_jax.data import mesh_landmarks
from focus_jax.data.align import shrink
from focus_jax.data.augment import augment, crop
from focus_jax.data.dense_landmarks import read_dense, unknown, write_dense
from focus_jax.data.pipeline import to_batch


def points(seed=0):
    return np.random.default_rng(seed).uniform(0, 40, (478, 2)).astype(np.float32)


def test_what_is_written_is_read(tmp_path):
    csv = tmp_path / "train_landmarks.csv"
    assert read_dense(csv) is None
    known = {"a.jpg": points(), "b/ü.jpg": unknown(), "\udce9.jpg": points(1)}
    write_dense(csv, known)
    found = read_dense(csv)
    assert found is not None and list(found) == list(known)
    for name, expected in known.items():
        np.testing.assert_array_equal(found[name], expected)


def test_other_files_are_refused(tmp_path):
    csv = tmp_path / "train_landmarks.csv"
    csv.with_suffix(".npz").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match=r"train_landmarks\.npz is not an npz"):
        read_dense(csv)
    np.savez(csv.with_suffix(".npz"), filename=["a"], dense_landmarks=np.zeros((1, 68, 2)))
    with pytest.raises(ValueError, match=r"shape \(1, 68, 2\)"):
        read_dense(csv)


def record(size):
    rng = np.random.default_rng(3)
    marks = rng.uniform(5, size - 5, (68, 2)).astype(np.float32)
    dense = np.concatenate([marks, points()])[:478].astype(np.float32)
    dense[477] = np.nan
    image = rng.integers(0, 256, (size, size, 3)).astype(np.uint8)
    return {"image": image, "landmarks": marks, "dense_landmarks": dense}


def test_they_move_with_the_landmarks():
    """The first 68 are the landmarks here, so that they must stay so; unknown ones stay unknown."""
    before = record(56)
    for after in (crop(before, 40), shrink(before, 28)):
        np.testing.assert_allclose(after["dense_landmarks"][:68], after["landmarks"], atol=1e-4)
        assert np.isnan(after["dense_landmarks"][477]).all()
    sides = set()
    for seed in range(8):
        after = augment(before, np.random.default_rng(seed), 40)
        same = np.abs(after["dense_landmarks"][:60] - after["landmarks"][:60]).max() < 1e-3
        unflipped = after["dense_landmarks"][mesh_landmarks.MIRROR]
        distances = np.linalg.norm(unflipped[:68, None] - after["landmarks"][None], axis=-1)
        assert same or (distances.min(1) < 1e-3).all()
        sides.add(same)
    assert sides == {True, False}  # mirrored and not


def test_batches_have_them_where_records_do():
    records = [{**record(40), "index": n} for n in range(2)]
    np.testing.assert_array_equal(
        to_batch(records).dense_landmarks, [r["dense_landmarks"] for r in records]
    )
    for one in records:
        del one["dense_landmarks"]
    assert to_batch(records).dense_landmarks is None
