import contextlib
import dataclasses
import itertools
import json
import shutil

import face_model_files
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
from focus_jax.weights import run as run_module
from focus_jax.weights.run import (
    export,
    face_model_digest,
    load_trained,
    remember_face_model,
)


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


def edit(run, change):
    """Change a run's config."""
    config = json.loads((run / "config.json").read_text())
    change(config)
    (run / "config.json").write_text(json.dumps(config))


def test_sizes_and_weights_are_those_of_the_run(model):
    assert (model.name, model.size, model.record_size) == ("em-photos-smoke", 32, 48)
    assert model.face_model.identity_basis.shape[-1] == 4 and len(model.weights) == 16
    assert isinstance(model.decoding.light_bands, tuple)


def test_batches_are_those_of_training(model, crops, monkeypatch):
    seen = []

    def look(variables, images, landmarks, *, kind, detail):
        assert landmarks is None and not detail
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
    shown = make_batch(model, *crops, encoded=False)
    assert len(seen) == 1 and shown.features is None
    np.testing.assert_array_equal(shown.image, batch.image)


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
    # In the encoder's light, which is solved for anew where photos are looked at.
    assert np.abs(code.light - expected.face.code.light).max() > 0.01
    code = dataclasses.replace(code, light=expected.face.code.light)
    given = code, jnp.asarray(batch.image), model.face_model, model.variables
    mask, coverage = inference._masked(*given, networks=model.networks, quick=True)
    np.testing.assert_allclose(mask, expected.mask, atol=1e-5)
    np.testing.assert_array_equal(coverage, expected.face.rendering.coverage)
    # Results ask the mirror image and one enlarged as well.
    both, _ = inference._mask(model, *given[:2])
    assert 1e-6 < np.abs(both - mask).max() < 0.5


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
    export(tmp_path / "run", tmp_path / "model")
    np.testing.assert_array_equal(load_model(str(tmp_path / "model")).misfit, prior)
    other = dataclasses.replace(model.face_model, shape_mean=model.face_model.shape_mean + 1)
    misfit.save(tmp_path / "run" / "misfit.npz", prior, other, 5)
    with pytest.raises(ValueError, match="belongs to another face model"):
        load_model(str(tmp_path / "run"))


def test_an_exported_model_is_the_run_without_its_optimizers(workdir, model, crops, tmp_path):
    folder = tmp_path / "model"
    assert weights_main(["export", str(workdir), str(folder)]) == 0
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "SHA256SUMS",
        "albedo_mean.safetensors",
        "config.json",
        "encoder.safetensors",
        "face_model.json",
        "segmenter.safetensors",
    ]
    text = (folder / "config.json").read_text()
    assert str(tmp_path.parent) not in text and str(workdir) not in text
    assert all(f'"{name}": ""' in text for name in ("root", "cache", "codes"))
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
    with pytest.raises(ValueError, match=r"segmenter\.safetensors is not .*SHA256SUMS"):
        load_model(str(path.parent))
    (path.parent / "SHA256SUMS").unlink()
    with pytest.raises(ValueError, match="is not a safetensors file"):
        load_model(str(path.parent))


@pytest.mark.parametrize("name", ["config.json", "face_model.json"])
def test_a_damaged_settings_file_is_named(workdir, tmp_path, name):
    assert weights_main(["export", str(workdir), str(tmp_path / "model")]) == 0
    path = tmp_path / "model" / name
    path.write_text(path.read_text()[:10])
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        load_model(str(path.parent))
    if name == "config.json":
        path.write_text("{}")
        with pytest.raises(
            ValueError, match=r"config\.json is not the config of a run: .*face_model"
        ):
            load_model(str(path.parent))


@pytest.mark.parametrize(
    "name", ["name", "data.size", "data.record_size", "segmenter.width", "decoding", "losses"]
)
def test_a_config_without_a_field_is_told_which(workdir, tmp_path, name):
    run, (*sections, field) = shutil.copytree(workdir, tmp_path / "run"), name.split(".")

    def without(config):
        for section in sections:
            config = config[section]
        del config[field]

    edit(run, without)
    with pytest.raises(ValueError, match=rf"config\.json is not the config .*: it has no {name}$"):
        load_trained(run)


