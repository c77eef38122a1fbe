"""Spoil what the project reads and see that it says so: `python tests/fuzz/run.py csv image ...`.

    python tests/fuzz/run.py --cases=10000          every target of targets.py, 10,000 cases each
    python tests/fuzz/run.py csv --cases=500 --seed=3

A case fails where anything but the target's own errors comes out, where a file outside the
target's folder is opened for writing, where a process is started, a socket opened, or a pickle
names a class.
Failures are shrunk by hypothesis and printed; the exit status is then 1.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("JAX_PLATFORMS", "cpu")
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "fuzz")]

import hypothesis  # noqa: E402
from targets import TARGETS, Target  # noqa: E402

FORBIDDEN = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.Popen")
FORBIDDEN += ("socket.connect", "pickle.find_class", "webbrowser.open")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")

_watched: list[str] = []  # the folder that may be written into, while a case is read
_seen: list[str] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    # Hooks cannot be removed: this one looks only while a case is read.
    if not _watched:
        return
    if event in FORBIDDEN:
        _seen.append(f"{event}{arguments!r:.200}")
    elif event == "open":
        path, mode, flags = arguments
        writes = bool(flags & WRITING) if mode is None else any(c in mode for c in "wax+")
        if writes and not isinstance(path, int):
            _look(event, path)
    elif event in ("os.symlink", "os.link"):
        _look(event, os.path.dirname(os.fsdecode(arguments[1])))
    elif event in CHANGES and arguments[-1] in (None, -1):  # else beside an open folder
        _look(event, arguments[0])


def _look(event: str, path: Any) -> None:
    where = os.path.realpath(os.fsdecode(path))
    if not where.startswith(_watched[0]) and where != os.devnull:
        _seen.append(f"{event} {where}")


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[None]:
    """AssertionError when something was done that reading a file must not do."""
    _watched.append(os.path.realpath(folder))
    try:
        yield
    finally:
        _watched.clear()
        seen, _seen[:] = list(_seen), []
    assert not seen, f"forbidden: {seen}"


@contextlib.contextmanager
def timeless() -> Iterator[None]:
    """Archives and MATLAB files hold the time of their making: one for all runs, so that a seed
    spoils the same bytes."""
    epoch = time.struct_time((1980, 1, 1, 0, 0, 0, 1, 1, 0))
    with (
        mock.patch.object(time, "localtime", lambda *_: epoch),
        mock.patch.object(time, "asctime", lambda *_: "Tue Jan  1 00:00:00 1980"),
    ):
        yield


def fuzz(target: Target, folder: Path, cases: int, seed: int) -> int:
    """Number of cases that were refused. Raises what a target must not raise, and AssertionError
    where it refused all: then nothing was read."""
    refused, seen = 0, 0

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=cases,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=target.strategy)
    def run(case: Any) -> None:
        nonlocal refused, seen
        seen += 1
        try:
            with watched(folder):
                target.use(case)
        except target.allowed as error:
            assert str(error).strip(), f"{type(error).__name__} says nothing"
            refused += 1

    run()
    assert refused < seen, f"all of {seen} cases were refused"
    return refused


def main(names: list[str], cases: int, seed: int) -> int:
    """Fuzz the targets of these names; the number of those that failed."""
    sys.addaudithook(_audit)
    failed = 0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            before = os.getcwd()
            try:
                with timeless():
                    target = TARGETS[name](Path(folder))
                refused = fuzz(target, Path(folder), cases, seed)
                print(f"{name}: {cases} cases, {refused} refused", flush=True)
            except Exception:
                failed += 1
                print(f"{name}: FAILED\n{traceback.format_exc()}", flush=True)
            finally:
                os.chdir(before)
    return failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("targets", nargs="*", default=list(TARGETS))
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sys.exit(bool(main(given.targets, given.cases, given.seed)))
