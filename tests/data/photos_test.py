import logging
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import reference
from PIL import Image

from focus_jax.data import records as records_module
from focus_jax.data.augment import crop
from focus_jax.data.decode import UnreadablePhoto, read_photo
from focus_jax.data.photos import fingerprint, photo_records
from focus_jax.data.records import open_records, write_records


def photo(height: int = 90, width: int = 120) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3.0)


def face() -> np.ndarray:
    points = np.random.default_rng(1).uniform(30, 60, (68, 2))
    points[[36, 39, 42, 45]] = [(40, 30), (48, 30), (62, 30), (70, 30)]
    points[[30, 48, 54]] = [(55, 45), (46, 58), (64, 58)]
    return points


def make_folder(root: Path, count: int = 3, *, inside: str = "Dataset") -> Path:
    (root / inside).mkdir(parents=True, exist_ok=True)
    line = ",".join(f"{v:.3f}" for v in face().ravel())
    for split in ("train", "val"):
        names = [f"{split}{i}.png" for i in range(count)]
        for name in names:
            cv2.imwrite(str(root / inside / name), photo()[..., ::-1])
        (root / f"{split}_landmarks.csv").write_text("".join(f"{n},{line}\n" for n in names))
    return root


@pytest.mark.parametrize("inside", ["Dataset", "."])
def test_crops_of_a_folder(tmp_path, inside):
    found = list(photo_records(make_folder(tmp_path, inside=inside), "validation", 64))
    assert [r["filename"] for r in found] == ["val0.png", "val1.png", "val2.png"]
    record = found[0]
    assert record["image"].shape == (90, 90, 3) and record["image"].dtype == np.uint8
    led = face() @ record["transform"][:, :2].T + record["transform"][:, 2]
    np.testing.assert_allclose(led, record["landmarks"], atol=0.01)
    assert crop(record, 64)["image"].shape == (64, 64, 3)


def encode(extension: str, image: np.ndarray, *options: int) -> bytes:
    return cv2.imencode(extension, image, options)[1].tobytes()


def test_every_kind_of_picture_becomes_rgb_of_eight_bits(tmp_path):
    bgr = photo()[..., ::-1]
    grey = bgr[..., 1]
    kinds = {
        "rgb.png": (encode(".png", bgr), photo()),
        "grey.png": (encode(".png", grey), np.repeat(grey[..., None], 3, -1)),
        "rgba.png": (encode(".png", np.dstack([bgr, grey])), photo()),
        "deep.png": (encode(".png", bgr.astype(np.uint16) * 257), photo()),
    }
    for name, (encoded, expected) in kinds.items():
        (tmp_path / name).write_bytes(encoded)
        found = read_photo(tmp_path / name)
        assert found.dtype == np.uint8, name
        np.testing.assert_allclose(found.astype(int), expected, atol=1, err_msg=name)


def test_a_photo_is_turned_upright(tmp_path):
    jpeg = encode(".jpg", photo()[..., ::-1], cv2.IMWRITE_JPEG_QUALITY, 100)
    # One EXIF entry, in little-endian TIFF: orientation (0x0112) 6, a quarter turn clockwise.
    entry = b"\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00"
    tiff = b"II*\x00\x08\x00\x00\x00\x01\x00" + entry + b"\x00\x00\x00\x00"
    body = b"Exif\x00\x00" + tiff
    segment = b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body
    (tmp_path / "turned.jpg").write_bytes(jpeg[:2] + segment + jpeg[2:])
    found = read_photo(tmp_path / "turned.jpg")
    assert found.shape == (120, 90, 3)
    assert np.abs(found.astype(int) - np.rot90(photo(), -1)).mean() < 3


def test_a_film_behind_a_jpeg_is_no_truncation(tmp_path):
    jpeg = encode(".jpg", np.random.default_rng(0).integers(0, 256, (400, 400, 3)).astype(np.uint8))
    assert len(jpeg) > 1 << 17
    (tmp_path / "phone.jpg").write_bytes(jpeg + bytes(300_000))
    assert read_photo(tmp_path / "phone.jpg").shape == (400, 400, 3)