def test_a_model_of_a_later_version_is_refused(workdir, tmp_path):
    run = shutil.copytree(workdir, tmp_path / "run")
    edit(run, lambda config: config["decoding"].update(light_sharpness=1.0))
    with pytest.raises(
        ValueError, match=r"config\.decoding\.light_sharpness is none of decoding's"
    ):
        load_trained(run)


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
    edit(run, lambda config: config["face_model"].update(name="own.npz"))
    monkeypatch.chdir(home)
    remember_face_model(run, "own.npz")
    monkeypatch.chdir(tmp_path)
    assert load_model(str(run)).face_model_file == str(home / "own.npz")

    moved = (home / "own.npz").rename(tmp_path / "moved.npz")
    with pytest.raises(ValueError, match=r"own\.npz .*was trained with it: give --face-model"):
        load_model(str(run))
    assert load_model(str(run), str(moved)).face_model_file == str(moved)
    npz.write(moved, load_face_model("builtin", **{**modes, "albedo": 3}))
    with pytest.raises(ValueError, match=r"moved\.npz is not the face model that"):
        load_model(str(run), str(moved))


def test_an_export_names_a_face_model_by_its_file_and_digest(workdir, tmp_path, capsys):
    run, lent, out = tmp_path / "run", tmp_path / "lent" / "own.npz", tmp_path / "export"
    shutil.copytree(workdir, run)
    lent.parent.mkdir()
    npz.write(lent, load_face_model("builtin", identity=4, expression=3, albedo=2))
    edit(run, lambda config: config["face_model"].update(name=str(lent)))
    remember_face_model(run, str(lent))
    assert weights_main(["export", str(run), str(out)]) == 0
    texts = [path.read_text() for path in out.glob("*.json")]
    assert len(texts) == 2 and not any(str(tmp_path) in text for text in texts)
    assert not list(out.glob("*.npz"))
    with pytest.raises(ValueError, match=r"own\.npz does not exist; .*: give --face-model$"):
        load_model(str(out))
    assert load_model(str(out), str(lent)).face_model_file == str(lent)

    other = tmp_path / "other.npz"
    npz.write(other, load_face_model("builtin", identity=4, expression=3, albedo=3))
    again = ["export", str(out), str(tmp_path / "again"), "--face-model"]
    for wrong in (other, workdir / "config.json"):
        capsys.readouterr()
        assert weights_main([*again, str(wrong)]) == 1
        said = f"error: {wrong} is not the face model that {out} was trained with\n"
        assert capsys.readouterr().err == said
    assert weights_main([*again, str(lent)]) == 0
    assert load_model(str(tmp_path / "again"), str(lent)).face_model_file == str(lent)

    beside = lent.rename(out / "own.npz")
    assert load_model(str(out)).face_model_file == str(beside)
    shutil.copy(other, beside)
    with pytest.raises(ValueError, match=r"own\.npz is not the face model that"):
        load_model(str(out))


def test_a_face_model_of_an_exported_models_own_goes_along(tmp_path):
    former = tmp_path / "former.npz"
    face_model_files.write_bfm(former)
    export(runs.untrained(tmp_path / "run", face_model=str(former)), tmp_path / "one")
    own = shutil.copy(former, tmp_path / "one" / "face_model.npz")
    assert load_model(str(tmp_path / "one")).face_model_file == str(own)
    export(tmp_path / "one", tmp_path / "two")
    assert load_model(str(tmp_path / "two")).face_model_file == str(tmp_path / "two" / own.name)


