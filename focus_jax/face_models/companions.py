"""Files that lie beside a face model's own, and are read with it where they are there."""

from pathlib import Path
from typing import NamedTuple


class Companion(NamedTuple):
    """What is looked for in the face model's folder for one purpose, and what of it is read."""

    purpose: str
    names: tuple[str, ...]  # in the order in which they are looked for
    read: tuple[str, ...]
    otherwise: str  # what is done without


def first_of(folder: Path, purpose: str, names: tuple[str, ...], otherwise: str) -> Companion:
    """A companion of which the first file that is there is read."""
    found = tuple(name for name in names if (folder / name).is_file())
    return Companion(purpose, names, found[:1], otherwise)


def together(folder: Path, purpose: str, names: tuple[str, ...], otherwise: str) -> Companion:
    """A companion of several files, of which all are needed."""
    there = all((folder / name).is_file() for name in names)
    return Companion(purpose, names, names if there else (), otherwise)


def describe(found: list[Companion], folder: Path) -> str:
    """A line for each purpose."""
    lines = []
    for companion in found:
        read = ", ".join(companion.read) or f"none, {companion.otherwise}"
        lines.append(f"{companion.purpose}: {read} (looked for {', '.join(companion.names)})")
    return "\n".join([f"beside it in {folder}:", *lines]) if lines else ""
