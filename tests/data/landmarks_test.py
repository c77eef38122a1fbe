import json
from pathlib import Path

import numpy as np
import pytest
import reference

from focus_jax.data.landmarks import LandmarkRow, check_face, check_inside, read_landmarks

NUMBERS = np.arange(136, dtype=np.float32)
POINTS = NUMBERS.reshape(68, 2)


def row(name: str, values=NUMBERS) -> str:
    return ",".join([name, *(f"{v:g}" for v in values)])


def write(folder: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path = folder / "train_landmarks.csv"
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def test_rows_come_in_order_with_their_numbers(tmp_path):
    path = write(tmp_path, row("a.jpg"), "", row("sub/b.jpg", -NUMBERS))
    first, second = read_landmarks(path)
    assert (first.filename, first.row) == ("a.jpg", 1)
    assert (second.filename, second.row) == ("sub/b.jpg", 3)
    assert first.landmarks.dtype == np.float32
    np.testing.assert_array_equal(first.landmarks, POINTS)
    np.testing.assert_array_equal(second.landmarks, -POINTS)


def test_a_spreadsheets_byte_order_mark_is_no_part_of_the_name(tmp_path):
    path = write(tmp_path, row("ä.jpg"), encoding="utf-8-sig")
    assert read_landmarks(path)[0].filename == "ä.jpg"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([row("a.jpg"), row("b.jpg", range(134))], r"row 2 \(b.jpg\): 67 points instead of 68"),
        ([row("a.jpg", range(135))], r"row 1 \(a.jpg\): 67.5 points"),
        (["filename" + ",x,y" * 68], "row 1 is a header; write filename,x0"),
        ([row("a.jpg", [np.nan] * 136)], r"row 1 \(a.jpg\): a coordinate is not finite"),
        ([row("a.jpg"), row("b.jpg"), row("a.jpg")], r"row 3: a.jpg has landmarks in row 1"),
        ([row("../a.jpg")], r"row 1: '../a.jpg' must name a file inside the photos' folder"),
        ([row("b/../../a.jpg")], "must name a file inside"),
        ([row("/etc/a.jpg")], "must name a file inside"),
        ([row("C:\\a.jpg")], "must name a file inside"),
        ([row("..\\a.jpg")], "must name a file inside"),
        ([row("")], "must name a file inside"),
        (["", " "], "has no rows"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, lines, message):
    path = write(tmp_path, *lines)
    with pytest.raises(ValueError, match=message) as error:
        read_landmarks(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_csv_in_another_encoding_is_told(tmp_path):
    """Of a spreadsheet's "Unicode text" the first row was called a header."""
    (tmp_path / "a.csv").write_bytes((row("a.jpg") + "\n").encode("utf-16"))
    with pytest.raises(ValueError, match=r"a\.csv is in UTF-16; save it as CSV in UTF-8"):
        read_landmarks(tmp_path / "a.csv")


def test_points_that_are_no_face_are_told_of():
    """Shares of the photo; x and y, or left and right exchanged; turned by whatever angle."""
    points = json.loads((Path(__file__).parents[1] / "astronaut_landmarks.json").read_text())
    points = np.array(points, np.float32).reshape(68, 2)
    for angle in np.linspace(0, 6, 7):
        cos, sin = np.cos(angle), np.sin(angle)
        turned = points @ np.array([[cos, -sin], [sin, cos]], np.float32)
        check_face(turned, "file")
        for wrong in (turned[:, ::-1], turned * (-1, 1)):
            with pytest.raises(ValueError, match=r"file: the points show a face as a mirror does"):
                check_face(wrong, "file")
    for wrong in (points / 512, np.full((68, 2), 7.0)):
        with pytest.raises(ValueError, match=r"file: all points lie within 4 pixels"):
            check_face(wrong, "file")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none.csv does not exist; write one row per photo"):
        read_landmarks(tmp_path / "none.csv")


def test_points_may_lie_a_little_outside_the_photo():
    inside = np.full((68, 2), 50, np.float32)
    inside[0], inside[5] = (-20, 50), (50, 120)
    check_inside(LandmarkRow("a.jpg", inside, 7), Path("x.csv"), 100, 100)
    for place in ((-30, 50), (50, 130), (250, 50)):
        outside = inside.copy()
        outside[9] = place
        with pytest.raises(ValueError, match=r"x.csv, row 7 \(a.jpg\): point 9 at .* 100 x 100"):
            check_inside(LandmarkRow("a.jpg", outside, 7), Path("x.csv"), 100, 100)


def test_the_real_photos_landmarks():
    path = reference.PHOTOS / "val_landmarks.csv"
    if not path.exists():
        pytest.skip("the photos are not on this machine")
    assert len(read_landmarks(path)) == 262
