"""A whole run at the smallest scale, on synthetic faces: it ends, resumes exactly, and says no."""

import importlib.util
import json
import os
import signal
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import Mesh

from focus_jax import checkpoint, sharding
from focus_jax import train as train_module
from focus_jax.schedule import Schedule
from focus_jax.summary import write_summary
from focus_jax.train import Interrupted, train

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def load_config(name: str, arguments: str = ""):
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(arguments)


@pytest.fixture(scope="module", autouse=True)
def one_device():
    """Trains on the first of the virtual devices; tests/updates_test.py compares one with four."""
    with pytest.MonkeyPatch.context() as patch:
        mesh = Mesh(np.array(jax.devices()[:1]), ("data",))
        patch.setattr(sharding, "make_mesh", lambda: mesh)
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    config = load_config("em", "smoke")
    config.data.cache = str(tmp_path_factory.mktemp("cache"))
    return config


def final_state(workdir):
    manager = checkpoint.open_checkpoints(workdir)
    wanted = ocp.args.Composite(state=ocp.args.StandardRestore())
    found = manager.restore(manager.latest_step(), args=wanted)
    manager.close()
    return found["state"]


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, train(config, workdir)


def test_a_run_leaves_its_tables_pictures_and_metrics(config, finished):
    workdir, scores = finished
    assert set(scores) == {"warm-up", "initialisation", "pre-training", "joint"}
    text = write_summary(config, workdir, scores, None)
    for row in ("everything is face", "threshold of the initialisation", "FOCUS", "mean face"):
        assert row in text
    assert (workdir / "summary.md").read_text() == text
    assert len(list((workdir / "pictures").glob("*.png"))) >= 4
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if line["kind"].startswith("train")]
    assert steps == list(range(1, Schedule(**config.schedule).total + 1))


@pytest.mark.parametrize("stop_at", [3, 13])
def test_an_interrupted_run_ends_bit_equal(config, finished, tmp_path, monkeypatch, stop_at):
    workdir, scores = finished

    def interrupt(numbers, step, phase):
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(train_module, "check_finite", interrupt)
    with pytest.raises(Interrupted, match=f"step {stop_at} "):
        train(config, tmp_path)
    monkeypatch.undo()
    assert train(config, tmp_path) == scores
    jax.tree.map(np.testing.assert_array_equal, final_state(tmp_path), final_state(workdir))

    def without_time(folder):
        return (folder / "metrics.jsonl").read_text()

    assert without_time(tmp_path) == without_time(workdir)


def test_a_finished_run_starts_nothing(config, finished):
    workdir, scores = finished
    before = (workdir / "metrics.jsonl").read_text()
    assert train(config, workdir) == scores
    assert (workdir / "metrics.jsonl").read_text() == before


def test_numbers_that_are_not_finite_stop_the_run():
    from focus_jax.schedule import Phase

    with pytest.raises(FloatingPointError, match="photometric not finite at step 7"):
        train_module.check_finite(
            {"loss": 1.0, "photometric": float("nan")}, 7, Phase("joint", "autoencoder", 0, 0)
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.name": "videos"}, "config.data.name must be one of"),
        ({"data.name": "photos", "data.root": "/nowhere"}, "is not a folder"),
        ({"face_model.name": "/nowhere.npz"}, "does not exist"),
        ({"encoder.kind": "vgg"}, "vgg"),
    ],
)
def test_settings_that_cannot_work_are_named(config, tmp_path, changes, message):
    wrong = config.copy_and_resolve_references()
    wrong.update_from_flattened_dict(changes)
    with pytest.raises(ValueError, match=message):
        train(wrong, tmp_path)


def test_configs_know_their_arguments():
    assert load_config("em", "photos,smoke").name == "em-photos-smoke"
    with pytest.raises(ValueError, match="video"):
        load_config("em", "video")
    paper, release = load_config("celeba_bfm2017", "paper"), load_config("celeba_bfm2017")
    assert paper.losses.detach_mask and not release.losses.detach_mask
    with pytest.raises(ValueError, match="argument"):
        load_config("celeba_bfm2017", "large")
