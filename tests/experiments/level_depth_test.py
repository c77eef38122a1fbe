"""The mean face over photos, as deep as the face model's mean."""

import numpy as np
import pytest
import runs

from experiments import level_depth, refined_codes
from focus_jax import weights
from focus_jax.face_models import load_face_model
from focus_jax.photos.trained import load_model
from focus_jax.weights import hub
from focus_jax.weights.run import export


@pytest.fixture(scope="module")
def astronaut_data(tmp_path_factory):
    return runs.astronaut_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def biased(tmp_path_factory):
    """An encoder that says the same of every photo, and not the mean face."""
    folder = tmp_path_factory.mktemp("biased")
    run = runs.untrained(folder / "run", encoder="recognizer")
    export(run, folder / "model")
    encoder = weights.load(folder / "model" / "encoder.safetensors")
    bias = np.zeros_like(encoder["params"]["fc"]["bias"])
    bias[:4] = [1.0, -0.5, 0.5, 1.0]
    encoder["params"]["fc"]["bias"] = bias
    weights.save(folder / "model" / "encoder.safetensors", encoder)
    hub.write_sums(folder / "model")
    return folder / "model"


def test_depth_goes_to_the_mean_and_the_view_stays():
    face_model = load_face_model("builtin", identity=80, expression=1, albedo=1)
    basis = np.asarray(face_model.identity_basis)
    mean = np.random.default_rng(0).normal(0, 0.3, 80)
    change = level_depth.towards_mean_depth(mean, face_model)
    before, after, moved = basis @ mean, basis @ (mean + change), basis @ change
    assert np.abs(after[:, 2]).mean() < 0.5 * np.abs(before[:, 2]).mean()
    assert np.abs(moved[:, :2]).mean() < 0.5 * np.abs(moved[:, 2]).mean()


def test_the_encoder_says_it_and_nothing_else_changes(
    astronaut_data, biased, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(refined_codes, "BATCH", 2)
    out = tmp_path / "out"
    assert level_depth.main([str(biased), str(astronaut_data), str(out)]) == 0
    assert "| after |" in capsys.readouterr().out
    hub.check_sums(out)
    before, after = (weights.load(f / "encoder.safetensors")["params"]["fc"] for f in (biased, out))
    moved = np.abs(after["bias"] - before["bias"]) > 0
    assert moved[:4].any() and not moved[4:].any()
    model = load_model(str(out))
    found = level_depth.mean_identity(model, astronaut_data)
    depth = [
        np.abs(model.face_model.identity_basis @ m)[:, 2].mean() for m in (bias_of(before), found)
    ]
    assert depth[1] < depth[0]


def bias_of(last):
    return np.asarray(last["bias"][:4], np.float32)


def test_wrong_input_is_a_sentence(astronaut_data, biased, tmp_path, capsys):
    for given in (["none", astronaut_data], [biased, tmp_path / "no"], ["no such", astronaut_data]):
        assert level_depth.main([*map(str, given), str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and "config.data" not in said
    assert level_depth.main([str(biased), str(astronaut_data), str(tmp_path)]) == 2
    assert "exists" in capsys.readouterr().err
