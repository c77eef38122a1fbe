import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import runs
from ml_collections import ConfigDict

from focus_jax.commands.weights import main as weights_main
from focus_jax.data.align import shrink
from focus_jax.face_models import load_face_model, npz
from focus_jax.photos import inference, trained
from focus_jax.photos.trained import load_model, make_batch
from focus_jax.training import misfit, train, updates
from focus_jax.types import Batch
from focus_jax.weights import checkpoint
from focus_jax.weights.run import export, remember_face_model


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return runs.untrained(tmp_path_factory.mktemp("run"), encoder="recognizer")


@pytest.fixture(scope="module")
def model(workdir):
    return load_model(str(workdir))


@pytest.fixture(scope="module")
def crops():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (2, 48, 48, 3)).astype(np.uint8), rng.uniform(10, 38, (2, 68, 2))


def test_sizes_and_weights_are_those_of_the_run(model):
    assert (model.name, model.size, model.record_size) == ("em-photos-smoke", 32, 48)
    assert model.face_model.identity_basis.shape[-1] == 4 and len(model.weights) == 16
    assert isinstance(model.decoding.light_bands, tuple)


def test_batches_are_those_of_training(model, crops, monkeypatch):
    seen = []

    def look(variables, images, *, kind, detail):
        assert not detail
        seen.append(images)
        return jnp.full((len(images), 4224), 0.1234567, jnp.float32)

    monkeypatch.setattr(trained, "_look", look)
    batch = make_batch(model, *crops)
    # The recognizer sees the larger crop; its features went through half precision in training.
    np.testing.assert_array_equal(seen[0], crops[0].astype(np.float32) / 255)
    np.testing.assert_array_equal(batch.features, np.float32(np.float16(0.1234567)))
    small = [shrink({"image": i, "landmarks": p}, 32) for i, p in zip(*crops, strict=True)]
    np.testing.assert_array_equal(batch.landmarks, [s["landmarks"] for s in small])
    np.testing.assert_allclose(batch.image, [s["image"] / 255 for s in small], atol=1e-6)


def test_faces_and_masks_are_those_of_training(workdir, model, crops):
    rng = np.random.default_rng(1)
    batch = Batch(
        image=rng.random((2, 32, 32, 3), np.float32),
        landmarks=crops[1].astype(np.float32),
        index=np.arange(2, dtype=np.int32),
        features=rng.random((2, 4224), np.float32),
    )
    config = ConfigDict(json.loads((workdir / "config.json").read_text()))
    method = train.make_method(config, model.face_model)
    seed = 3  # of the run
    state = train.initial_state(method, model.face_model, batch, seed)
    constants = updates.Constants(model.face_model, model.recognizer, jax.random.key(0))
    expected = updates.predict(state, batch, constants, method=method)
    code, errors, *_ = inference.find_codes(model, batch)
    assert errors is None
    np.testing.assert_allclose(code.pose, expected.face.code.pose, atol=1e-6)
    mask, coverage = inference._mask(model, code, jnp.asarray(batch.image))
    np.testing.assert_allclose(mask, expected.mask, atol=1e-5)
    np.testing.assert_array_equal(coverage, expected.face.rendering.coverage)


def test_masks_alone_are_the_same_masks(model, crops):
    batch = make_batch(model, *crops)
    whole, alone = (look(model, batch) for look in (inference.infer, inference.infer_masks))
    np.testing.assert_array_equal(alone.coverage, whole.coverage)
    np.testing.assert_array_equal(alone.mask, whole.mask)


def test_a_misfit_prior_beside_the_run_is_its_own(workdir, model, tmp_path):
    assert model.misfit is None
    shutil.copytree(workdir, tmp_path / "run")
    prior = np.random.default_rng(0).normal(size=model.face_model.shape_mean.shape)
    misfit.save(tmp_path / "run" / "misfit.npz", prior, model.face_model, 5)
    np.testing.assert_array_equal(load_model(str(tmp_path / "run")).misfit, prior)
    other = dataclasses.replace(model.face_model, shape_mean=model.face_model.shape_mean + 1)
    misfit.save(tmp_path / "run" / "misfit.npz", prior, other, 5)
    with pytest.raises(ValueError, match="belongs to another face model"):
        load_model(str(tmp_path / "run"))


def test_an_exported_model_is_the_run_without_its_optimizers(workdir, model, crops, tmp_path):
    folder = tmp_path / "model"
    assert weights_main(["export", str(workdir), str(folder)]) == 0
    assert sorted(p.name for p in folder.iterdir()) == [
        "albedo_mean.safetensors",
        "config.json",
        "encoder.safetensors",
        "segmenter.safetensors",
    ]
    text = (folder / "config.json").read_text()
    assert str(tmp_path.parent) not in text and str(workdir) not in text
    assert '"root": ""' in text and '"cache": ""' in text
    exported = load_model(str(folder))
    batch = make_batch(model, *crops)
    one, other = (inference.infer(m, batch) for m in (model, exported))
    # Weights in half precision.
    np.testing.assert_allclose(one.landmarks, other.landmarks, atol=0.1)
    np.testing.assert_allclose(one.coarse_mask, other.coarse_mask, atol=0.02)
    assert jax.tree.leaves(exported.variables)[0].dtype == np.float32


def test_a_damaged_export_is_refused(workdir, tmp_path, capsys):
    assert weights_main(["export", str(tmp_path), str(tmp_path / "model")]) == 1
    assert "is not a trained model" in capsys.readouterr().err
    assert weights_main(["export", str(workdir), str(tmp_path / "model")]) == 0
    path = tmp_path / "model" / "segmenter.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="is not a safetensors file"):
        load_model(str(path.parent))


def test_folders_that_are_no_runs(tmp_path, workdir):
    with pytest.raises(ValueError, match="is not a trained model; give the folder of a training"):
        load_model(str(tmp_path))
    (tmp_path / "config.json").write_text((workdir / "config.json").read_text())
    checkpoint.open_checkpoints(tmp_path).close()
    with pytest.raises(ValueError, match="holds no checkpoint yet"):
        load_model(str(tmp_path))


def test_a_run_finds_its_face_model_from_anywhere(workdir, tmp_path, monkeypatch):
    """Trained with a relative path; used from another folder, and where the file has moved."""
    run, home = tmp_path / "run", tmp_path / "home"
    shutil.copytree(workdir, run)
    home.mkdir()
    modes = {"identity": 4, "expression": 3, "albedo": 2}
    npz.write(home / "own.npz", load_face_model("builtin", **modes))
    config = json.loads((run / "config.json").read_text())
    config["face_model"]["name"] = "own.npz"
    (run / "config.json").write_text(json.dumps(config))
    monkeypatch.chdir(home)
    remember_face_model(run, "own.npz")
    monkeypatch.chdir(tmp_path)
    assert load_model(str(run)).face_model_file == str(home / "own.npz")

    moved = (home / "own.npz").rename(tmp_path / "moved.npz")
    with pytest.raises(ValueError, match=r"own\.npz .*was trained with it: give --face-model"):
        load_model(str(run))
    assert load_model(str(run), str(moved)).face_model_file == str(moved)
    moved.rename(home / "own.npz")
    export(run, tmp_path / "export")
    about = json.loads((tmp_path / "export" / "face_model.json").read_text())
    assert list(about) == ["sha256"]

    npz.write(moved, load_face_model("builtin", **{**modes, "albedo": 3}))
    with pytest.raises(ValueError, match=r"moved\.npz is not the face model that"):
        load_model(str(run), str(moved))
