"""Kill a short run through all stages again and again, and compare it with one left in peace.

    python tests/kills.py --kills=20 --folder=DIR

Kills are SIGKILL: while the data are read, programs are compiled, steps are taken, or a checkpoint
is being written, which happens after every second step. Prints when the kills came, and fails where
the two runs differ in any bit of their final state, in a line of metrics, or in their scores.
"""

import argparse
import random
import signal
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from small_job import start_run

from focus_jax import checkpoint

LONGER = [f"--config.schedule.{k}={v}" for k, v in {"warmup": 12, "joint": 24}.items()]


def lines(workdir: Path) -> int:
    """Lines of metrics so far."""
    path = workdir / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def run_to_the_end(cache: Path, workdir: Path, *flags: str) -> float:
    """Seconds that an undisturbed run took."""
    begun = time.monotonic()
    run = start_run(cache, workdir, *flags)
    output, _ = run.communicate(timeout=1800)
    assert run.returncode == 0, output
    return time.monotonic() - begun


def kill_once(
    cache: Path, workdir: Path, *flags: str, chance: random.Random, number: int = signal.SIGKILL
) -> tuple[str, int]:
    """Start or resume the run, and kill it at a random moment: what was seen, and its status."""
    run = start_run(cache, workdir, *flags)
    before, begun = lines(workdir), time.monotonic()
    wanted = chance.choice([0, 1, 1, 2, 2, 3, 4])  # new lines of metrics to wait for; 0: anywhere
    deadline = begun + chance.uniform(0.0, 8.0)
    while run.poll() is None:
        # A resumed run first drops the lines that come again, so that there may be fewer.
        seen = lines(workdir)
        before = min(before, seen)
        if (seen >= before + wanted) if wanted else (time.monotonic() > deadline):
            time.sleep(chance.uniform(0.0, 0.5))
            run.send_signal(number)
            break
        time.sleep(0.01)
    output, _ = run.communicate(timeout=600)
    assert run.returncode in (0, number, -number, 75), output
    partly = [p.name for p in (workdir / "checkpoints").glob("*tmp*")]
    when = f"after {time.monotonic() - begun:.1f} s, {lines(workdir)} lines"
    return f"{when}{', a checkpoint half written' if partly else ''}", run.returncode


def final_state(workdir: Path) -> Any:
    """Every array of the last checkpoint."""
    manager = checkpoint.open_checkpoints(workdir)
    wanted = ocp.args.Composite(state=ocp.args.StandardRestore())
    found = manager.restore(manager.latest_step(), args=wanted)
    manager.close()
    return found["state"]


def compare(one: Path, other: Path) -> None:
    """AssertionError where two finished runs differ."""
    jax.tree.map(np.testing.assert_array_equal, final_state(one), final_state(other))
    assert (one / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()
    scores = [{p.name: p.read_text() for p in (w / "scores").glob("*")} for w in (one, other)]
    assert scores[0] == scores[1] and scores[0]


def kill_and_compare(folder: Path, kills: int, *flags: str, seed: int = 0) -> list[str]:
    """Both runs; says of each kill when it came. AssertionError where they differ."""
    chance = random.Random(seed)
    run_to_the_end(folder / "cache", folder / "whole", *flags)
    told = []
    for _ in range(kills):
        what, status = kill_once(folder / "cache", folder / "killed", *flags, chance=chance)
        assert status == -signal.SIGKILL, f"the run ended before kill {len(told) + 1}: {what}"
        told.append(what)
        print(what, flush=True)
    run_to_the_end(folder / "cache", folder / "killed", *flags)
    compare(folder / "whole", folder / "killed")
    return told


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    given.folder.mkdir(parents=True)
    told = kill_and_compare(given.folder, given.kills, *LONGER, seed=given.seed)
    halves = sum("half written" in what for what in told)
    print(f"{len(told)} kills, {halves} while a checkpoint was being written: no bit differs")
