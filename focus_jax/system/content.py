"""What a file is, by its first bytes: names end on anything, and downloads go wrong in few ways."""

import codecs
import re
from pathlib import Path
from typing import Literal, NamedTuple

START = 512  # bytes that tell
UNKNOWN = "a file of no kind that is known here"


class Content(NamedTuple):
    """What a file holds: for whom it is, and its name in a sentence."""

    kind: Literal["picture", "video", "other"]
    name: str


_PICTURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
    (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"8BPS", "Photoshop"),
)
_VIDEOS = (
    (b"\x1aE\xdf\xa3", "Matroska or WebM"),
    (b"0&\xb2u\x8ef\xcf\x11", "Windows Media"),
    (b"\0\0\x01\xba", "MPEG"),
    (b"\0\0\x01\xb3", "MPEG"),
    (b"FLV\x01", "Flash video"),
)
# What follows "ftyp" in files of the ISO's base media format.
_BRANDS: dict[bytes, Content] = {
    **dict.fromkeys((b"avif", b"avis"), Content("picture", "AVIF")),
    **dict.fromkeys(
        (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"),
        Content("picture", "HEIC"),
    ),
    b"crx ": Content("picture", "a raw photo of a Canon"),
    **dict.fromkeys((b"M4A ", b"M4B "), Content("other", "sound")),
}
_OTHERS = (
    (b"version https://git-lfs", "a pointer of git-LFS, not the file itself: run `git lfs pull`"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "packed with gzip: unpack it"),
    (b"BZh", "packed with bzip2: unpack it"),
    (b"\xfd7zXZ\0", "packed with xz: unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (b"Rar!", "a RAR archive: unpack it"),
    (b"\x89HDF\r\n", "HDF5"),
    (b"MATLAB", "a MATLAB file"),
    (b"\x93NUMPY", "an .npy file"),
    (b"\x80\x02", "a pickle"),
    (b"\x80\x03", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program of Windows"),
    (b"ply\n", "a PLY mesh"),
    (b"ply\r\n", "a PLY mesh"),
    (b"glTF", "a glTF mesh"),
)


def of_file(path: Path) -> Content:
    """What the file holds; OSError where it cannot be read."""
    with path.open("rb") as file:
        return of(file.read(START))


def of(start: bytes) -> Content:
    """What a file holds that begins with these bytes."""
    if not start:
        return Content("other", "an empty file")
    for magics, kind in ((_PICTURES, "picture"), (_VIDEOS, "video"), (_OTHERS, "other")):
        for magic, name in magics:
            if start.startswith(magic):
                return Content(kind, name)  # type: ignore[arg-type]
    return _media(start) or _text(start) or Content("other", UNKNOWN)


def _media(start: bytes) -> Content | None:
    """Formats that are told by more than their first bytes."""
    if start[4:8] == b"ftyp":
        listed = [start[8:12], *(start[n : n + 4] for n in range(16, int.from_bytes(start[:4]), 4))]
        return next((_BRANDS[b] for b in listed if b in _BRANDS), Content("video", "MP4"))
    if start[4:8] in (b"moov", b"mdat", b"wide"):
        return Content("video", "QuickTime")
    if start[:4] == b"RIFF":
        inside = {b"WEBP": Content("picture", "WebP"), b"AVI ": Content("video", "AVI")}
        return inside.get(start[8:12])
    for first, step in ((0, 188), (4, 192)):  # packets of a transport stream
        if len(start) > first + 2 * step and all(start[first + n * step] == 0x47 for n in range(3)):
            return Content("video", "an MPEG transport stream")
    if start[:2] == b"BM" and start[6:10] == bytes(4):
        return Content("picture", "BMP")
    if re.match(rb"P[1-7][\s#]", start):
        return Content("picture", "PNM")
    return None


def _text(start: bytes) -> Content | None:
    words = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if words.startswith((b"<!doctype html", b"<html", b"<head")) or b"<html" in words:
        return Content("other", "a web page, as of a download that needs a login: fetch it again")
    if words.startswith((b"<?xml", b"<svg", b"<?xpacket")):
        return Content("other", "XML")
    if words[:1] in (b"{", b"[") and b'"' in words:
        return Content("other", "JSON")
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)  # which may end in a character
    except UnicodeDecodeError:
        return None
    return Content("other", "text") if all(c >= " " or c in "\t\r\n\f" for c in text) else None
