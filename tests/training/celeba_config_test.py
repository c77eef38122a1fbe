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

from focus_jax import forward, weights
from focus_jax.data import source
from focus_jax.data.align import align_face, transform_points
from focus_jax.data.augment import MARGIN
from focus_jax.data.detect import Detection
from focus_jax.data.faces import align_faces
from focus_jax.data.synthetic import synthesize
from focus_jax.face_models import load_face_model
from focus_jax.networks import recognizer
from focus_jax.networks.encoder import Encoder
from focus_jax.rendering.render import PLAIN, Drawing
from focus_jax.training import settings
from focus_jax.training.schedule import Schedule, phase_at, terms_at
from focus_jax.training.train import make_method, train
from focus_jax.weights import run
from tests.data import photos_test
from tests.training.train_test import (
    CONFIGS,
    fresh_state,
    load_config,
    one_device,
    random_variables,
)

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
    config = load_config("celeba_bfm2017", "smoke")
    config.face_model.name = str(tmp_path / "model2017-1_bfm_nomouth.h5")
    config.data.root, config.data.cache = str(photos), str(tmp_path / "cache")
    config.data.size = 32
    config.losses.initial_perceptual = 0.0  # compiling it once, in the joint stage, is enough
    config.schedule.update(initialisation=1, pretraining=1, joint=2, period=2, segmenter_steps=1)
    return config


def logged(workdir):
    """The training lines of a run's metrics, one a step."""
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"].startswith("train")]


@pytest.mark.slow
def test_first_steps_from_imported_weights_through_arcface(config, tmp_path, monkeypatch):
    # Networks of the same kinds, with fewer blocks and channels; the full ones take minutes to
    # compile, which the slow tests here and in train_test.py do.
    monkeypatch.setattr(
        run,
        "make_encoder",
        lambda kind, outputs, **_: Encoder(outputs, (1, 1, 1, 1), width=8),
    )
    config.segmenter.width = 8
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
    paper = load_config("celeba_bfm2017", "paper,smoke")
    paper.face_model.name, paper.data.root, paper.data.cache = name, root, cache
    paper.data.size, paper.schedule = 32, config.schedule
    scores = train(paper, tmp_path / "run")
    assert np.isfinite([v for s in scores["joint"].values() for v in s.values()]).all()
    assert "perceptual" in logged(tmp_path / "run")[3]


@pytest.mark.slow
def test_first_steps_at_full_size(photos, tmp_path, record_property, capsys):
    """The command itself: 3 steps of the initialisation, then one of each kind that follows."""
    model = tmp_path / "model2017-1_bfm_nomouth.h5"
    mesh = head(312, 0.5)
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
    assert steps[0]["loss"] != steps[2]["loss"] and 0 < steps[0]["perceptual"] < 2
    assert peak < 16


# --- paper and release; rows as in presets_test.py --------------------------------------------


def test_rates_and_periods_of_the_two_readings():
    release, paper = load_config("celeba_bfm2017"), load_config("celeba_bfm2017", "paper")
    start = 330_000  # of the joint stage

    def rate(config, step):
        schedule = Schedule(**config.schedule)
        return terms_at(step, schedule, config.losses, config.rates).learning_rate

    # Row 30: the release goes on from a rate that has decayed, the paper begins anew.
    assert phase_at(start, Schedule(**release.schedule)).stage == "joint"
    np.testing.assert_allclose(rate(release, start + 6000), 0.1 * 0.99**60 * 0.8 * 0.99, rtol=1e-4)
    np.testing.assert_allclose(rate(paper, start + 6000), 0.1 * 0.99, rtol=1e-4)
    np.testing.assert_allclose(rate(release, start), 0.06 * 0.1 * 0.99**60 * 0.8, rtol=1e-3)
    np.testing.assert_allclose(rate(paper, start), 0.006, rtol=1e-4)
    # Row 31: the segmenter's decay of every 5000 steps.
    later = start + 30_000
    np.testing.assert_allclose(rate(release, later) / rate(release, start), 0.95**6, rtol=1e-4)
    np.testing.assert_allclose(rate(paper, later) / rate(paper, start), 0.99**6, rtol=1e-4)
    # Row 33: 5001 and 24,999, or 5000 and 25,000.
    for config, steps in ((release, 5001), (paper, 5000)):
        schedule = Schedule(**config.schedule)
        networks = [phase_at(start + i, schedule).network for i in (0, steps - 1, steps, 29_999)]
        assert networks == ["segmenter"] * 2 + ["autoencoder"] * 2


