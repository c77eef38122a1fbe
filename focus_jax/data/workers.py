"""Work spread over a process for each core; threads of one leave half of the cores idle."""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import cv2
import jax
import loky
from loky.process_executor import TerminatedWorkerError

from focus_jax.system import cpu

Task = TypeVar("Task")
Result = TypeVar("Result")

LEAST = 12  # tasks of a second, for which it is worth to start processes: that takes five
MOST = 32  # processes: each takes most of a gigabyte
NICE = 10  # the caller goes first: it compiles and trains with what they have made
IDLE = 30  # seconds after which a process without work ends


def spread(
    make: Callable[[Task], Result],
    tasks: Iterable[Task],
    *,
    count: int,
    processes: int | None = None,
) -> Iterator[Result]:
    """`make` of each of `count` tasks, in their order, some ahead of those asked for.

    In `processes`, by default one for each core that this process may use and at most MOST, which
    stay for the next call; in this one where there are few tasks or cores. They have no GPU.
    Passes on what `make` and `tasks` raise; ChildProcessError when a process was killed.
    """
    # Unlike the standard library's, these processes do not import the caller's main module, which
    # may be a script that trains when it is imported.
    processes = processes or min(loky.cpu_count(), MOST)
    if count < LEAST or processes == 1:
        yield from map(make, tasks)
        return
    pool = loky.get_reusable_executor(
        processes, timeout=IDLE, initializer=_begin, initargs=(os.getpid(),), env=_environment()
    )
    waiting: deque = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(make, task))
            if len(waiting) >= 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except TerminatedWorkerError:
        raise ChildProcessError(
            f"one of {processes} processes that make data was killed, most likely because memory "
            "ran out; allow fewer cores (taskset) or more memory, and run the same command again"
        ) from None
    finally:
        for future in waiting:
            future.cancel()


def _environment() -> dict[str, str]:
    """Variables of a process that has one core, and none of what the caller computes on."""
    variables = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "NPROC": "1"}
    # Else loky takes what JAX compiles after the first task for a leak, and starts a new process.
    variables["LOKY_MAX_MEMORY_LEAK_SIZE"] = "1e15"
    # NumPy's own threads would wait for one another, busily, on the cores of other processes.
    variables |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **cpu.told()}
    config: Any = jax.config  # its fields have no types
    if config.jax_compilation_cache_dir:
        variables["JAX_COMPILATION_CACHE_DIR"] = config.jax_compilation_cache_dir
    return variables


def _begin(caller: int) -> None:
    cv2.setNumThreads(1)
    os.nice(NICE)
    # The terminal interrupts all processes at once; the caller, which hears it too, ends these.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(caller,), daemon=True).start()


def _end_with(caller: int) -> None:
    """End this process soon after its caller, which may have been killed and said nothing."""
    while os.getppid() == caller:
        time.sleep(1)
    os._exit(1)
