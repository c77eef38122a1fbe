"""Names of files, and files that are written whole or not at all."""

import argparse
import contextlib
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

# A suffix has a letter: what is behind the last dot of `frame.000001` is not one.
_SUFFIX = re.compile(r"\.(?=\d*[A-Za-z])[A-Za-z0-9]{1,5}$")


class NoPath(ValueError, argparse.ArgumentTypeError):  # noqa: N818  (its text is what is said)
    """What is no path of this machine; as an argument's type, argparse says it as it is."""


def user_path(text: str | Path) -> Path:
    """A path as people type it, for every command: `~` is their home, also in `--out=~/x`.

    `NoPath`, a ValueError, as `check_path`.
    """
    check_path(text, "a file or folder")
    return Path(text).expanduser()


def check_path(given: str | Path, wanted: str) -> None:
    """`NoPath` for an empty path, an unset variable mostly, which means this folder to `Path`.

    And for an address, which it takes for a folder of that name.
    """
    if not str(given):
        raise NoPath(f"a path is empty; give {wanted} ('.' is the folder you are in)")
    if is_remote(given):
        raise NoPath(f"{given} is an address; give {wanted} on this machine: mount or copy it")


def check_folder(path: Path) -> None:
    """ValueError for a folder to write into that is a file, or would lie below one."""
    for place in (path, *path.parents):
        if os.path.exists(place) and not os.path.isdir(place):
            raise ValueError(f"{place} is a file; give a folder")


def check_file(path: Path) -> None:
    """ValueError for a file to write that is a folder, or would lie below a file."""
    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder; give the name of a file")
    check_folder(path.parent)


def is_remote(path: object) -> bool:
    """Whether a path lies in object storage (`storage`)."""
    return "://" in str(path)


def bare(path: Path) -> Path:
    """The path without its suffix; dots within a name are part of it, a number is no suffix."""
    return path.with_name(_SUFFIX.sub("", path.name) or path.name)


def with_end(path: Path, end: str) -> Path:
    """The path with `end` instead of its suffix, `_mask.png` for instance."""
    return path.with_name(bare(path).name + end)


def read_json(path: Path) -> dict[str, Any]:
    """What an object in a JSON file holds. ValueError, naming the file, where it holds none."""
    try:
        found = json.loads(path.read_bytes().decode("utf-8", "surrogateescape"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); bring it back from a copy") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged (it holds no object); bring it back from a copy")
    return found


def check_apart(source: str | Path, out: Path) -> None:
    """ValueError for a file to write that is the one to read, which it would take the place of."""
    if out.exists() and user_path(source).exists() and out.samefile(user_path(source)):
        raise ValueError(f"{out} is the file that is read; give another name for what is written")


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file in one piece: one that exists is complete, whenever the process is killed.

    Names of files in a text need not be UTF-8. Where that fails, as on a full disk, nothing is
    left of it.
    """
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogateescape")
    if is_remote(path):  # where each is
        path.write_bytes(content)
        return
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def write_npz(path: Path, /, **arrays: Any) -> None:
    """Compressed arrays, in one piece and under this very name, to which NumPy would add `.npz`."""
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_whole(path, content.getvalue())
