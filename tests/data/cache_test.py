import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

from focus_jax.data import cache
from focus_jax.data.cache import Cached
from focus_jax.system import storage
from tests.object_store import store  # noqa: F401  (a fixture)

WAIT = 30  # seconds, for what should take none


def record(number):
    rng = np.random.default_rng(number)
    return {
        "image": rng.integers(0, 256, (8, 8, 3), np.uint8),
        "features": rng.normal(size=5).astype(np.float16),
        "filename": f"{number}.png",
        "occluder": np.int32(number),
    }


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], strict=isinstance(value, np.ndarray))


class Slow:
    """Makes records as they are allowed."""

    def __init__(self, count):
        self.count, self.calls, self.allowed = count, 0, threading.Semaphore(0)

    def __call__(self):
        self.calls += 1
        for number in range(self.count):
            assert self.allowed.acquire(timeout=WAIT)
            yield record(number)

    def allow(self, count):
        self.allowed.release(count)


def reading(records, key):
    """A thread that reads, and the list which that gives its result to."""
    found = []
    thread = threading.Thread(target=lambda: found.append(records[key]), daemon=True)
    thread.start()
    return thread, found


@pytest.mark.parametrize("count", [None, 6])
def test_records_are_made_once(tmp_path, count):
    slow = Slow(6)
    slow.allow(6)
    for _ in range(2):
        records = Cached(tmp_path / "faces", slow, count=count)
        assert len(records) == 6
        same(records[3], record(3))
        same(records[-1], record(5))
        assert [r["filename"] for r in records[1:3]] == ["1.png", "2.png"]
        assert [r["filename"] for r in records] == [f"{n}.png" for n in range(6)]
        with pytest.raises(IndexError):
            records[6]
    assert slow.calls == 1


def test_the_first_are_read_while_the_rest_is_made(tmp_path):
    slow = Slow(6)
    records = Cached(tmp_path / "faces", slow, count=6)
    assert len(records) == 6 and slow.calls == 0  # nobody has asked for one
    slow.allow(2)
    arrived = records[1]
    same(arrived, record(1))
    thread, found = reading(records, 4)
    thread.join(0.2)
    assert thread.is_alive() and not found
    whole, all_of_them = reading(records, slice(0, 2))
    slow.allow(3)
    thread.join(WAIT)
    same(found[0], record(4))
    assert whole.is_alive()
    slow.allow(1)
    whole.join(WAIT)
    assert len(all_of_them[0]) == 2
    for ours, theirs in zip(records, Cached(tmp_path / "faces", slow, count=6), strict=True):
        same(ours, theirs)
    same(records[1], arrived)
    assert slow.calls == 1


def test_too_many_for_memory_are_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "IN_MEMORY", 100)
    slow = Slow(3)
    records = Cached(tmp_path / "faces", slow, count=3)
    thread, found = reading(records, 0)
    slow.allow(2)
    thread.join(0.2)
    assert not found
    slow.allow(1)
    thread.join(WAIT)
    same(found[0], record(0))


def breaks():
    yield record(0)
    raise OSError("no space left")


def test_errors_reach_every_reader_and_leave_nothing(tmp_path):
    records = Cached(tmp_path / "faces", breaks, count=3)
    for _ in range(2):
        with pytest.raises(OSError, match="no space left"):
            records[1]
    with pytest.raises(OSError, match="no space left"):
        Cached(tmp_path / "faces", breaks)
    slow = Slow(3)
    slow.allow(3)
    assert len(Cached(tmp_path / "faces", slow)) == 3


def test_a_wrong_count_is_an_error(tmp_path):
    slow = Slow(2)
    slow.allow(2)
    with pytest.raises(ValueError, match="faces has 2 records, not 3"):
        Cached(tmp_path / "faces", slow, count=3)[2]


def test_another_reader_of_the_folder_waits_for_the_first(tmp_path):
    slow, other = Slow(3), Slow(3)
    first = Cached(tmp_path / "faces", slow, count=3)
    slow.allow(1)
    same(first[0], record(0))
    thread, found = reading(Cached(tmp_path / "faces", other, count=3), 0)
    thread.join(0.2)
    assert not found
    slow.allow(2)
    thread.join(WAIT)
    same(found[0], record(0))
    assert other.calls == 0


def test_making_stops_in_order_when_the_process_ends(tmp_path):
    script = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        import numpy as np
        from focus_jax.data.cache import Cached

        folder = Path(sys.argv[1])

        def make():
            try:
                for number in range(1000):
                    yield {"number": np.int32(number)}
                    time.sleep(0.1)
            finally:
                (folder / "stopped").touch()

        further = Cached(folder / "first", make, count=1000)
        records = Cached(folder / "second", lambda: iter(further), count=1000)
        assert records[1]["number"] == 1
        raise SystemExit(75)
        """
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True)
    assert done.returncode == 75 and not done.stderr, done.stderr
    assert (tmp_path / "stopped").exists()
    assert not list(tmp_path.glob("*/complete"))


def test_records_in_object_storage_are_made_once(tmp_path, store, monkeypatch):  # noqa: F811
    """By the first of two machines; a third does not take what a killed one has left for whole."""
    monkeypatch.setattr(storage, "SETTLED", 0.01)
    there, made = storage.place("gs://x/cache/a-1"), []

    def make():
        made.append(1)
        return map(record, range(3))

    for machine in ("one", "two"):
        records = Cached(tmp_path / machine, make, count=3, there=there)
        for number, found in enumerate(records[:]):  # a slice waits for all
            same(found, record(number))
        assert len(records) == 3 and made == [1] and "gs://x/cache/a-1/complete" in store
    assert sorted(store) == sorted(n for n in store if n.startswith("gs://x/cache/a-1/"))
    del store["gs://x/cache/a-1/complete"]
    same(Cached(tmp_path / "three", make, count=3, there=there)[:][2], record(2))
    assert made == [1, 1] and "gs://x/cache/a-1/complete" in store
