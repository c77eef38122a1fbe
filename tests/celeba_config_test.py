"""The paper's configuration takes its first steps: its networks, BFM 2017, photos; made small."""

import cv2
import numpy as np
import pytest
from face_model_files import write_bfm
from train_test import load_config, one_device

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


@pytest.mark.parametrize("preset", ["", pytest.param("paper", marks=pytest.mark.slow)])
def test_first_steps_on_bfm_and_photos(preset, photos, tmp_path):
    write_bfm(tmp_path / "model2017-1_bfm_nomouth.h5")
    config = load_config("celeba_bfm2017", preset)
    config.face_model.name = str(tmp_path / "model2017-1_bfm_nomouth.h5")
    config.data.root, config.data.cache = str(photos), str(tmp_path / "cache")
    config.data.size = 32
    config.data.batch_size = 2
    config.recognizer.chip_size = 64
    config.log_every = 1
    config.schedule.update(initialisation=1, pretraining=1, joint=2, period=2, segmenter_steps=1)
    scores = train(config, tmp_path / "run")
    assert np.isfinite([v for s in scores["joint"].values() for v in s.values()]).all()
    lines = (tmp_path / "run" / "metrics.jsonl").read_text()
    for term in ("robust", "pretraining", "neighbour", "perceptual"):
        assert f'"{term}"' in lines
