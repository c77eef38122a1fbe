"""Kill a short run through all stages again and again, and compare it with one left in peace.

    python tests/kills.py --kills=20 --folder=DIR

Kills are SIGKILL, spread over all stages: each at a random moment once the run has come to its part
of the steps, or while it starts if it had come there before. A checkpoint is written after every
second step. Prints when the kills came, and fails where the two runs differ in any bit of their
final state, in a line of metrics, or in their scores.
"""

import argparse
import collections
import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from small_job import start_run

from focus_jax.training.schedule import Schedule, phase_at
from focus_jax.weights import checkpoint

LONGER = [f"--config.schedule.{k}={v}" for k, v in {"warmup": 4, "joint": 12}.items()]


def last_step(workdir: Path) -> int:
    """The step of the last whole line of metrics; 0 before the first."""
    path = workdir / "metrics.jsonl"
    whole = path.read_text().rpartition("\n")[0].splitlines() if path.exists() else []
    return json.loads(whole[-1])["step"] if whole else 0


def schedule_of(workdir: Path) -> Schedule:
    return Schedule(**json.loads((workdir / "config.json").read_text())["schedule"])


def run_to_the_end(cache: Path, workdir: Path, *flags: str) -> float:
    """Seconds that an undisturbed run took."""
    begun = time.monotonic()
    run = start_run(cache, workdir, *flags)
    output, _ = run.communicate(timeout=1800)
    assert run.returncode == 0, output
    return time.monotonic() - begun


def kill_once(
    cache: Path,
    workdir: Path,
    *flags: str,
    target: int,
    chance: random.Random,
    number: int = signal.SIGKILL,
) -> tuple[str, int]:
    """Start or resume the run, and kill it at a random moment from step `target` on, or in its
    beginning where that has been: what was seen, and its status."""
    came = last_step(workdir) >= target
    begun = time.time()
    run = start_run(cache, workdir, *flags)
    deadline = begun + chance.uniform(0.0, 15.0)
    while run.poll() is None:
        # A resumed run first drops the lines that come again, so that there may be fewer.
        if time.time() > deadline if came else last_step(workdir) >= target:
            time.sleep(chance.uniform(0.0, 0.2))
            run.send_signal(number)
            break
        time.sleep(0.05)
    output, _ = run.communicate(timeout=600)
    assert run.returncode in (0, number, -number, 75), output
    step = last_step(workdir)
    when = "in the beginning, " if came else ""
    begun_one = (workdir / "config.json").exists()
    stage = phase_at(step, schedule_of(workdir)).stage if begun_one else "nothing written yet"
    when += f"at step {step}, {stage}"
    written = (workdir / "checkpoints").glob("*tmp*")
    partly = any(p.stat().st_mtime > begun for p in written)  # not that of an earlier kill
    return f"{when}{', a checkpoint half written' if partly else ''}", run.returncode


def targets(total: int, kills: int, chance: random.Random) -> list[int]:
    """Steps at which to kill: one in each equal part of the run, but not in its last two steps."""
    return [int((total - 2) * (number + chance.random()) / kills) for number in range(kills)]


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
    for target in targets(schedule_of(folder / "whole").total, kills, chance):
        what, status = kill_once(
            folder / "cache", folder / "killed", *flags, target=target, chance=chance
        )
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
    given.folder.mkdir(parents=True, exist_ok=True)
    told = kill_and_compare(given.folder, given.kills, *LONGER, seed=given.seed)
    halves = sum("half written" in what for what in told)
    stages = collections.Counter(what.split(", ")[-1 - ("half written" in what)] for what in told)
    print(f"{len(told)} kills, {halves} while a checkpoint was being written: no bit differs")
    print(", ".join(f"{stage}: {count}" for stage, count in stages.items()))
