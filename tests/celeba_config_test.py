"""The paper's configuration takes its first steps: its networks, BFM 2017, photos; made small."""

import json
import os
import resource
import subprocess
import sys

import cv2
import jax
import numpy as np
import pytest
from face_model_files import head, write_bfm
from train_test import CONFIGS, fresh_state, load_config, one_device, random_variables

from focus_jax import recognizer, weights
from focus_jax.data.synthetic import synthesize
from focus_jax.face_models import load_face_model
from focus_jax.train import train

__all__ = ["one_device"]  # a fixture that every test here uses


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder in the authors' layout, of synthetic faces."""
    root = tmp_path_factory.mktemp("photos")
    (root / "Dataset").mkdir()
    records = list(synthesize(load_face_model("builtin"), 6, size=96, seed=0))
    for split, part in (("train", records[:4]), ("val", records[4:])):
        rows = []
        for record in part:
            name = f"{record['filename']}.png"
            cv2.imwrite(str(root / "Dataset" / name), record["image"][..., ::-1])
            rows.append(",".join([name, *(f"{v:.2f}" for v in record["landmarks"].ravel())]))
        (root / f"{split}_landmarks.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture
def config(photos, tmp_path):
    """The settings with a small BFM, those photos, and one step of each kind."""
    write_bfm(tmp_path / "model2017-1_bfm_nomouth.h5")
    config = load_config("celeba_bfm2017")
    config.face_model.name = str(tmp_path / "model2017-1_bfm_nomouth.h5")
    config.data.root, config.data.cache = str(photos), str(tmp_path / "cache")
    config.data.size = 32
    config.data.batch_size = 2
    config.log_every = 1
    config.schedule.update(initialisation=1, pretraining=1, joint=2, period=2, segmenter_steps=1)
    return config


def logged(workdir):
    """The training lines of a run's metrics, one a step."""
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"].startswith("train")]


def test_first_steps_from_imported_weights_through_arcface(config, tmp_path, monkeypatch):
    # A small ArcFace; the full size is a slow test of train_test.py.
    network = recognizer.IResNet((1, 1, 1, 1), width=4, embedding=8)
    monkeypatch.setitem(recognizer.ARCFACE, "arcface_r50", network)
    image = np.zeros((1, 112, 112, 3), np.float32)
    seen = jax.eval_shape(network.init, jax.random.key(0), image)
    weights.save(tmp_path / "arcface.safetensors", random_variables(seen))
    config.recognizer.kind = "arcface_r50"
    config.recognizer.weights = str(tmp_path / "arcface.safetensors")
    # An encoder that gives the same code for every photo, so that the prior of step 1 is known.
    state, _ = fresh_state(config)
    encoder = random_variables(state.encoder)
    fc = encoder["params"]["fc"]
    fc["kernel"][:] = 0
    fc["bias"][:15] = np.linspace(0.1, 0.3, 15)
    weights.save(tmp_path / "encoder.safetensors", encoder)
    config.init.encoder = str(tmp_path / "encoder.safetensors")

    scores = train(config, tmp_path / "run")
    assert np.isfinite([v for s in scores["joint"].values() for v in s.values()]).all()
    steps = logged(tmp_path / "run")
    assert len(steps) == 4
    code = fc["bias"][:15] * np.repeat([1, 1, 3], [6, 5, 4])
    np.testing.assert_allclose(steps[0]["prior"], np.sum(code**2), rtol=1e-5)
    assert {"robust", "landmark"} <= steps[0].keys() and "pretraining" in steps[1]
    assert {"neighbour", "distance", "preserve"} <= steps[2].keys() and "perceptual" in steps[3]


@pytest.mark.slow
def test_first_steps_of_the_papers_text(config, tmp_path):
    name, root, cache = config.face_model.name, config.data.root, config.data.cache
    paper = load_config("celeba_bfm2017", "paper")
    paper.face_model.name, paper.data.root, paper.data.cache = name, root, cache
    paper.data.update(size=32, batch_size=2)
    paper.log_every, paper.schedule = 1, config.schedule
    scores = train(paper, tmp_path / "run")
    assert np.isfinite([v for s in scores["joint"].values() for v in s.values()]).all()
    assert "perceptual" in logged(tmp_path / "run")[3]


@pytest.mark.slow
def test_first_steps_at_full_size(photos, tmp_path, record_property, capsys):
    """The command itself: 3 steps of the initialisation, then one of each kind that follows."""
    model = tmp_path / "model2017-1_bfm_nomouth.h5"
    mesh = head(subdivisions=2)
    assert len(mesh.vertices) >= 53_149  # as many as BFM 2017 without mouth has
    write_bfm(model, mesh, modes=(199, 100, 199))
    changes = {
        "face_model.name": model,
        "data.root": photos,
        "data.cache": tmp_path / "cache",
        "data.batch_size": 2,
        "log_every": 1,
        "schedule.initialisation": 3,
        "schedule.pretraining": 1,
        "schedule.joint": 2,
        "schedule.period": 2,
        "schedule.segmenter_steps": 1,
    }
    command = [sys.executable, "-m", "focus_jax.main", f"--workdir={tmp_path / 'run'}"]
    command += [f"--config={CONFIGS / 'celeba_bfm2017.py'}"]
    command += [f"--config.{name}={value}" for name, value in changes.items()]
    # One device, compiled as it is for users and not as it is for tests.
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    # The largest of this process's children so far: no other test starts one of this size.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    record_property("peak_memory_gib", round(peak, 2))
    with capsys.disabled():
        print(f"\ncelebA, BFM 2017, 224 pixels, batch 2: peak memory {peak:.2f} GiB")
    steps = logged(tmp_path / "run")
    assert [step["step"] for step in steps] == [1, 2, 3, 4, 5, 6]
    for step in steps:
        assert np.isfinite([v for v in step.values() if isinstance(v, int | float)]).all()
    assert steps[0]["loss"] != steps[2]["loss"]
    assert peak < 16
