import cv2
import numpy as np
import pytest

from experiments.outlined_report import main, outlined_faces, report, worst
from experiments.shipped_report import Seen
from focus_jax.evaluation.outlines import KINDS, Outline, Outlined, outline_scores

NAMES = ("left.png", "right.png")


def outlined(polygon=((40, 60), (120, 60), (120, 110), (40, 110))):
    photos = {n: (Outline("hand", np.array(polygon, float), ()),) for n in NAMES}
    return Outlined(photos, {"choose": NAMES[:1], "test": NAMES[1:]}, frozenset())


@pytest.fixture
def folder(tmp_path):
    """A photo in each csv, white where the outline is, black elsewhere."""
    (tmp_path / "Dataset").mkdir()
    points = np.random.default_rng(0).uniform(30, 130, (68, 2))
    points[[36, 39, 42, 45, 30, 48, 54]] = [
        *((50, 60), (70, 60), (90, 60), (110, 60)),
        *((80, 85), (62, 105), (98, 105)),
    ]
    for name, csv in zip(NAMES, ("train_landmarks.csv", "val_landmarks.csv"), strict=True):
        photo = np.zeros((160, 170, 3), np.uint8)
        photo[60:111, 40:121] = 255
        cv2.imwrite(str(tmp_path / "Dataset" / name), photo)
        numbers = ",".join(f"{v:.2f}" for v in points.ravel())
        (tmp_path / csv).write_text(f"{name},{numbers}\n")
    return tmp_path


def test_faces_come_with_the_labels_of_their_photos(folder):
    faces, truths = outlined_faces(folder, outlined(), NAMES, 64)
    assert [face.crop.shape for face in faces] == [(64, 64, 3)] * 2
    for truth in truths:
        assert truth.shape == (160, 170)
        np.testing.assert_array_equal(truth[60:111, 40:121], KINDS.index("hand") + 1)
        assert (truth > 0).sum() == 51 * 81


def test_photos_that_are_missing_are_named(folder):
    (folder / "val_landmarks.csv").unlink()
    with pytest.raises(ValueError, match=r"1 of 2 outlined photos, such as right\.png"):
        outlined_faces(folder, outlined(), NAMES, 64)
    (folder / "train_landmarks.csv").unlink()
    with pytest.raises(ValueError, match="holds neither"):
        outlined_faces(folder, outlined(), NAMES, 64)


def test_outlines_that_leave_the_photo_are_named(folder):
    with pytest.raises(ValueError, match=r"left\.png: a hand's outline"):
        outlined_faces(folder, outlined(((0, 0), (170, 0), (9, 9))), NAMES, 64)


def test_the_command_says_what_is_wrong(folder, capsys):
    arguments = ["shipped", str(folder), "--out", str(folder / "out"), "--outlines", "nowhere.json"]
    assert main(arguments) == 1
    assert "error: nowhere.json does not exist" in capsys.readouterr().err


def test_the_table_has_a_row_for_each_kind_and_the_worst_photo_comes_first(tmp_path):
    found = np.zeros((2, 16, 16), np.int32)
    found[:, :4] = KINDS.index("hat") + 1
    ones = np.ones((2, 16, 16, 1), np.float32)
    mask = (found == 0)[..., None].astype(np.float32)
    mask[1] = 1 - mask[1]
    scores = outline_scores(found, mask, ones)
    text = report(scores, 2, 0)
    assert "| hat | 2 | 0.500 |" in text and "| all | 2 | 0.500 |" in text
    image = np.zeros((2, 16, 16, 3), np.float32)
    seen = Seen(image, ones, image, ones, mask, ones, ones, ones)
    lines = worst(scores["all"], NAMES, seen, found, tmp_path).splitlines()
    assert lines[2].startswith("| right.png | 0.000") and lines[3].startswith("| left.png | 1.000")
    assert cv2.imread(str(tmp_path / "worst.png")) is not None