def test_a_photo_that_opencv_refuses_is_unreadable(tmp_path):
    """The header of a picture of 60,000 pixels a side; OpenCV stops at 2^30 in all."""
    png = encode(".png", photo())
    header = png[12:16] + struct.pack(">II", 60000, 60000) + png[24:29]
    forged = png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]
    (tmp_path / "a.png").write_bytes(forged)
    with pytest.raises(UnreadablePhoto, match=r"a\.png \(too large for OpenCV: pixels "):
        read_photo(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"", "no picture: an empty file"),
        (b"nonsense", "no picture: text"),
        (encode(".jpg", photo())[:-200], "truncated"),
        (encode(".png", photo())[:-2000], "not a whole image"),
    ],
)
def test_unreadable_photos_say_why(tmp_path, content, reason):
    if content is not None:
        (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UnreadablePhoto, match=f"a.jpg .*{reason}"):
        read_photo(tmp_path / "a.jpg")


def test_a_few_unreadable_photos_are_left_out_and_listed_once(tmp_path, caplog):
    make_folder(tmp_path, 40)
    (tmp_path / "Dataset" / "train3.png").unlink()
    (tmp_path / "Dataset" / "train35.png").write_bytes(b"nonsense")
    with caplog.at_level(logging.WARNING):
        found = list(photo_records(tmp_path, "train", 32))
    assert len(found) == 38
    assert len(caplog.records) == 1
    message = caplog.records[0].getMessage()
    assert "2 of 40 photos" in message and "train3.png" in message and "train35.png" in message


def test_many_unreadable_photos_stop_the_run_with_one_sentence(tmp_path):
    make_folder(tmp_path, 4)
    (tmp_path / "Dataset" / "train1.png").unlink()
    with pytest.raises(ValueError, match=r"train_landmarks.csv cannot be read: train1.png") as e:
        write_records(tmp_path / "records", photo_records(tmp_path, "train", 32))
    assert "\n" not in str(e.value)
    with pytest.raises(ValueError, match="holds no records"):
        open_records(tmp_path / "records")


def test_folders_and_rows_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere is not a folder; give that of"):
        next(photo_records(tmp_path / "nowhere", "train", 32))
    with pytest.raises(ValueError, match=r"train_landmarks.csv does not exist"):
        next(photo_records(tmp_path, "train", 32))
    root = make_folder(tmp_path, 1)
    far = ",".join(["train0.png", *["500"] * 136])
    (root / "train_landmarks.csv").write_text(far)
    with pytest.raises(ValueError, match=r"row 1 \(train0.png\): point 0 .* 120 x 90 photo"):
        next(photo_records(root, "train", 32))
    (root / "train_landmarks.csv").write_text(",".join(["train0.png", *["50"] * 136]))
    with pytest.raises(ValueError, match=r"row 1 \(train0.png\): .* within 4 pixels"):
        next(photo_records(root, "train", 32))


def test_the_fingerprint_tells_of_changed_photos_and_landmarks(tmp_path):
    root = make_folder(tmp_path)
    first = fingerprint(root)
    assert fingerprint(root) == first
    (root / "Dataset" / "train0.png").write_bytes(b"another")
    second = fingerprint(root)
    (root / "val_landmarks.csv").write_text("")
    assert len({first, second, fingerprint(root)}) == 3


def test_the_fingerprint_tells_of_photos_behind_linked_folders(tmp_path):
    root = make_folder(tmp_path / "root")
    far = tmp_path / "elsewhere" / "x.png"
    far.parent.mkdir()
    far.write_bytes(b"photo")
    (root / "Dataset" / "linked").symlink_to(far.parent)
    (root / "val_landmarks.csv").write_text(",".join(["linked/x.png", *["50"] * 136]))
    first = fingerprint(root)
    far.write_bytes(b"another photo")
    assert fingerprint(root) != first


def test_a_folder_with_names_that_are_no_utf8(tmp_path):
    name = b"Andr\xe9.png"
    (tmp_path / os.fsdecode(name)).write_bytes(encode(".png", photo()))
    line = ",".join(f"{v:.3f}" for v in face().ravel()).encode()
    (tmp_path / "train_landmarks.csv").write_bytes(name + b"," + line + b"\n")
    assert len(fingerprint(tmp_path)) == 64
    write_records(tmp_path / "records", photo_records(tmp_path, "train", 32))
    assert [os.fsencode(r["filename"]) for r in open_records(tmp_path / "records")] == [name]


