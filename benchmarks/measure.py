"""What the benchmarks share: times on a noisy machine, its description, rows in own processes."""

import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from focus_jax.evaluation import report


class Time(NamedTuple):
    """Seconds: of the wall clock, and of the processor (of all cores together)."""

    wall: float
    cpu: float


def best(
    tasks: Mapping[str, Callable[[], Any]], *, budget: float = 20.0, warm: int = 1, least: int = 1
) -> dict[str, Time]:
    """The best time of each task, the tasks taken in turns for about `budget` seconds.

    Each is run `warm` times before, and then `least` times whatever that takes. In turns, so that
    what else runs on the machine disturbs all alike.
    """
    import jax

    times: dict[str, list[Time]] = {name: [] for name in tasks}
    for _ in range(warm):
        for task in tasks.values():
            jax.block_until_ready(task())
    begun = time.perf_counter()
    rounds = 0
    while rounds < least or (rounds < 30 and time.perf_counter() - begun < budget):
        rounds += 1
        for name, task in tasks.items():
            start = Time(time.perf_counter(), time.process_time())
            jax.block_until_ready(task())
            times[name].append(
                Time(time.perf_counter() - start.wall, time.process_time() - start.cpu)
            )
    return {
        name: Time(min(t.wall for t in found), min(t.cpu for t in found))
        for name, found in times.items()
    }


def print_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
    """Prints a Markdown table whose rows appear as they are measured, and returns them."""
    print(report.table(header, []), flush=True)
    found = []
    for row in rows:
        print(report.table(header, [row]).splitlines()[-1], flush=True)
        found.append(row)
    print(flush=True)
    return found


def peak_gigabytes() -> float:
    """The most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def machine(*packages: str) -> str:
    """Processor, cores, load and versions, for the line under a table."""
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":")[1].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        model = names[0] if names else model
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    load = os.getloadavg()[0]
    return f"{len(os.sched_getaffinity(0))} cores ({model}), load {load:.1f} at the end, {versions}"


def installed(module: str) -> bool:
    """Whether a process of this Python can import the module."""
    command = [sys.executable, "-c", f"import {module}"]
    return subprocess.run(command, capture_output=True).returncode == 0


def in_a_process(function: str, *arguments: Any) -> Any:
    """What `module.function(*arguments)` returns, as JSON, in a process of its own.

    RuntimeError with the end of its messages when it fails.
    """
    module, _, name = function.rpartition(".")
    code = (
        f"import json, {module}\n"
        f"print(json.dumps({module}.{name}(*json.loads({json.dumps(json.dumps(arguments))}))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{function}{arguments}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
