import cv2
import numpy as np
import pytest

from focus_jax.data import source
from focus_jax.data.align import shrink
from focus_jax.data.features import recognized
from focus_jax.data.occluders import OCCLUDERS
from focus_jax.data.synthetic import synthesize
from focus_jax.face_models import load_face_model
from focus_jax.weights.recognizer import load_recognizer
from tests.training.train_test import load_config


@pytest.fixture(scope="module")
def records():
    faces = synthesize(load_face_model("builtin"), 10, size=96, seed=0, occluded=0.0)
    return [{k: r[k] for k in ("image", "landmarks", "filename")} for r in faces]


def test_pasted_occluders_come_in_turn_with_their_masks(records):
    pasted = list(source.pasted(records, seed=0))
    kinds = [int(r["occluder"]) for r in pasted]
    assert kinds == [1 + i % (len(OCCLUDERS) - 1) for i in range(10)]
    for before, after in zip(records, pasted, strict=True):
        hidden = after["mask"] == 0
        assert 0 < hidden.mean() < 0.7
        changed = (before["image"] != after["image"]).any(-1)
        assert changed[hidden].mean() > 0.9


def test_synthetic_faces_train_among_photos(tmp_path, records, monkeypatch):
    config = load_config("em", "photos,smoke")
    config.data.update(root=str(tmp_path), cache=str(tmp_path / "cache"), size=96, synthetic=3)
    config.encoder.kind = "small"
    monkeypatch.setattr(source, "photo_records", lambda *_, **__: iter(records[:4]))
    splits = source.load_splits(config, None)
    assert [len(s) for s in splits] == [7, 4, 4]
    assert {frozenset(r) for r in splits.train} == {
        frozenset({"image", "landmarks", "dense_landmarks", "filename", "mask", "whole"})
    }
    assert [int(r["whole"]) for r in splits.train] == [0] * 4 + [1] * 3
    assert [r["filename"].split("_")[0] for r in splits.train[4:]] == ["synthetic"] * 3
    config.data.synthetic = 0
    assert len(source.load_splits(config, None).train) == 4


def test_to_judge_takes_no_photos_to_train_on(tmp_path, records, monkeypatch):
    made = []

    def crops(root, name, *_, **__):
        made.append(name)
        return iter(records[:4])

    config = load_config("em", "photos,smoke")
    config.data.update(root=str(tmp_path), cache=str(tmp_path / "cache"), cut="cutout", synthetic=3)
    monkeypatch.setattr(source, "photo_records", crops)
    splits = source.load_splits(config, load_recognizer("dlib"), train=False)
    assert [len(s) for s in splits] == [0, 4, 4] and made == ["validation"]


def test_renderings_are_of_the_modes_that_a_run_keeps(tmp_path):
    config = load_config("em", "smoke")
    config.data.cache, config.data.renderings = str(tmp_path), 8
    config.encoder.kind = "small"
    config.face_model.modes = {"identity": 4, "expression": 3, "albedo": 2}
    found = source.load_renderings(config, None)
    assert len(found) == 8 and found[0]["image"].shape == (64, 64, 3)
    assert all(r["coefficients"].shape == (9,) for r in found)
    assert 0 < sum(r["occluder"] > 0 for r in found) < 8  # some of them behind something
    config.data.renderings = 0
    with pytest.raises(ValueError, match=r"config\.data\.renderings above 0"):
        source.load_renderings(config, None)


def test_features_belong_to_their_version_and_size(records):
    variables = load_recognizer("dlib")
    options = {"kind": "dlib", "record_size": 96, "size": 64, "seed": 0, "batch_size": 4}
    options["paste"] = 0.0
    plain = list(recognized(records[:5], variables, versions=0, **options))
    assert len(plain) == 5 and plain[0]["image"].shape == (64, 64, 3)
    np.testing.assert_allclose(
        plain[0]["landmarks"], (records[0]["landmarks"] + 0.5) * 64 / 96 - 0.5, rtol=1e-5
    )
    moved = list(recognized(records[:5], variables, versions=2, **options))
    assert len(moved) == 10
    assert (moved[0]["features"] != moved[5]["features"]).any()
    again = list(recognized(records[:5], variables, versions=2, **options))
    np.testing.assert_array_equal(moved[7]["features"], again[7]["features"])
    np.testing.assert_array_equal(moved[7]["image"], again[7]["image"])


def test_shrinking_moves_landmarks_with_the_pixels():
    image = np.zeros((96, 96, 3), np.uint8)
    cv2.circle(image, (60, 30), 4, (255, 255, 255), -1)
    record = shrink({"image": image, "landmarks": np.array([[60.0, 30.0]])}, 32)
    y, x = (np.indices((32, 32)) * record["image"][..., 0]).sum((1, 2)) / record["image"][
        ..., 0
    ].sum()
    np.testing.assert_allclose(record["landmarks"][0], [x, y], atol=0.1)


def test_features_of_another_recognizer_or_other_places_are_made_anew(monkeypatch):
    config, keys = load_config("em", "smoke"), []

    def remember(config, name, key, make, count):
        keys.append((name, key))
        return []

    monkeypatch.setattr(source, "cached", remember)
    for value, detail in ((0.0, False), (1.0, False), (1.0, True)):
        config.encoder.detail = detail
        source.load_splits(config, {"params": {"kernel": np.full(3, value)}})
    for asked in zip(*np.array_split(np.array(keys, object), 3), strict=True):
        names, found = zip(*asked, strict=True)
        assert len(set(names)) == 1
        assert len(set(found)) == (3 if names[0].endswith("features") else 1), names[0]
    assert any(name.endswith("features") for name, _ in keys)


def test_codes_of_other_photos_are_refused(tmp_path):
    config, path = load_config("em", "photos,smoke"), tmp_path / "codes.npz"
    config.data.codes = str(path)
    count = sum(config.face_model.modes.values())
    np.savez(path, filename=["a.jpg"], coefficients=np.ones((1, count), np.float32))
    faces = [{"filename": "a.jpg"}, {"filename": "b.jpg"}]
    known, unknown = source._coder(config, faces)(faces)
    assert (known["coefficients"] == 1).all() and np.isnan(unknown["coefficients"]).all()
    with pytest.raises(ValueError, match=r"codes\.npz names none of the training photos"):
        source._coder(config, faces[1:])


def test_an_export_that_names_no_cache_has_that_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "COPIES", str(tmp_path / "own"))
    config = load_config("em", "smoke")
    config.data.cache = ""
    records = source.cached(config, "x", (1,), lambda: iter([{"index": np.zeros(2)}]))
    assert len(records) == 1 and list((tmp_path / "own").iterdir())


def test_without_augmentation_records_are_seen_as_they_are(records, monkeypatch):
    seen = {}
    splits = source.Splits(records, records, records)
    monkeypatch.setattr(source, "_synthetic", lambda config, train: splits)
    monkeypatch.setattr(
        source, "_with_features", lambda c, r, name, rs, versions: seen.update({name: versions})
    )
    monkeypatch.setattr(source, "_coder", lambda config, train: lambda records: records)
    config = load_config("em")
    for augment in (True, False):
        config.data.augment = augment
        source.load_splits(config, None)
        assert seen["train"] == (config.data.versions if augment else 0)
