"""The measure of a face model on photos."""

from pathlib import Path

import numpy as np
import pytest

from experiments import face_model_fit

FRL = Path(__file__).resolve().parents[3] / "shared" / "frl"


def fitted(count=3):
    rng = np.random.default_rng(0)
    own = np.eye(count, 8)
    landmarks = rng.uniform(20, 90, (count, 68, 2))
    landmarks[:, 36], landmarks[:, 45] = (30, 50), (70, 50)
    picture = np.zeros((count, 8, 8, 3))
    error = np.arange(1.0, count + 1)
    return face_model_fit.Fitted(
        picture, picture, error, 2 * error, landmarks + np.array([3, 4]), landmarks, own, own
    )


def test_row_judges_the_chosen_photos_among_all():
    faces = fitted()
    name, count, inside, everywhere, error, nearest, own, others = face_model_fit.row(
        "some", faces, np.array([True, False, True]), None
    )
    assert (name, count, inside, everywhere) == ("some", 2, 2.0, 4.0)
    assert error == pytest.approx(100 * 5 / 40)  # five pixels, of an eye distance of forty
    assert (nearest, own, others) == (100.0, 1.0, 0.0)
    swapped = faces._replace(drawn=faces.own[[1, 0, 2]])
    nearest = face_model_fit.row("all", swapped, np.ones(3, bool), None)[5]
    assert nearest == pytest.approx(100 / 3)


def test_row_takes_points_placed_by_hand_where_there_are_some():
    faces = fitted()
    placed = faces.landmarks[:, face_model_fit.IBUG]
    error = face_model_fit.row("all", faces, np.ones(3, bool), placed)[4]
    assert error == pytest.approx(100 * 5 / 40)


def test_sheet_shows_photos_beside_renderings():
    assert face_model_fit.sheet(fitted()).ndim == 3


def test_photos_that_are_missing_are_an_error(tmp_path, monkeypatch):
    names = tmp_path / "names.txt"
    names.write_text("a.jpg\nb.jpg\n")
    monkeypatch.setattr(face_model_fit, "validation_faces", lambda *_: [("a.jpg", None)])
    with pytest.raises(ValueError, match=r"1 of the photos of .*names\.txt"):
        face_model_fit.clean_faces(tmp_path, names, 112)


@pytest.mark.skipif(not FRL.is_dir(), reason="the photos of ../shared/frl are absent")
def test_people_are_the_test_people_and_points_meet_their_landmarks(monkeypatch):
    split = [line for line in face_model_fit._lines(FRL / "split.csv") if line["split"] == "test"]
    few = [line for line in split if line["set"] == "london"][:2]
    lines = face_model_fit._lines
    monkeypatch.setattr(
        face_model_fit, "_lines", lambda path: few if path.name == "split.csv" else lines(path)
    )
    faces, groups, placed = face_model_fit.people(FRL, 150)
    assert len(faces) == len(groups) == 2
    for face, points in zip(faces, placed, strict=True):
        away = np.linalg.norm(face.landmarks[face_model_fit.IBUG] - points, axis=1)
        assert away.mean() < 3  # pixels of 150
