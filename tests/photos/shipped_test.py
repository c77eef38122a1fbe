"""The model that comes with the package, on scikit-image's astronaut (NASA, public domain)."""

import json
import logging
from pathlib import Path

import jax
import numpy as np
import pytest
import skimage.data

from experiments import shipped_photos
from focus_jax.data.align import align_face
from focus_jax.data.occluders import paste_occluder
from focus_jax.photos import inference
from focus_jax.photos.trained import load_model, make_batch
from focus_jax.rendering import camera
from focus_jax.weights.run import SHIPPED
from tests.training.train_test import Compiled

# What dlib's detector finds in the photo, so that the test needs no detector.
LANDMARKS = Path(__file__).parents[1] / "astronaut_landmarks.json"
# Not hands, of whose rendered kind it takes most on this photo for face.
KINDS = ("none", "mask", "scarf", "sunglasses", "hat")


@pytest.fixture(scope="module")
def compiled():
    """Programs that were compiled since, by their names."""
    jax.clear_caches()  # of other tests of this process
    seen, logger = Compiled(), logging.getLogger("jax._src.interpreters.pxla")
    logger.addHandler(seen)
    with jax.log_compiles():
        yield seen.counts
    logger.removeHandler(seen)


@pytest.fixture(scope="module")
def model(compiled):
    found = load_model("shipped")
    assert not compiled, "loading weights compiles nothing"
    return found


@pytest.fixture(scope="module")
def crops(model):
    photo = skimage.data.astronaut()
    aligned = align_face(photo, np.array(json.loads(LANDMARKS.read_text())), model.record_size)
    made = []
    for number, kind in enumerate(KINDS):
        rng = np.random.default_rng(number)
        image, hidden = paste_occluder(aligned.image, aligned.landmarks, rng, kind)
        made.append((image, hidden))
    images, hidden = zip(*made, strict=True)
    return np.stack(images), np.stack(hidden), np.stack([aligned.landmarks] * len(KINDS))


@pytest.fixture(scope="module")
def found(model, crops):
    images, _, landmarks = crops
    return inference.infer(model, make_batch(model, images, landmarks))


def test_a_face_takes_few_programs(found, compiled):
    """Single operations that JAX compiles one by one took seconds at every start."""
    assert 3 <= sum(compiled.values()) <= 12, compiled


def test_the_face_sits_on_the_face(model, crops, found):
    scale = inference.FINE / model.record_size
    truth = (crops[2] + 0.5) * scale - 0.5
    eyes = np.linalg.norm(truth[:, 36] - truth[:, 45], axis=-1)
    errors = np.linalg.norm(np.asarray(found.landmarks) - truth, axis=-1).mean(-1) / eyes
    assert errors[0] < 0.09, errors
    assert errors.max() < 0.15, errors


def test_the_head_is_nearly_upright_and_turned_little(found):
    angles = np.rad2deg(np.asarray(found.code.pose)[0, :3])
    assert np.abs(angles).max() < 30, angles
    assert np.asarray(camera.rotation_matrix(found.code.pose[:, :3])).shape == (len(KINDS), 3, 3)


def test_a_bare_face_is_kept_and_an_occluder_is_not(crops, found):
    mask, coverage = (np.asarray(x)[..., 0] for x in (found.mask, found.coverage))
    kept = mask[0][coverage[0] > 0].mean()
    assert kept > 0.65, kept  # her fringe is not face
    hidden = np.stack([_fine(h) for h in crops[1]])
    for number in range(1, len(KINDS)):
        over = (hidden[number] > 0) & (coverage[number] > 0)
        beside = (hidden[number] == 0) & (coverage[number] > 0)
        inside, outside = mask[number][over].mean(), mask[number][beside].mean()
        assert outside - inside > 0.1, (KINDS[number], inside, outside)


def _fine(hidden: np.ndarray) -> np.ndarray:
    numbers = (np.arange(inference.FINE) * len(hidden)) // inference.FINE
    return hidden[numbers][:, numbers] >= 128


def test_the_asset_is_small_and_has_its_card():
    names = sorted(path.name for path in SHIPPED.iterdir())
    assert "MODEL_CARD.md" in names
    assert sum((SHIPPED / name).stat().st_size for name in names) < 40e6
    config = json.loads((SHIPPED / "config.json").read_text())
    assert config["data"]["root"] == config["data"]["cache"] == ""


def test_photos_are_chosen_by_source_and_split(tmp_path, capsys):
    photos, people, portraits = (tmp_path / n for n in ("photos", "people", "portraits"))
    files = {
        photos / "Dataset": ["frl_1.jpg", "frl_2.jpg", "wider_1.jpg", "fmd_1.jpg"],
        people / "neutral_front": ["001_03.jpg", "002_03.jpg"],
        people / "smiling_front": ["001_08.jpg", "002_08.jpg"],
        people / "canada": ["003.jpg", "004.jpg"],
        portraits: ["male_08.jpg", "male_09.jpg"],
    }
    for folder, names in files.items():
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).touch()
    rows = [f"{name}{',0' * 136}" for name in files[photos / "Dataset"]]
    (photos / "train_landmarks.csv").write_text("\n".join(rows))
    (people / "crops_in_photos.csv").write_text(
        "crop,photo,split\nfrl_1.jpg,canada/003.jpg,train\nfrl_2.jpg,canada/004.jpg,test\n"
    )
    (people / "split.csv").write_text(
        "set,person,split\nlondon,001,train\nlondon,002,test\ncanada,003,train\ncanada,004,test\n"
    )
    given = [str(folder) for folder in (photos, people, portraits)]
    chosen = tmp_path / "chosen"
    assert shipped_photos.main([*given, str(chosen)]) == 0
    assert "frl: 1 photos, CC BY 4.0" in capsys.readouterr().out
    expected = ["canada_003.jpg", "fmd_1.jpg", "frl_1.jpg", "london_001_03.jpg"]
    expected += ["london_001_08.jpg", "portrait_male_08.jpg"]
    assert sorted(path.name for path in chosen.iterdir()) == expected
    (photos / "train_landmarks.csv").write_text(rows[2])
    assert shipped_photos.main([*given, str(tmp_path / "none")]) == 1
    assert "photos holds no photo to train on" in capsys.readouterr().err


def test_the_weights_are_those_of_the_config():
    """Which `load_trained` takes for granted."""
    from focus_jax.weights import run

    trained = run.load_trained("shipped")
    about = trained.networks, trained.face_model, trained.config, trained.recognizer
    shapes = run._shapes(*about)
    for name in ("encoder", "segmenter"):
        assert jax.tree.map(lambda x: (x.shape, x.dtype), shapes[name]) == jax.tree.map(
            lambda x: (x.shape, x.dtype), trained.variables[name]
        )
    assert trained.face_model.albedo_mean.shape == shapes["albedo_mean"].shape
