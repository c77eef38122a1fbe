"""Records made once and kept in a folder; the first of them are read while the rest is made."""

import atexit
import contextlib
import logging
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from focus_jax.data.records import IN_MEMORY, NAME, open_records, size_of, write_records
from focus_jax.system import locks, storage

log = logging.getLogger(__name__)

Record = dict[str, Any]
PATIENCE = 20  # seconds that the process waits, when it ends, for what is being made to stop


class Cached(Sequence):
    """Records of a folder, by number or slice. Those that it lacks are made, and written to it.

    With a `count`, which the number of records must be, a thread makes them when one is first
    asked for, and asking waits only for that one: a training begins with the first of its data. A
    slice waits for all, as does everything where they are too many to be kept in memory. Without a
    count they are all made at once. Passes on what `make` raises, also to whoever asks again.

    `there` is a folder in object storage for the same records, from which the folder is filled,
    or which is filled from it: whichever of several machines is first makes them.
    """

    def __init__(
        self,
        folder: Path,
        make: Callable[[], Iterable[Record]],
        *,
        count: int | None = None,
        there: Any = None,
    ):
        self._folder, self._make, self._there = folder, make, there
        self._counted, self._count = count is not None, count or 0
        self._first: list[Record] = []  # while they are made
        self._all: Sequence[Record] | None = None
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._unwanted = False
        self._news = threading.Condition()
        if count is None:
            self._fill()
            self._count = len(self._wait())

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, key: Any) -> Any:
        if self._all is not None:
            return self._all[key]
        if isinstance(key, slice):
            return self._wait()[key]
        number = range(self._count)[key]  # IndexError past the end
        with self._news:
            self._begin()
            self._news.wait_for(lambda: self._ended or len(self._first) > number)
            if not self._ended:
                return self._first[number]
        return self._wait()[number]

    @property
    def digest(self) -> str:
        """What distinguishes these records from others."""
        return self._folder.name

    @property
    def _ended(self) -> bool:
        return self._all is not None or self._error is not None

    def _wait(self) -> Sequence[Record]:
        """All records, once there are all."""
        with self._news:
            if not self._ended:
                self._begin()
                self._news.wait_for(lambda: self._ended)
            if self._error is not None:
                raise self._error
            assert self._all is not None
            return self._all

    def _begin(self) -> None:
        if self._thread is None:
            atexit.register(self._stop)
            self._thread = threading.Thread(target=self._fill, daemon=True)
            self._thread.start()

    def _stop(self) -> None:
        """Before the process ends: a thread that went on would be cut off in the middle, loudly."""
        self._unwanted = True
        if self._thread is not None:
            self._thread.join(PATIENCE)

    def _fill(self) -> None:
        try:
            found = self._made()
            if self._counted and len(found) != self._count:
                raise ValueError(f"{self._folder} has {len(found)} records, not {self._count}")
        except BaseException as error:
            with self._news:
                self._error = error
                self._news.notify_all()
        else:
            with self._news:
                self._all = found
                self._first = []
                self._news.notify_all()
        atexit.unregister(self._stop)

    def _made(self) -> Sequence[Record]:
        complete = self._folder / "complete"
        if not complete.exists():
            with _alone(self._folder):
                if not complete.exists():  # another process may have made them meanwhile
                    self._bring()
                    complete.touch()
        return open_records(self._folder)

    def _bring(self) -> None:
        """The records into the folder, from object storage where they are there."""
        with contextlib.ExitStack() as held:
            if self._there is not None:
                lock = self._there.parent / f"{self._there.name}.lock"
                held.enter_context(storage.claimed(lock, wait=True))
                if (self._there / "complete").exists():
                    storage.fetch(self._there / NAME, self._folder / NAME)
                    return
            log.info("making %s", self._there or self._folder)
            write_records(self._folder, self._shown(self._make()))
            if self._there is not None:
                storage.put(self._folder / NAME, self._there / NAME)
                (self._there / "complete").write_text("all of them\n")  # last, which says so

    def _shown(self, records: Iterable[Record]) -> Iterator[Record]:
        """The records, each of which can be read from now on."""
        try:
            for record in records:
                if self._counted and size_of(record) * self._count < IN_MEMORY:
                    with self._news:
                        self._first.append(record)
                        self._news.notify_all()
                yield record
                if self._unwanted:
                    raise InterruptedError("the process ends before all records are made")
        finally:
            if isinstance(records, Generator):
                records.close()


@contextlib.contextmanager
def _alone(folder: Path) -> Generator[None]:
    """One process at a time: runs of a sweep, or the processes of one run, share their cache."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as file:
        try:
            locks.lock(file)  # the system lets go of it when the process dies
        except OSError:  # a file system or a system without locks
            log.warning("%s cannot be locked; start one run at a time with it", folder)
        yield
