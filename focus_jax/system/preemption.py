"""How a run is asked to stop: signals, agreement among processes, and the code it exits with."""

import contextlib
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator
from typing import Any

import jax
from jax.sharding import Mesh

from focus_jax.system import sharding

# "Temporary failure, try again" of sysexits.h: unlike 130 or 143 it says that the state was saved.
EXIT_CODE = os.EX_TEMPFAIL


class Interrupted(Exception):  # noqa: N818  (not an error: the run can go on)
    """The run was asked to stop; its state is saved."""


@contextlib.contextmanager
def catch_signals() -> Generator[list[str]]:
    """A list that receives the name of the first SIGINT or SIGTERM.

    The second one ends the process at once, whatever it waits for: checkpoints are complete or
    absent at any moment. Outside of the main thread, where tools for sweeps train, none is caught.
    """
    received: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def remember(number: int, frame: Any) -> None:
        if received:
            os._exit(128 + number)
        received.append(signal.Signals(number).name)

    before = {n: signal.signal(n, remember) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def asked_to_stop(received: list[str], mesh: Mesh) -> Iterator[bool]:
    """Whether to stop, once a step; the same answer at the same step in every process.

    A signal reaches processes at different steps, or only one of them. Each step they share their
    flags and read those of the step before, so that nothing waits for a network.
    """
    if jax.process_count() == 1:
        while True:
            yield bool(received)
    flags: deque[jax.Array] = deque()
    while True:
        flags.append(sharding.any_process(bool(received), mesh))
        yield bool(flags.popleft()) if len(flags) > 1 else False
