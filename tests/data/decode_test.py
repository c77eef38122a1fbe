import importlib.util
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from focus_jax.data.decode import decode, eight_bits, orientation, turn, turn_points

UPRIGHT = np.zeros((64, 96, 3), np.uint8)
UPRIGHT[:24, :40], UPRIGHT[:24, 40:] = [220, 40, 40], [40, 200, 40]
UPRIGHT[24:, :40], UPRIGHT[24:, 40:] = [40, 40, 220], [230, 220, 60]
# What a camera stores when it is held as each value of the tag says, by the EXIF standard.
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: np.rot90(UPRIGHT[:, ::-1], 1),
    6: np.rot90(UPRIGHT, 1),
    7: np.rot90(UPRIGHT[:, ::-1], -1),
    8: np.rot90(UPRIGHT, -1),
}


def tag(how: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = how
    return exif


def encoded(kind: str, how: int) -> bytes:
    """A picture as stored, with its tag."""
    picture, file = Image.fromarray(np.ascontiguousarray(STORED[how])), io.BytesIO()
    bare = {"JPEG2000", "late PNG"}
    options = {} if kind in bare else {"exif": tag(how)}
    if kind in ("JPEG", "WEBP", "AVIF"):
        options["quality"] = 95
    picture.save(file, kind.removeprefix("late "), **options)
    content, raw = file.getvalue(), tag(how).tobytes().removeprefix(b"Exif\0\0")
    if kind == "JPEG2000":
        box = b"uuid" + b"JpgTiffExif->JP2" + raw
        place = content.index(b"jp2c") - 4
        content = content[:place] + struct.pack(">I", len(box) + 4) + box + content[place:]
    if kind == "late PNG":  # the tag behind the picture
        chunk = b"eXIf" + raw
        sum_ = struct.pack(">I", zlib.crc32(chunk))
        content = content[:-12] + struct.pack(">I", len(raw)) + chunk + sum_ + content[-12:]
    return content


@pytest.mark.parametrize("how", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "late PNG", "WEBP", "TIFF", "AVIF", "JPEG2000"])
def test_every_format_is_turned_by_its_tag(kind, how):
    content = encoded(kind, how)
    assert orientation(content) == how
    found = decode(content)
    assert found.shape == UPRIGHT.shape
    assert np.abs(found.astype(int) - UPRIGHT).mean() < 4


@pytest.mark.parametrize("how", range(1, 9))
def test_points_turn_with_the_picture(how):
    stored = np.argwhere(STORED[how][..., 0] == 220)[:, ::-1]  # x, y of the red corner
    moved = turn_points(stored, how, *UPRIGHT.shape[:2])
    assert moved.min(0).tolist() == [0, 0] and moved.max(0).tolist() == [39, 23]
    np.testing.assert_array_equal(turn(STORED[how], how), UPRIGHT)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("suffix", [".png", ".tiff", ".jp2", ".ppm"])
def test_values_of_fewer_bits_in_files_of_sixteen(bits, suffix):
    level = 2**bits - 1
    values = np.rint(UPRIGHT / 255 * level).astype(np.uint16)
    values[0, 0] = level
    options = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000] if suffix == ".jp2" else []
    found = decode(cv2.imencode(suffix, values[..., ::-1], options)[1].tobytes())
    assert np.abs(found.astype(int) - UPRIGHT)[1:].max() <= 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("level", [1.0, 255.0, 65535.0])
def test_floating_point_tiff(dtype, level):
    values = (UPRIGHT / 255 * level).astype(dtype)
    for picture, expected in (
        (values[..., ::-1], UPRIGHT),
        (values[..., 1], UPRIGHT[..., [1] * 3]),
    ):
        found = decode(cv2.imencode(".tiff", np.ascontiguousarray(picture))[1].tobytes())
        assert np.abs(found.astype(int) - expected).max() <= 1
    with pytest.raises(ValueError, match="not finite"):
        eight_bits(np.full((2, 2, 3), np.nan, dtype))


def test_a_targa_picture():
    file = io.BytesIO()
    Image.fromarray(UPRIGHT).save(file, "TGA")
    np.testing.assert_array_equal(decode(file.getvalue()), UPRIGHT)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "no picture: an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "`git lfs pull`"),
        (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "no picture: a web page"),
        (b"%PDF-1.7 ...", "no picture: a PDF"),
        (b"\0\0\0\x20ftypisom\0\0\0\0isomavc1" + bytes(40), "no picture: MP4"),
        (bytes(range(200, 256)), "no picture: a file of no kind"),
        (b"\x89PNG\r\n\x1a\n" + bytes(30), "PNG, but not a whole image"),
        (b"\xff\xd8\xff\xe0" + bytes(300), "truncated"),
    ],
)
def test_a_file_that_is_no_picture_is_called_what_it_is(content, sentence):
    with pytest.raises(ValueError, match=sentence):
        decode(content)


def test_heic_is_read_or_says_what_it_needs():
    start = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    if importlib.util.find_spec("pillow_heif") is None:
        with pytest.raises(ValueError, match="pip install pillow-heif"):
            decode(start + bytes(40))
        return
    import pillow_heif

    with pytest.raises(ValueError, match="HEIC, but not a whole image"):
        decode(start + bytes(40))
    file = io.BytesIO()
    image = pillow_heif.from_pillow(Image.fromarray(UPRIGHT))
    image.save(file, quality=95)
    assert np.abs(decode(file.getvalue()).astype(int) - UPRIGHT).mean() < 6
