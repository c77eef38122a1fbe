"""Encoded pictures as RGB of eight bits, turned upright, whatever their format and depth."""

import importlib.util
import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import AvifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin
from PIL import WebPImagePlugin as WebP

from focus_jax.system import content

ORIENTATION = 0x0112  # of EXIF: 1 upright, 2 to 8 turned or mirrored
# Openers without `Image.open`'s bound on pixels: only headers are read.
_HEADERS: dict[str, Any] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebP.WebPImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}
_PILLOW = ("TGA", "PSD", "SGI", "TIFF")  # what OpenCV may refuse and Pillow reads
# Largest values of files of 8, 10, 12 and 16 bits; cameras and converters write the lower ones into
# 16-bit files. Lossy formats overshoot a little.
_LEVELS = (255, 1023, 4095, 65535)
_OVERSHOOT = 1.02


class UnreadablePhoto(Exception):  # noqa: N818  (counted and listed, not raised to the user)
    """A photo that is missing or cannot be decoded: the file's name, and `reason` alone."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} ({reason})")
        self.reason = reason


def read_photo(path: Path) -> np.ndarray:
    """The photo as uint8 RGB `[h w 3]`, turned upright by its EXIF tag: see `decode`.

    Raises UnreadablePhoto with the reason.
    """
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise UnreadablePhoto(path.name, error.strerror or str(error)) from None
    try:
        return decode(encoded)
    except ValueError as problem:
        raise UnreadablePhoto(path.name, str(problem)) from None


def decode(encoded: bytes) -> np.ndarray:
    """The picture as uint8 RGB `[h w 3]`, upright; ValueError says what the file is instead.

    Values of 16-bit files whose largest needs 8, 10 or 12 bits are taken for those; floating point
    is [0, 1], or [0, 255] or [0, 65535] where it exceeds 2. Transparency is dropped.
    """
    kind = content.of(encoded[: content.START])
    if kind.name == "HEIC":
        return _heic(encoded)
    # Some JPEG decoders fill up a truncated file with grey; the missing end marker tells. A
    # thumbnail at the file's beginning has one too, and some phones append a film.
    tail = encoded[min(1 << 17, max(0, len(encoded) - 4096)) :]
    if kind.name == "JPEG" and b"\xff\xd9" not in tail:
        raise ValueError("truncated")
    if kind.kind == "video" or kind.name == "an empty file":
        raise ValueError(f"no picture: {kind.name}")
    try:
        image = _opencv(encoded, deep=kind.name != "AVIF") if encoded else None
    except cv2.error as error:
        # Pictures of more than 2^30 pixels, unless the environment variable of its message says so.
        raise ValueError(f"too large for OpenCV: {error.err}") from None
    if image is None:
        image = _pillow(encoded)
    if image is None and kind.kind == "picture":
        raise ValueError(f"{kind.name}, but not a whole image that OpenCV can read")
    if image is None:
        raise ValueError(f"no picture: {kind.name}")
    # OpenCV turns TIFF itself, whatever it is asked.
    turned = image if kind.name == "TIFF" else turn(image, orientation(encoded))
    return np.ascontiguousarray(turned)


def _opencv(encoded: bytes, *, deep: bool) -> np.ndarray | None:
    pixels = np.frombuffer(encoded, np.uint8)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(pixels, flags | cv2.IMREAD_ANYDEPTH * deep)
    if image is None and encoded[:2] in (b"II", b"MM"):  # grey floating point is read only so
        image = cv2.imdecode(pixels, cv2.IMREAD_UNCHANGED)
    if image is None:
        return None
    grey = image.ndim == 2 or image.shape[2] < 3
    if grey:
        return eight_bits(np.repeat(image.reshape(*image.shape[:2], -1)[..., :1], 3, -1))
    # OpenCV turns the colours round, ten times as fast as NumPy copies them the other way.
    return cv2.cvtColor(eight_bits(image[..., :3]), cv2.COLOR_BGR2RGB)


def eight_bits(image: np.ndarray) -> np.ndarray:
    """Values of any depth as uint8, see `decode`; ValueError for such as are not finite."""
    if image.dtype == np.uint8:
        return image
    largest = float(image.max(initial=0))
    if not np.isfinite(image.min(initial=0) + largest):
        raise ValueError("its floating-point values are not finite")
    if np.issubdtype(image.dtype, np.floating) and largest <= 2:
        level = 1.0
    else:
        level = next((n for n in _LEVELS if largest <= n * _OVERSHOOT), largest)
    # By float32: of 64-bit values nothing is left that one could see.
    return cv2.convertScaleAbs(np.maximum(image, 0).astype(np.float32), alpha=255 / level)


def _pillow(encoded: bytes) -> np.ndarray | None:
    try:
        return np.asarray(Image.open(io.BytesIO(encoded), formats=_PILLOW).convert("RGB"))
    except Exception:  # whatever a parser makes of bytes that are not its own
        return None


def _heic(encoded: bytes) -> np.ndarray:
    if importlib.util.find_spec("pillow_heif") is None:
        raise ValueError("HEIC, which needs `pip install pillow-heif`")
    import pillow_heif  # pyright: ignore[reportMissingImports]

    try:  # it turns the picture itself
        return np.asarray(pillow_heif.open_heif(encoded).to_pillow().convert("RGB"))
    except Exception as error:
        raise ValueError(f"HEIC, but not a whole image: {error}") from None


# --- orientation ---------------------------------------------------------------------------------


def orientation(encoded: bytes) -> int:
    """The EXIF orientation, 1 to 8, by which a picture as stored is to be turned; 1 without one."""
    name = content.of(encoded[: content.START]).name
    try:
        if name in _HEADERS:
            opened = _HEADERS[name](io.BytesIO(encoded))
            exif = opened.getexif() if name != "PNG" or "exif" in opened.info else Image.Exif()
        else:
            exif = Image.Exif()
        if not exif and name in ("PNG", "JPEG 2000"):
            exif.load(next(_exif_of_png(encoded) if name == "PNG" else _exif_of_jp2(encoded), b""))
        found = exif.get(ORIENTATION, 1)
    except Exception:  # of damaged headers, which say nothing
        return 1
    return found if found in range(1, 9) else 1


def orientation_of(path: Path) -> int:
    """`orientation` of a file; 1 for one that cannot be read, or is a video."""
    try:
        if content.of_file(path).kind != "picture":
            return 1
        return orientation(path.read_bytes())
    except OSError:
        return 1


def _exif_of_png(encoded: bytes) -> Iterator[bytes]:
    """Behind the picture, too, where Pillow would decode all of it first."""
    place = 8
    while place + 8 <= len(encoded):
        (length,) = struct.unpack_from(">I", encoded, place)
        if encoded[place + 4 : place + 8] == b"eXIf":
            yield encoded[place + 8 : place + 8 + length]
        place += length + 12


def _exif_of_jp2(encoded: bytes) -> Iterator[bytes]:
    """The uuid box of Exif among the boxes of the file, which Pillow passes over."""
    place = 0
    while place + 8 <= len(encoded):
        length, kind = struct.unpack_from(">I4s", encoded, place)
        if length < 8:  # the last box, or one of more than 4 GiB
            return
        if kind == b"uuid" and encoded[place + 8 : place + 24] == b"JpgTiffExif->JP2":
            yield encoded[place + 24 : place + length].removeprefix(b"Exif\0\0")
        place += length


def turn(image: np.ndarray, how: int) -> np.ndarray:
    """A picture `[h w ...]` as stored, turned upright by its EXIF orientation."""
    if how in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    rows = slice(None, None, -1 if how in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if how in (2, 3, 6, 7) else 1)
    return image[rows, columns]


def turn_points(points: np.ndarray, how: int, height: int, width: int) -> np.ndarray:
    """Points `[... 2]` (x, y) of a picture as stored, `height` x `width` when upright, as `turn`
    moves them."""
    x, y = points[..., 0], points[..., 1]
    if how in (5, 6, 7, 8):
        x, y = y, x
    x = width - 1 - x if how in (2, 3, 6, 7) else x
    y = height - 1 - y if how in (3, 4, 7, 8) else y
    return np.stack([x, y], -1)
