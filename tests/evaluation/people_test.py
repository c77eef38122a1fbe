from pathlib import Path

import numpy as np
import pytest

from focus_jax.evaluation import people

PEOPLE = Path(__file__).parents[3] / "shared" / "frl"


@pytest.fixture
def folder(tmp_path):
    """Two people from London, one from Canada; photos are empty files."""
    (tmp_path / "split.csv").write_text(
        "person,set,split\n002,london,test\n001,london,train\n008f,canada,train\n"
    )
    (tmp_path / "london_info.csv").write_text(
        "face_id,face_age,face_gender,face_eth\n001,24,female,east_asian\n002,NA,male,black\n"
    )
    (tmp_path / "canada_info.csv").write_text("face_id,face_age,face_gender\n008f,35,female\n")
    (tmp_path / "crops_in_photos.csv").write_text(
        "crop,photo,split\nfrl_1.jpg,smiling_front/001_08.jpg,train\nfrl_2.jpg,canada/008f.jpg,x\n"
    )
    for name in (
        *("neutral_front/001_03", "neutral_front/002_03", "smiling_front/001_08"),
        *("smiling_front/002_08", "canada/008f", "zoom/60cm", "zoom/15cm"),
    ):
        path = tmp_path / f"{name}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def test_people_are_as_they_described_themselves(folder):
    first, second, third = people.read_people(folder)
    assert (first.name, first.sex, first.age, first.ethnicity) == (
        *("001", "female", "18 to 24", "east asian"),
    )
    assert (second.age, second.split) == ("of unknown age", "test")
    assert (third.age, third.ethnicity, third.smiling) == ("35 and over", "white", None)
    assert first.smiling == folder / "smiling_front" / "001_08.jpg"
    assert third.neutral == folder / "canada" / "008f.jpg"


def test_a_split_has_only_its_people(folder):
    assert [p.name for p in people.read_people(folder, "test")] == ["002"]
    assert [p.name for p in people.read_people(folder, "train")] == ["001", "008f"]


def test_people_of_the_trainings_crops_are_known(folder):
    assert people.shown_in_training(folder) == {"001", "008f"}
    listed = folder / "train_landmarks.csv"
    listed.write_text("frl_2.jpg,1,2\nother.jpg,3,4\n")
    assert people.shown_in_training(folder, listed) == {"008f"}
    (folder / "crops_in_photos.csv").unlink()
    assert people.shown_in_training(folder) == set()


def test_distances_come_in_order(folder):
    assert [distance for distance, _ in people.read_zoom(folder)] == [15, 60]


def test_wrong_folders_are_one_sentence(folder, tmp_path):
    with pytest.raises(ValueError, match=r"london_info\.csv does not exist; give a folder"):
        people.read_people(tmp_path / "nowhere")
    (folder / "neutral_front" / "001_03.jpg").unlink()
    with pytest.raises(ValueError, match="holds 0 photos of 001"):
        people.read_people(folder)
    (folder / "split.csv").write_text("who\n1\n")
    with pytest.raises(ValueError, match=r"columns \['who'\], not person, set, split"):
        people.read_people(folder)
    with pytest.raises(ValueError, match="does not exist"):
        people.shown_in_training(folder, folder / "no.csv")


def test_points_are_189_finite_pairs(folder):
    photo = folder / "canada" / "008f.jpg"
    with pytest.raises(ValueError, match=r"008f\.csv: no points can be read"):
        people.read_points(photo)
    points = np.random.default_rng(0).uniform(0, 800, (189, 2))
    np.savetxt(photo.with_suffix(".csv"), points, delimiter=",")
    np.testing.assert_allclose(people.read_points(photo), points)
    np.savetxt(photo.with_suffix(".csv"), points[:83], delimiter=",")
    with pytest.raises(ValueError, match="189 finite points"):
        people.read_points(photo)


def test_the_set_of_142_people():
    if not PEOPLE.is_dir():
        pytest.skip("../shared/frl is not here")
    everybody = people.read_people(PEOPLE)
    assert len(everybody) == 142 and sum(p.smiling is not None for p in everybody) == 102
    assert len(people.shown_in_training(PEOPLE)) == 101
    assert people.read_points(everybody[0].neutral).shape == (189, 2)
    assert [distance for distance, _ in people.read_zoom(PEOPLE)] == [15, 30, 45, 60]
