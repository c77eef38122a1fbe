import pytest

from focus_jax.system import locks


def test_a_lock_is_held_until_its_file_is_closed(tmp_path):
    with (tmp_path / "lock").open("w") as one, (tmp_path / "lock").open("w") as other:
        locks.lock(one, wait=False)
        with pytest.raises(BlockingIOError):
            locks.lock(other, wait=False)
        one.close()
        locks.lock(other, wait=False)


def test_a_system_without_locks_is_an_os_error(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)
    with (tmp_path / "lock").open("w") as file, pytest.raises(OSError, match="does not lock"):
        locks.lock(file)
