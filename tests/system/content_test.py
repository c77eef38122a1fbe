import pytest

from focus_jax.system import content


@pytest.mark.parametrize(
    ("start", "kind", "name"),
    [
        (b"\xff\xd8\xff\xdb", "picture", "JPEG"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "picture", "WebP"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "picture", "HEIC"),
        (b"\0\0\0\x1cftypavif\0\0\0\0mif1avifmiaf", "picture", "AVIF"),
        (b"P6 10 10 255 ", "picture", "PNM"),
        (b"BM\x36\x10\0\0\0\0\0\0", "picture", "BMP"),
        (b"\0\0\0\x14ftyp3gp4\0\0\0\0", "video", "MP4"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0", "video", "MP4"),
        (b"\0\0\x01\xba\x44", "video", "MPEG"),
        (b"0&\xb2u\x8ef\xcf\x11\xa6\xd9", "video", "Windows Media"),
        ((b"G" + bytes(187)) * 3, "video", "an MPEG transport stream"),
        (b"G" + bytes(511), "other", "a file of no kind that is known here"),
        (b"export const x = 1;\n", "other", "text"),  # TypeScript is called .ts, too
        ("Größe\n".encode() * 100, "other", "text"),
        (b'{"a": 1}', "other", "JSON"),
        (b"\x89HDF\r\n\x1a\n", "other", "HDF5"),
        (b"PK\x03\x04", "other", "a zip archive"),
        (b"", "other", "an empty file"),
        (b"\x00\xff\x13\x37", "other", "a file of no kind that is known here"),
    ],
)
def test_first_bytes_tell(start, kind, name):
    assert content.of(start[: content.START]) == (kind, name)


def test_a_file_is_read_no_further(tmp_path):
    (tmp_path / "a").write_bytes(b"\x1a\x45\xdf\xa3" + bytes(10**6))
    assert content.of_file(tmp_path / "a").kind == "video"
