"""Codes of photos by descent."""

import shutil

import numpy as np
import pytest
import runs
import short_recognizer

from experiments import refined_codes
from focus_jax.data.codes import read_codes
from focus_jax.face_models import load_face_model

MODES = {"identity": 4, "expression": 3, "albedo": 2}


@pytest.fixture(scope="module", autouse=True)
def short():
    with pytest.MonkeyPatch.context() as patch:
        short_recognizer.shorten(patch)
        yield


@pytest.fixture(scope="module")
def astronaut_data(tmp_path_factory):
    return runs.astronaut_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return runs.untrained(tmp_path_factory.mktemp("run"), encoder="recognizer")


def test_photos_get_codes_and_what_is_done_is_not_done_again(
    astronaut_data, model, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(refined_codes, "BATCH", 2)
    given = [
        str(model),
        str(astronaut_data),
        str(tmp_path / "codes.npz"),
        "--steps",
        "2",
        "--kept",
        "0",
    ]
    assert refined_codes.main([*given, "--missed", "30"]) == 0
    assert "1 of 1 photos have codes" in capsys.readouterr().out
    codes = read_codes(tmp_path / "codes.npz", load_face_model("builtin", **MODES))
    assert np.abs(codes["a.jpg"]).max() > 0.01
    monkeypatch.setattr(refined_codes, "_fit", None)  # called again, it would fail
    assert refined_codes.main([*given, "--missed", "0"]) == 0
    assert "0 of 1 photos have codes" in capsys.readouterr().out


def test_wrong_input_is_a_sentence(astronaut_data, model, tmp_path, capsys):
    broken = shutil.copytree(astronaut_data, tmp_path / "broken")
    (broken / "train_landmarks.csv").unlink()
    for given in (("none such", astronaut_data), (model, broken), (model, tmp_path / "no")):
        assert refined_codes.main([*map(str, given), str(tmp_path / "codes.npz")]) == 1
        said = capsys.readouterr().err
        assert said.startswith("error: ") and "config.data" not in said