def test_the_settings_that_both_readings_share():
    for arguments in ("", "paper"):
        config = load_config("celeba_bfm2017", arguments)
        # Rows 27 to 29: iterations counted, not epochs. Row 35: whole batches of twelve.
        schedule = Schedule(**config.schedule)
        assert (schedule.initialisation, schedule.pretraining) == (300_000, 30_000)
        assert (schedule.joint, schedule.period, schedule.warmup) == (200_000, 30_000, 0)
        assert config.data.batch_size == 12 and config.data.size == 224

        def rate(step, schedule=schedule, config=config):
            return terms_at(step, schedule, config.losses, config.rates).learning_rate

        steps = (0, 4_999, 5_000, 300_000, 329_999)
        expected = [0.1, 0.1, 0.099, 0.03, 0.03]  # row 27: the pre-training's does not decay
        np.testing.assert_allclose([rate(step) for step in steps], expected, rtol=1e-5)
        # Row 15: 80 + 64 + 80 coefficients, 6 of pose, 27 of light, and their scales.
        sizes = forward.Widths(**config.face_model.modes)
        assert sizes.outputs == 257
        assert forward.Decoding(**config.decoding) == forward.Decoding(3.0, 0.3, 0.005, 1.0)
        # Row 22; row 16 has no field: the encoder's last layer begins at zero, and its input is
        # the image in [0, 1] (networks/encoder_test.py, parity in weights/torch_test.py).
        assert config.encoder.kind == "resnet50"
        assert dict(config.segmenter) == {"width": 64, "stem": "authors", "dropout": 0.5}
        # Row 32, without clipping or decay; rows 18, 20 and 49.
        for network in ("autoencoder", "segmenter"):
            assert dict(config.optimizer[network]) == {
                "name": "adadelta", "clip": 0.0, "weight_decay": 0.0
            }  # fmt: skip
        drawn = {k: v for k, v in config.rasterizer.items() if k != "backend"}
        assert Drawing(**drawn) == PLAIN and config.recognizer.align_corners  # row 19, too
        assert config.losses.perceptual_features == "deep"
        assert config.data.augment and not config.data.paste  # row 42


def test_drawing_is_named_in_the_config():
    face_model = load_face_model("builtin")
    config = load_config("celeba_bfm2017")
    assert make_method(config, face_model).networks.drawing == PLAIN
    other = Drawing(renormalize_normals=True, perspective=True, samples=2)
    config.rasterizer.update(other._asdict())
    assert make_method(config, face_model).networks.drawing == other
    config.rasterizer.samples = 0
    with pytest.raises(ValueError, match=r"rasterizer\.samples=0 must be .* at least 1"):
        settings.check(config)


def test_a_config_from_before_a_field_is_one_without_it():
    face_model = load_face_model("builtin")
    config = load_config("celeba_bfm2017")
    new = make_method(config, face_model)
    with config.unlocked():
        for name in ("composited", "pretraining_bgr", "initial_perceptual"):
            del config.losses[name]
        del config.rasterizer.perspective, config.rasterizer.samples
    assert make_method(config, face_model).forms == new.forms


def test_photos_can_be_cut_as_the_release_does(tmp_path):
    """Row 40: landmarks that count y from below the last row, and a window of whole pixels."""
    root = photos_test.make_folder(tmp_path / "photos")
    config = load_config("celeba_bfm2017")
    config.data.update(root=str(root), cache=str(tmp_path / "cache"), size=64)
    ours = source.load_splits(config, None)
    config.data.fix_y_offset = False
    theirs = source.load_splits(config, None)
    assert source.load_splits(config, None).train[0]["filename"] == "train0.png"
    moved = {}
    for name, split in (("ours", ours), ("theirs", theirs)):
        record = split.train[0]
        led = transform_points(record["transform"], photos_test.face())
        moved[name] = (record["landmarks"] - led).mean(0)
        row = align_face(photos_test.photo(), photos_test.face(), 64, fix_y_offset=name == "ours")
        margin = round(MARGIN * 64)
        np.testing.assert_allclose(record["landmarks"] - margin, row.landmarks, atol=1e-3)
    assert np.abs(moved["ours"]).max() < 1e-3 < 0.2 < np.abs(moved["theirs"]).max() < 2
    # What a finished model is shown is cut as its training photos were.
    detection = Detection(photos_test.face(), 1.0, "csv")
    (shown,) = align_faces(photos_test.photo(), [detection], 64, fix_y_offset=False)
    np.testing.assert_allclose(shown.landmarks, row.landmarks, atol=1e-4)
