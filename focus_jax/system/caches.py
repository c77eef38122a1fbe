"""Folders for what is kept to be used again, wherever a machine lets one write."""

import functools
import logging
import os
import stat
import sys
import tempfile
from pathlib import Path

log = logging.getLogger(__name__)

_said: list[Path] = []  # of this process, at most one


def writable(wanted: str | Path, name: str) -> Path:
    """The folder `wanted`, made where it is not there yet; or `name` in a temporary folder.

    The latter where nothing can be written, as of a home that is read-only or none: it costs time,
    since what is kept is lost, and is said in one line a process.
    """
    why = _problem(wanted)
    if why is None:
        return Path(wanted).expanduser()
    if not _said:
        _said.append(Path(wanted))
        log.warning("%s cannot be written (%s): caches are in %s", wanted, why, _temporary())
    instead = _temporary() / name
    instead.mkdir(exist_ok=True)
    return instead


def warp_folder() -> Path | None:
    """Where Warp is to keep its kernels, if it cannot write where it would by itself."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"  # elsewhere than on Linux not
    wanted = os.environ.get("WARP_CACHE_PATH") or f"{home}/warp"
    here = sys.platform.startswith("linux") or "WARP_CACHE_PATH" in os.environ
    return writable(wanted, "warp") if here and _problem(wanted) else None


def _problem(wanted: str | Path) -> str | None:
    """Why nothing can be written into a folder, which is made for it."""
    try:
        folder = Path(wanted).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        return None
    except OSError as error:
        return error.strerror or str(error)
    except RuntimeError as error:  # this user has no home
        return str(error)


@functools.cache
def _temporary() -> Path:
    """A folder that nobody else can write: programs are run from it."""
    if not hasattr(os, "getuid"):  # Windows
        return Path(tempfile.mkdtemp(prefix="focus_jax-"))
    place = Path(tempfile.gettempdir()) / f"focus_jax-{os.getuid()}"
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        about = place.lstat()
        if stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o22:
            return place
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="focus_jax-"))
