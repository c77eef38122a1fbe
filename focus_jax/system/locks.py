"""A file that one process holds at a time."""

from typing import IO, Any

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None


def lock(file: IO[Any], *, wait: bool = True) -> None:
    """Hold an open file for this process alone, until it is closed or the process dies.

    BlockingIOError where another holds it and this one shall not `wait`; OSError where files
    cannot be locked.
    """
    if fcntl is None:
        raise OSError("this system does not lock files so")
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