def test_a_model_is_not_exported_onto_itself_nor_onto_another_run(workdir, tmp_path, capsys):
    """The settings that a training goes on with were overwritten."""
    run, link = shutil.copytree(workdir, tmp_path / "run"), tmp_path / "link"
    link.symlink_to(run)
    export(run, tmp_path / "model")
    for source, out in itertools.product((run, tmp_path / "model"), (run, link)):
        before = {p: p.read_bytes() for p in out.glob("*.json")}
        assert weights_main(["export", str(source), str(out)]) == 1
        assert f"error: {out} is the folder of a run, or of the" in capsys.readouterr().err
        assert all(p.read_bytes() == content for p, content in before.items())
    link.unlink()
    link.symlink_to(tmp_path / "model")
    with pytest.raises(ValueError, match="link is the folder of"):
        export(tmp_path / "model", link)


def test_nothing_of_an_earlier_export_is_left_among_the_new(workdir, tmp_path, monkeypatch):
    """Networks as ONNX go; what a user may have put there is not taken for the new model's."""
    out = tmp_path / "model"
    export(workdir, out)
    (out / "encoder.onnx").write_bytes(b"of other networks")
    export(workdir, out)
    assert not list(out.glob("*.onnx")) and "onnx" not in (out / "SHA256SUMS").read_text()

    face_model = load_face_model("builtin", identity=4, expression=3, albedo=2)
    for name in ("face_model.npz", "misfit.npz"):
        npz.write(out / name, face_model)
        with pytest.raises(ValueError, match=rf"{name} is of another model .*; move it away, or"):
            export(workdir, out)
        (out / name).unlink()
    with monkeypatch.context() as patch:

        def full(*_):
            raise OSError("no space left")

        patch.setattr(run_module.weights, "save", full)
        with pytest.raises(OSError, match="no space"):
            export(workdir, out)
    with pytest.raises(ValueError, match="is not a trained model"):
        load_trained(out)


def test_of_a_run_before_the_built_in_face_model_changed(tmp_path, monkeypatch):
    """Its config names `builtin`, which was another one."""
    former = tmp_path / "former.npz"
    face_model_files.write_bfm(former)
    run = runs.untrained(tmp_path / "run", face_model=str(former))
    export(run, tmp_path / "export")
    vertices = len(load_face_model(str(former)).shape_mean)
    monkeypatch.setattr(run_module, "FORMER", (face_model_digest(str(former)), vertices))
    known = {"path": "builtin", "sha256": face_model_digest(str(former))}
    for folder, about in itertools.product((run, tmp_path / "export"), ({}, known)):
        edit(folder, lambda config: config["face_model"].update(name="builtin"))
        (folder / "face_model.json").write_text(json.dumps(about))
        with pytest.raises(ValueError, match="the built-in face model has changed since") as caught:
            load_trained(folder)
        assert "give --face-model the one of then" in str(caught.value)
        path = str(former)
        assert load_trained(folder, path).face_model_file == path
    # Going on with another face model is refused, where that can be told, and spoils nothing.
    for about in ({}, known):
        (run / "face_model.json").write_text(json.dumps(about))
        with pytest.raises(ValueError) if about else contextlib.nullcontext():
            remember_face_model(run, "builtin")
        assert json.loads((run / "face_model.json").read_text()) == about


@pytest.mark.parametrize("former", run_module.SAME)
def test_a_run_of_before_landmarks_had_their_places_goes_on(workdir, tmp_path, former):
    run = shutil.copytree(workdir, tmp_path / "run")
    (run / "face_model.json").write_text(json.dumps({"path": "builtin", "sha256": former}))
    assert load_trained(run).face_model_file == "builtin"
    remember_face_model(run, "builtin")
    now = json.loads((run / "face_model.json").read_text())
    assert now == {"path": "builtin", "sha256": face_model_digest("builtin")}


def test_a_damaged_run_is_not_taken_for_one_of_another_face_model(workdir, tmp_path):
    shutil.copytree(workdir, tmp_path / "run")
    edit(tmp_path / "run", lambda config: config["segmenter"].update(width=3))
    with pytest.raises(ValueError, match="none of the checkpoints"):
        load_model(str(tmp_path / "run"))
