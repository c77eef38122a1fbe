import jax.numpy as jnp
import numpy as np
import pytest
import runs
import scipy.stats

from focus_jax.face_models import load_face_model
from focus_jax.forward import Prediction
from focus_jax.training import misfit
from tests.training.train_test import load_config, one_device

__all__ = ["one_device"]  # a fixture


class Face:
    def __init__(self, neutral):
        self.neutral = neutral


class Faces:
    """A batch of which only the true shapes are looked at."""

    def __init__(self, neutral):
        self.neutral = neutral


@pytest.fixture
def biased(monkeypatch):
    """Batches of true shapes, and predictions that are off by one fixed field and noise."""
    rng = np.random.default_rng(0)
    true = rng.normal(0, 20, (12, 60, 3)).astype(np.float32)
    bias = rng.normal(0, 1, (60, 3)).astype(np.float32)
    noise = rng.normal(0, 0.3, true.shape).astype(np.float32)
    noise -= noise[:10].mean(axis=0)

    def predict(trained, batch):
        del trained
        start = int(np.flatnonzero((true == np.asarray(batch.neutral)[0]).all((1, 2)))[0])
        found = (true + bias + noise)[start : start + len(batch.neutral)]
        return Prediction(Face(jnp.asarray(found)), None, None)

    monkeypatch.setattr(misfit, "_predict", predict)
    return true, bias


def test_the_prior_is_the_mean_signed_deviation_of_those_that_count(biased):
    true, bias = biased
    # The last two of the second batch only fill it up.
    batches = [(Faces(true[:6]), 6), (Faces(true[6:]), 4)]
    prior, faces = misfit.build(batches, None)
    assert faces == 10
    np.testing.assert_allclose(prior, bias, atol=1e-4)
    np.testing.assert_allclose(misfit.correct(true + prior, prior), true, atol=1e-5)


def test_a_constant_misfit_is_removed_significantly(biased):
    true, bias = biased
    found = misfit.compare([(Faces(true), 12)], None, bias)
    assert found.faces == 12 and found.corrected < 0.6 * found.without and found.p < 1e-6


def test_the_p_value_is_that_of_a_paired_test():
    rng = np.random.default_rng(0)
    a = rng.normal(1, 1, 30)
    b = a - 0.1 + rng.normal(0, 0.1, 30)
    difference = a - b
    t = difference.mean() / (difference.std(ddof=1) / 30**0.5)
    assert misfit.paired(a, b).p == pytest.approx(2 * scipy.stats.t.sf(abs(t), 29))


@pytest.mark.usefixtures("unchecked")
def test_a_prior_of_another_face_model_is_refused(tmp_path):
    model = load_face_model("builtin")
    prior = np.zeros_like(model.shape_mean)
    misfit.save(tmp_path / "prior", prior, model, 3)  # where it was asked for, also without .npz
    (tmp_path / "prior").rename(tmp_path / "misfit.npz")
    fewer = load_face_model("builtin", identity=10)
    np.testing.assert_array_equal(misfit.load(tmp_path / "misfit.npz", fewer), prior)
    other = model.replace(shape_mean=model.shape_mean + 1)
    with pytest.raises(ValueError, match="another face model"):
        misfit.load(tmp_path / "misfit.npz", other)
    with pytest.raises(ValueError, match="does not exist"):
        misfit.load(tmp_path / "none.npz", model)
    with pytest.raises(ValueError, match="60 vertices, the shapes have 59"):
        misfit.correct(np.zeros((2, 59, 3)), np.zeros((60, 3)))


@pytest.mark.slow
def test_the_whole_job_leaves_prior_picture_and_test(tmp_path):
    config = load_config("misfit_prior", "smoke")
    assert config.data.occluded == 0
    config.data.cache = str(tmp_path / "cache")
    tests = misfit.run(config, tmp_path / "run", apply=str(tmp_path / "run"))
    assert tests["own"] == tests[str(tmp_path / "run")] and tests["own"].faces == 8
    model = load_face_model("builtin")
    assert np.abs(misfit.load(tmp_path / "run" / "misfit.npz", model)).max() > 0
    for suffix in (".png", ".svg"):
        assert (tmp_path / "run" / f"misfit{suffix}").stat().st_size > 5000
    assert "p" in (tmp_path / "run" / "misfit.json").read_text()


def test_the_prior_of_a_model_that_is_there_takes_no_training(tmp_path):
    config = load_config("misfit_prior", "smoke")
    config.data.cache = str(tmp_path / "cache")
    model = runs.untrained(tmp_path / "model")
    tests = misfit.run(config, tmp_path / "out", model=str(model))
    assert tests["own"].faces == config.data.test_count
    # An encoder that says the mean face of everybody is off by the faces' mean.
    prior = misfit.load(tmp_path / "out" / "misfit.npz", load_face_model("builtin"))
    assert np.abs(prior).max() > 0 and not (tmp_path / "out" / "checkpoints").exists()
