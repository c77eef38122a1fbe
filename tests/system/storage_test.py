import threading
import time

import pytest

from focus_jax.system import storage
from tests.object_store import store  # noqa: F401  (a fixture)


@pytest.fixture
def quick(monkeypatch):
    for name, seconds in (("RENEWED", 0.05), ("LAPSED", 0.4), ("SETTLED", 0.02)):
        monkeypatch.setattr(storage, name, seconds)


def test_a_place_is_a_folder_or_in_storage(store, tmp_path):  # noqa: F811
    assert storage.place(str(tmp_path)) == tmp_path and not storage.is_remote(tmp_path)
    assert str(storage.place("gs://bucket/a") / "b") == "gs://bucket/a/b"
    assert storage.is_remote(storage.place("gs://bucket/a"))
    with pytest.raises(ValueError, match=r"ftp://x is in no storage that is known here: gs://, s3"):
        storage.place("ftp://x")


def test_a_package_that_is_missing_is_named(monkeypatch):
    from etils import epath

    def missing(path):
        raise ImportError("no s3fs")

    monkeypatch.setattr(epath.Path("s3://x/y").__class__, "exists", missing)
    with pytest.raises(ImportError, match=r's3://x/y needs `pip install "focus_jax\[s3\]"`'):
        storage.place("s3://x/y")


@pytest.mark.parametrize("error", [OSError("no network"), RuntimeError("no credentials")])
def test_a_storage_that_cannot_be_reached_is_one_sentence(monkeypatch, error):
    """Each client has exceptions of its own."""
    from etils import epath

    def fail(path):
        raise error

    monkeypatch.setattr(epath.Path("s3://x/y").__class__, "exists", fail)
    with pytest.raises(ValueError, match=f"s3://x/y cannot be reached: {error}"):
        storage.place("s3://x/y")


def test_folders_go_there_and_back_and_are_moved(store, tmp_path):  # noqa: F811
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "1").write_bytes(b"\0one")
    (tmp_path / "a" / "2").write_bytes(b"two")
    storage.put(tmp_path / "a", storage.place("gs://x/y"))
    assert store == {"gs://x/y/b/1": b"\0one", "gs://x/y/2": b"two"}
    storage.move(storage.place("gs://x/y"), storage.place("gs://x/z"))
    assert sorted(store) == ["gs://x/z/2", "gs://x/z/b/1"]
    storage.fetch(storage.place("gs://x/z"), tmp_path / "c")
    assert (tmp_path / "c" / "b" / "1").read_bytes() == b"\0one"
    storage.move(tmp_path / "c", tmp_path / "d")
    assert (tmp_path / "d" / "2").is_file() and not (tmp_path / "c").exists()


def test_one_process_holds_a_claim_at_a_time(store, quick):  # noqa: F811
    path = storage.place("gs://x/lock")
    with storage.claimed(path, wait=False):
        with pytest.raises(BlockingIOError), storage.claimed(path, wait=False):
            raise AssertionError("two hold it")
        assert "gs://x/lock" in store
    assert not store


def test_a_claim_of_a_dead_process_lapses(store, quick):  # noqa: F811
    store["gs://x/lock"] = b"somebody 7"
    with storage.claimed(storage.place("gs://x/lock"), wait=False):
        assert not store["gs://x/lock"].startswith(b"somebody")


def test_of_many_that_wait_each_has_it_alone(store, quick):  # noqa: F811
    inside, most = [], []

    def work():
        with storage.claimed(storage.place("gs://x/lock"), wait=True):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == [1, 1, 1, 1]
