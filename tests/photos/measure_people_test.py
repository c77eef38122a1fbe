"""Two people, both the astronaut, whose hand placed the points where the detector finds them."""

import cv2
import numpy as np
import pytest
import skimage.data
import untrained

from focus_jax.data.detect import landmark_source
from focus_jax.evaluation import landmarks
from focus_jax.face_models import load_face_model
from focus_jax.photos import measure_people
from focus_jax.photos import trained as trained_module


@pytest.fixture(scope="module")
def model():
    with pytest.MonkeyPatch.context() as patch:
        untrained.make_small(patch)
        yield trained_module.load_model("none")


@pytest.fixture(scope="module")
def source():
    return landmark_source("mediapipe")


@pytest.fixture(scope="module")
def folder(source, tmp_path_factory):
    root = tmp_path_factory.mktemp("people")
    lines = {
        "split": "person,set,split\n1,london,train\n2,london,train\n3,london,train\n",
        "london_info": "face_id,face_age,face_gender,face_eth\n"
        "1,20,female,white\n2,40,male,black\n3,30,male,white\n",
        "canada_info": "face_id,face_age,face_gender\n",
        "crops_in_photos": "crop,photo\na.jpg,neutral_front/3_03.jpg\n",
    }
    for name, text in lines.items():
        (root / f"{name}.csv").write_text(text)
    photo = skimage.data.astronaut()[:300, 80:400]
    for place, number in (("neutral_front", "03"), ("smiling_front", "08")):
        (root / place).mkdir()
        for person, gain in (("1", 1.0), ("2", 0.8), ("3", 1.0)):
            path = root / place / f"{person}_{number}.png"
            cv2.imwrite(str(path), (gain * photo[..., ::-1]).astype(np.uint8))
            path.rename(path.with_suffix(".jpg"))  # whatever its name ends on, losslessly
    for person in "12":
        path = root / "neutral_front" / f"{person}_03.jpg"
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        hand = np.random.default_rng(0).uniform(0, 300, (landmarks.HAND, 2))
        found = source(image, path)[0].landmarks
        for pairs in landmarks.POINTS.values():
            hand[list(pairs.values())] = found[list(pairs)]
        np.savetxt(path.with_suffix(".csv"), hand, delimiter=",", fmt="%.6f")
    return root


def test_a_perfect_detector_scores_zero(model, source, folder):
    text = measure_people.measure(model, source, folder, refine=2, batch_size=2)
    assert "2 of the 3 people (train); crops of the training show the other 1." in text
    (detected,) = (line for line in text.splitlines() if line.startswith("| detected |"))
    cells = [cell.strip() for cell in detected.strip("|").split("|")]
    assert cells[1:7] == ["2", "0.000", "0.000", "0.000", "0.000", "0.000"]
    assert cells[-1] == "1.000"  # width of the mouth
    assert "| fitted, 0 steps | 2 |" in text and "| fitted, 2 steps | 2 |" in text
    assert "| black | 1 |" in text and "| 18 to 24 | 1 |" in text


def test_people_who_are_all_known_are_one_sentence(model, source, folder, tmp_path):
    listed = folder / "crops_in_photos.csv"
    before = listed.read_text()
    try:
        listed.write_text("crop,photo\na,x/1_03.jpg\nb,x/2_03.jpg\nc,x/3_03.jpg\n")
        with pytest.raises(ValueError, match="show all 3 people"):
            measure_people.measure(model, source, folder)
    finally:
        listed.write_text(before)


def test_depth_to_width_of_a_flat_and_of_a_deeper_face():
    builtin = load_face_model("builtin")
    model = trained_module.load_model("none")
    mean = np.asarray(builtin.shape_mean)
    ratio = measure_people.depth_to_width(model, mean)
    assert 0.5 < ratio < 1
    flat = measure_people.depth_to_width(model, mean * [1, 1, 0])
    assert flat == pytest.approx(0, abs=1e-6)
    twice = mean * [1, 1, 2]
    assert measure_people.depth_to_width(model, twice) > 1.5 * ratio


def test_distances_in_order_are_counted():
    assert measure_people._order([3, 1, 2]) == "3, 1, 2 (1 of 3 pairs in order)"
