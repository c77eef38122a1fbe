"""Folders in object storage (gs://, s3://), where a training's files may lie.

Paths there are `etils.epath`'s, which orbax and tensorflow-datasets take, too. An object is written
whole or not at all, but cannot be renamed, appended to or locked: what needs that is done here.
"""

import contextlib
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from focus_jax.system.files import is_remote, user_path

log = logging.getLogger(__name__)

SCHEMES = {"gs": "gcs", "s3": "s3"}  # and the extra of each
# Of a claim, in seconds: how often its holder renews it, after how long without that it is nobody's
# any more, and how long a new one waits for whoever claimed at the same moment.
RENEWED, LAPSED, SETTLED = 10.0, 60.0, 3.0


def place(text: str | Path) -> Any:
    """A folder as people type it: one of object storage as epath's, any other as `user_path`.

    ValueError for another kind of address and for one that cannot be reached, ImportError where its
    package is missing.
    """
    scheme, separator, _ = str(text).partition("://")
    if not separator:
        return user_path(text)
    if scheme not in SCHEMES:
        known = ", ".join(f"{s}://" for s in SCHEMES)
        raise ValueError(f"{text} is in no storage that is known here: {known}, or a folder")
    from etils import epath

    found = epath.Path(str(text))
    try:
        found.exists()
    except ImportError:
        extra = SCHEMES[scheme]
        raise ImportError(f'{text} needs `pip install "focus_jax[{extra}]"`') from None
    except Exception as error:
        # Each storage has errors of its own: no credentials, no network, no such bucket.
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{text} cannot be reached: {detail}") from None
    return found


def files_in(folder: Any) -> Iterator[tuple[str, Any]]:
    """All files below a folder of object storage: names from there, and paths."""
    for root, _, names in folder.walk():
        for name in names:
            path = root / name
            yield str(path)[len(str(folder)) :].lstrip("/"), path


def fetch(folder: Any, here: Path) -> None:
    """Copy all that is below a folder of object storage."""
    for name, path in files_in(folder):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(path.read_bytes())


def put(here: Path, folder: Any) -> None:
    """Copy all that is below a folder of this machine into object storage."""
    for path in sorted(p for p in here.rglob("*") if p.is_file()):
        (folder / path.relative_to(here).as_posix()).write_bytes(path.read_bytes())


def move(folder: Any, to: Any) -> None:
    """Move a folder; in object storage file by file, so that a kill leaves it twice."""
    if not is_remote(folder):
        shutil.move(folder, to)
        return
    for name, path in files_in(folder):
        (to / name).write_bytes(path.read_bytes())
    folder.rmtree()


@contextlib.contextmanager
def claimed(path: Any, *, wait: bool) -> Generator[None]:
    """Hold what an object stands for, for this process alone.

    Its holder renews it; one that has not been for `LAPSED` seconds, watched, was a dead process's.
    BlockingIOError where another holds it and this one shall not `wait`.
    """
    own = secrets.token_hex(8)
    _claim(path, own, wait)
    ended = threading.Event()

    def renew() -> None:
        number = 0
        while not ended.wait(RENEWED):
            number += 1
            try:
                path.write_text(f"{own} {number}")
            except Exception as error:  # of the network: it has until LAPSED to come back
                log.warning("%s cannot be renewed (%s)", path, error)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if _holder(path).startswith(own):
            path.unlink(missing_ok=True)


def _claim(path: Any, own: str, wait: bool) -> None:
    seen, since = _holder(path), time.monotonic()
    while True:
        if not seen or time.monotonic() - since > LAPSED:
            path.write_text(f"{own} 0")
            time.sleep(SETTLED)  # of two that claim at once the last one has it
            if (found := _holder(path)).startswith(own):
                return
            seen, since = found, time.monotonic()
        time.sleep(RENEWED / 4)
        if (now := _holder(path)) != seen:
            if now and not wait:
                raise BlockingIOError(f"{path} is held by another process")
            seen, since = now, time.monotonic()


def _holder(path: Any) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
