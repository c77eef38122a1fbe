"""A whole run at the smallest scale, on synthetic faces: it ends, resumes exactly, and says no."""

import dataclasses
import functools
import importlib
import itertools
import json
import logging
import os
import re
import signal
import threading
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import short_recognizer
from jax.sharding import Mesh

from focus_jax import weights
from focus_jax.data import source
from focus_jax.face_models import load_face_model
from focus_jax.networks import encoder, recognizer
from focus_jax.system import sharding
from focus_jax.system.preemption import Interrupted
from focus_jax.training import train as train_module
from focus_jax.training import updates
from focus_jax.training.schedule import Schedule, terms_at
from focus_jax.training.summary import write_summary
from focus_jax.training.train import train
from focus_jax.types import Batch
from focus_jax.weights import checkpoint

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def load_config(name: str, arguments: str = ""):
    return importlib.import_module(f"configs.{name}").get_config(arguments)


@pytest.fixture(scope="module", autouse=True)
def one_device():
    """Trains on the first of the virtual devices; updates_test.py compares one with four."""
    with pytest.MonkeyPatch.context() as patch:
        mesh = Mesh(np.array(jax.devices()[:1]), ("data",))
        patch.setattr(sharding, "make_mesh", lambda: mesh)
        yield


@pytest.fixture(scope="module", autouse=True)
def narrow_head():
    """What lies on the recognizer's features has few weights: quick to compile and to write."""
    with pytest.MonkeyPatch.context() as patch:
        narrow = functools.partial(encoder.FeatureEncoder, hidden=(16, 8), colour_width=4)
        patch.setattr(encoder, "FeatureEncoder", narrow)
        yield


@pytest.fixture(scope="module", autouse=True)
def short():
    """The frozen recognizer has few layers, too; what a face looks like to it counts nowhere."""
    with pytest.MonkeyPatch.context() as patch:
        short_recognizer.shorten(patch)
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    config = load_config("em", "smoke")
    config.data.cache = str(tmp_path_factory.mktemp("cache"))
    config.data.update(size=32, record_size=48)
    config.checkpoint_every = 100  # at the end, where stopped, and where the two runs part
    config.segmenter.width = 2
    config.face_model.modes = {"identity": 4, "expression": 3, "albedo": 2}
    # What resumes must find its place in a second stream, too.
    config.data.renderings, config.losses.coefficients = 6, 1.0
    config.data.update(train_count=8, validation_count=4, test_count=4)
    config.schedule.update(renderings=1, warmup=2, initialisation=2, pretraining=2)
    config.schedule.update(joint=4, period=4, segmenter_steps=2)
    return config


def final_state(workdir):
    manager = checkpoint.open_checkpoints(workdir)
    wanted = ocp.args.Composite(state=ocp.args.StandardRestore())
    found = manager.restore(manager.latest_step(), args=wanted)
    manager.close()
    return found["state"]