def test_landmarks_of_the_unturned_photo_are_refused(tmp_path):
    """A portrait photo, stored on its side, with landmarks read off the stored picture."""
    stored, file = Image.fromarray(photo(90, 120)), tmp_path / "train0.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(file, exif=exif)
    upright = face() + np.array([-20, 20])
    x, y = upright.T
    sideways = np.stack([y, 89 - x], -1)  # where the same points are in the stored picture
    csv = tmp_path / "train_landmarks.csv"
    csv.write_text(",".join(["train0.jpg", *(f"{v:.2f}" for v in upright.ravel())]))
    assert len(list(photo_records(tmp_path, "train", 32))) == 1
    csv.write_text(",".join(["train0.jpg", *(f"{v:.2f}" for v in sideways.ravel())]))
    with pytest.raises(
        ValueError, match=r"train0\.jpg before its EXIF orientation \(6\) .* 90 x 120"
    ):
        list(photo_records(tmp_path, "train", 32))


# --- records ------------------------------------------------------------------------------------


def examples(count: int = 5) -> list[dict]:
    rng = np.random.default_rng(0)
    return [
        {
            "image": rng.integers(0, 256, (20, 24, 3)).astype(np.uint8),
            "mask": rng.integers(0, 256, (20, 24)).astype(np.uint8),
            "landmarks": rng.random((68, 2)).astype(np.float32),
            "neutral": rng.random((7, 3)).astype(np.float32),
            "pose": rng.random(6).astype(np.float32),
            "occluder": np.int32(number),
            "features": rng.random(16).astype(np.float16),
            "filename": f"é{number}.jpg",
        }
        for number in range(count)
    ]


@pytest.mark.parametrize("in_memory", [records_module.IN_MEMORY, 0])
def test_records_come_back_as_they_were(tmp_path, in_memory, capsys):
    expected = examples(30)
    write_records(tmp_path, iter(expected))
    found = open_records(tmp_path, in_memory=in_memory)
    assert len(found) == 30
    for before, after in zip(expected, found, strict=True):
        assert before.keys() == after.keys()
        for name, value in before.items():
            np.testing.assert_array_equal(after[name], value, err_msg=name)
            if isinstance(value, np.ndarray):
                assert after[name].dtype == value.dtype, name
    assert [r["filename"] for r in found[3:9:2]] == ["é3.jpg", "é5.jpg", "é7.jpg"]
    assert found[-1]["filename"] == "é29.jpg"
    with pytest.raises(IndexError):
        found[30]
    assert capsys.readouterr().out == ""


def test_records_fill_file_after_file_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(records_module, "PER_FILE", 4)
    monkeypatch.setattr(records_module, "AT_ONCE", 3)
    write_records(tmp_path, examples(11))
    assert len(list(tmp_path.glob("**/*array_record*"))) == 3
    found = [record["filename"] for record in open_records(tmp_path)]
    assert found == [record["filename"] for record in examples(11)]


def test_records_replace_those_before(tmp_path):
    write_records(tmp_path, examples(5))
    write_records(tmp_path, examples(2))
    assert len(open_records(tmp_path)) == 2


def test_records_that_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="no records to write"):
        write_records(tmp_path, [])
    uneven = examples(3)
    del uneven[2]["mask"]
    with pytest.raises(ValueError, match="record 2 has the fields"):
        write_records(tmp_path, uneven)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="holds no records; write them with write_records"):
        open_records(tmp_path)


def test_real_photos_align(tmp_path):
    if not (reference.PHOTOS / "val_landmarks.csv").exists():
        pytest.skip("the photos are not on this machine")
    stream = photo_records(reference.PHOTOS, "validation", 64)
    found = [next(stream) for _ in range(40)]
    stream.close()
    nose = np.stack([crop(r, 64)["landmarks"][30] for r in found])
    # Noses of aligned faces are near the middle of the crop.
    assert np.abs(nose - 32).max() < 12