class Compiled(logging.Handler):
    """Counts what JAX says that it compiles."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def emit(self, record):
        if found := re.match(r"Compiling jit\((\w+)\)", record.getMessage()):
            self.counts[found[1]] += 1


def without_copies(update):
    """An update that fails when it needs anything that is not on its device already."""

    def guarded(*args, **options):
        with jax.transfer_guard("disallow"):
            return update(*args, **options)

    return guarded


@pytest.fixture(scope="module")
def watched(config, tmp_path_factory):
    """A run whose steps may not copy from the host, and what was compiled for it."""
    workdir, compiled = tmp_path_factory.mktemp("whole"), Compiled()
    logger = logging.getLogger("jax._src.interpreters.pxla")
    logger.addHandler(compiled)
    try:
        with pytest.MonkeyPatch.context() as patch, jax.log_compiles():
            for module, name in (
                (train_module, "update_on_renderings"),
                (updates, "update_autoencoder"),
                (updates, "update_segmenter"),
            ):
                patch.setattr(module, name, without_copies(getattr(module, name)))
            scores = train(config, workdir)
    finally:
        logger.removeHandler(compiled)
    return workdir, scores, compiled.counts


@pytest.fixture(scope="module")
def finished(watched):
    workdir, scores, _ = watched
    return workdir, scores


def test_each_kind_of_step_is_compiled_once(watched):
    """With and without masks and perceptual terms; for pre-training and for the joint stage."""
    _, _, counts = watched
    assert counts["update_on_renderings"] == 1
    assert counts["update_autoencoder"] == 2
    assert counts["update_segmenter"] == 2
    assert counts["predict"] == 1


def test_a_run_leaves_its_tables_pictures_and_metrics(config, finished):
    workdir, scores = finished
    assert set(scores) == {"renderings", "warm-up", "initialisation", "pre-training", "joint"}
    text = write_summary(config, workdir, scores, None)
    for row in ("everything is face", "threshold of the initialisation", "FOCUS", "mean face"):
        assert row in text
    assert (workdir / "summary.md").read_text() == text
    assert len(list((workdir / "pictures").glob("*.png"))) >= 4
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if line["kind"].startswith("train")]
    assert steps == list(range(1, Schedule(**config.schedule).total + 1))


def test_an_interrupted_run_ends_bit_equal(config, finished, tmp_path, monkeypatch):
    workdir, scores = finished
    stop_at = 9

    def interrupt(schedule_step, *args, **options):
        if schedule_step == stop_at - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return terms_at(schedule_step, *args, **options)

    alone = config.copy_and_resolve_references()
    alone.compare = False  # the run without masks is not begun again
    monkeypatch.setattr(train_module, "terms_at", interrupt)
    with pytest.raises(Interrupted, match=f"step {stop_at} "):
        train(alone, tmp_path)
    monkeypatch.undo()
    assert train(alone, tmp_path) == scores
    jax.tree.map(np.testing.assert_array_equal, final_state(tmp_path), final_state(workdir))

    def without_time(folder):
        return (folder / "metrics.jsonl").read_text()

    assert without_time(tmp_path) == without_time(workdir)


def test_the_run_without_masks_begins_where_the_two_part(config, finished, tmp_path):
    """And ends bit-equal to one that begins anew; without likeness, whose program takes long."""
    twin = finished[0] / train_module.WITHOUT_MASKS
    begun = checkpoint.open_checkpoints(twin)
    assert begun.all_steps() == [config.schedule.renderings + config.schedule.warmup]
    begun.close()
    config = config.copy_and_resolve_references()
    config.losses.perceptual = 0.0
    scores, anew = (train(config, folder, masks=False) for folder in (twin, tmp_path))
    assert scores["joint"] == anew["joint"]
    jax.tree.map(np.testing.assert_array_equal, final_state(twin), final_state(tmp_path))


def test_updates_that_are_not_finite_are_left_out_until_there_are_too_many(
    config, finished, tmp_path, monkeypatch
):
    fragile = config.copy_and_resolve_references()
    fragile.debug.skipped_updates, fragile.compare = 1, False
    split, count = sharding.split, itertools.count(1)

    def broken(batch, mesh):
        if next(count) in (2, 4, 5):
            batch = dataclasses.replace(batch, image=batch.image * np.float32("nan"))
        return split(batch, mesh)

    monkeypatch.setattr(sharding, "split", broken)
    message = "not finite at step 5 .* 2 updates in a row .*: synthetic_train_.*/checkpoints/3[.]"
    with pytest.raises(FloatingPointError, match=message):
        train(fragile, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    skipped = {x["step"]: x["skipped"] for x in lines if x["kind"].startswith("train")}
    assert skipped == {1: 0, 2: 1, 3: 1, 4: 2}
    assert "loss" not in lines[1]  # JSON has no NaN


def test_a_finished_run_starts_nothing(config, finished):
    workdir, scores = finished
    before = (workdir / "metrics.jsonl").read_text()
    assert train(config, workdir) == scores
    assert (workdir / "metrics.jsonl").read_text() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.name": "videos"}, "config.data.name must be one of"),
        ({"data.name": "photos", "data.root": "/nowhere"}, "is not a folder"),
        ({"face_model.name": "/nowhere.npz"}, "does not exist"),
        ({"encoder.kind": "vgg"}, "vgg"),
        ({"recognizer.kind": "arcface_r50"}, "config.recognizer.weights"),
        ({"recognizer.chip_size": 16}, "config.recognizer.chip_size=16"),
    ],
)
def test_settings_that_cannot_work_are_named(config, tmp_path, changes, message):
    wrong = config.copy_and_resolve_references()
    wrong.update_from_flattened_dict(changes)
    with pytest.raises(ValueError, match=message):
        train(wrong, tmp_path)


# --- weights of others ---------------------------------------------------------------------------


def random_variables(shapes):
    """Variables in the shapes of a network: convolutions of unit gain, plain norms."""
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        name = path[-1].key
        if name == "kernel":
            gain = np.float32(np.prod(leaf.shape[:-1]) ** -0.5)
            return gain * rng.standard_normal(leaf.shape, dtype=np.float32)
        return np.full(leaf.shape, {"var": 1.0, "scale": 1.0, "weight": 0.25}.get(name, 0.0), "f4")

    return jax.tree_util.tree_map_with_path(fill, shapes)


@pytest.fixture
def few_steps(config, tmp_path):
    """One joint step of each network, of an encoder from pixels; learning rates of zero."""
    few = config.copy_and_resolve_references()
    few.encoder.kind = "small"
    few.data.update(size=32, batch_size=2, train_count=4, validation_count=2, test_count=2)
    few.log_every = 1
    few.losses.perceptual_features = "deep"
    few.schedule.update(
        warmup=0, initialisation=0, pretraining=0, joint=2, period=2, segmenter_steps=1
    )
    for rate in few.rates.values():
        rate.rate = 0.0
    few.data.cache = str(tmp_path / "cache")
    return few


def test_the_first_step_comes_before_the_last_face(few_steps, tmp_path, monkeypatch):
    few_steps.schedule.renderings = 0
    few_steps.losses.update(perceptual=0.0, coefficients=0.0)
    stepped, synthesize = threading.Event(), source.synthesize

    def held_up(*arguments, split, **options):
        for number, face in enumerate(synthesize(*arguments, split=split, **options)):
            if split == "train" and number == few_steps.data.batch_size:
                assert stepped.wait(timeout=600)  # on a busy machine
            yield face

    def step(*arguments, **options):
        assert not list(Path(few_steps.data.cache).glob("*train*/complete"))
        stepped.set()
        raise EOFError

    monkeypatch.setattr(source, "synthesize", held_up)
    for name in ("update_segmenter", "update_autoencoder"):
        monkeypatch.setattr(updates, name, step)
    with pytest.raises(EOFError):
        train(few_steps, tmp_path / "run")


def fresh_state(config):
    """The state that a run of the config would begin with, in shapes only, and its method."""
    face_model = load_face_model(config.face_model.name, **config.face_model.modes)
    method = train_module.make_method(config, face_model)
    zeros = np.zeros((1, config.data.size, config.data.size, 3), np.float32)
    batch = Batch(zeros, np.zeros((1, 68, 2), np.float32), np.zeros(1, np.int32))
    state = jax.eval_shape(lambda: train_module.new_state(method, face_model, batch, 0))
    return state, method


def written_networks(config, folder):
    """Random networks of a config in files that its `init` names."""
    state, _ = fresh_state(config)
    made = {name: random_variables(getattr(state, name)) for name in ("encoder", "segmenter")}
    for name, variables in made.items():
        config.init[name] = str(folder / f"{name}.safetensors")
        weights.save(config.init[name], variables)
    return made


def test_imported_weights_become_the_state(few_steps, tmp_path):
    made = written_networks(few_steps, tmp_path)
    state, _ = fresh_state(few_steps)
    started = train_module.start_from(state, few_steps.init)
    for name, variables in made.items():
        jax.tree.map(np.testing.assert_array_equal, getattr(started, name), variables)
    few_steps.init.segmenter = ""
    assert train_module.start_from(state, few_steps.init).segmenter is state.segmenter


def test_weights_of_another_network_are_refused(few_steps, tmp_path):
    written_networks(few_steps, tmp_path)
    state, _ = fresh_state(few_steps)
    few_steps.init.encoder = few_steps.init.segmenter
    message = r"not for the encoder of this config \(config\.init\.encoder\)"
    with pytest.raises(ValueError, match=message) as caught:
        train_module.start_from(state, few_steps.init)
    ours, theirs = (weights.flatten(x).keys() for x in (state.encoder, state.segmenter))
    for name in ours ^ theirs:
        assert name in str(caught.value)
    few_steps.init.encoder = str(tmp_path / "none.safetensors")
    with pytest.raises(FileNotFoundError, match="no weights at"):
        train_module.start_from(state, few_steps.init)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["arcface_r50", "arcface_r100"])
def test_a_run_from_imported_weights_that_looks_through_arcface(few_steps, tmp_path, kind):
    image = np.zeros((1, 112, 112, 3), np.float32)
    seen = jax.eval_shape(recognizer.ARCFACE[kind].init, jax.random.key(0), image)
    weights.save(tmp_path / "arcface.safetensors", random_variables(seen))
    few_steps.recognizer.update(
        kind=kind, chip_size=-1, weights=str(tmp_path / "arcface.safetensors")
    )
    made = written_networks(few_steps, tmp_path)
    scores = train(few_steps, tmp_path / "run")
    state = final_state(tmp_path / "run")
    for name, variables in made.items():
        jax.tree.map(np.testing.assert_array_equal, state[name]["params"], variables["params"])
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line) for line in lines]
    for term in ("perceptual", "distance", "preserve"):
        values = [step[term] for step in steps if term in step]
        assert len(values) == 1 and 0 < values[0] < 2, term
    # A run that goes on has its own networks, and does not ask for the files again.
    for name in made:
        (tmp_path / f"{name}.safetensors").unlink()
    assert train(few_steps, tmp_path / "run") == scores


def test_configs_know_their_arguments():
    assert load_config("em", "photos,smoke").name == "em-photos-smoke"
    for wrong in ("video", "renderings"):
        with pytest.raises(ValueError, match=wrong):
            load_config("em", wrong)
    assert not load_config("em", "photos").data.renderings
    assert load_config("em", "photos,renderings").data.renderings == 3000
    paper, release = load_config("celeba_bfm2017", "paper"), load_config("celeba_bfm2017")
    assert paper.losses.detach_mask and not release.losses.detach_mask
    small = load_config("celeba_bfm2017", "paper,smoke")
    assert small.name == "celeba-bfm2017-paper-smoke" and small.losses == paper.losses
    assert Schedule(**small.schedule).total < 12
    for wrong in ("large", "paper,release"):
        with pytest.raises(ValueError, match="knows the arguments release or paper, and smoke"):
            load_config("celeba_bfm2017", wrong)
