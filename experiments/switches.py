"""What the settings of `config.compute` and the compilation cache do to a toy job.

    python -m experiments.switches             prints the table of docs/scaling.md

The toy job is configs/em.py on 100 synthetic faces with the encoder that learns from pixels and
the U-Net in the authors' form: 60 steps of the initialisation, 20 of the pre-training and 60 joint
ones. Each row is a run of its own. Time is the processor's, of all cores, without compiling: the
job's time less that of the same job ended after the first steps. Losses are means over the last
five joint steps of each network. Starts are the time of the short job, whose steps are the same in
both: compiled, and with the programs that the first run kept.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import measure
from configs import em
from focus_jax.data.source import load_splits
from focus_jax.evaluation import report

VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "compute.dtype=bfloat16": {"compute.dtype": "bfloat16"},
    "compute.remat=True": {"compute.remat": True},
    "compute.parts=2": {"compute.parts": 2},
}
JOB = {
    "compare": False,
    "encoder.kind": "small",
    "segmenter.stem": "authors",
    "data.train_count": 100,
    "data.validation_count": 8,
    "data.test_count": 8,
    "log_every": 1,
    "evaluate_every": 1000,
    "checkpoint_every": 1000,
    "schedule.warmup": 0,
    "schedule.initialisation": 60,
    "schedule.pretraining": 20,
    "schedule.joint": 60,
    "schedule.period": 60,
    "schedule.segmenter_steps": 30,
}
SHORT = {
    "schedule.initialisation": 2,
    "schedule.pretraining": 2,
    "schedule.joint": 4,
    "schedule.period": 4,
    "schedule.segmenter_steps": 2,
}
STEPS = 140 - 8


class Run(NamedTuple):
    """Of one process: processor seconds, peak memory in GB, last losses of the two networks."""

    seconds: float
    peak: float
    losses: list[float]


def run(changes: dict[str, Any], cache: Path) -> Run:
    """The job with these changes, compiled programs in `cache`. RuntimeError when it fails."""
    with tempfile.TemporaryDirectory() as workdir:
        command = [sys.executable, "-m", "focus_jax.main", "--config=configs/em.py"]
        command += [f"--workdir={workdir}"]
        command += [f"--config.{name}={value}" for name, value in {**JOB, **changes}.items()]
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
        child = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert child.stderr is not None
        messages = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            raise RuntimeError(f"{command}: {messages[-2000:]}")
        lines = map(json.loads, (Path(workdir) / "metrics.jsonl").read_text().splitlines())
        losses: dict[str, list[float]] = {"train segmenter": [], "train autoencoder": []}
        for line in lines:
            if line["kind"] in losses:
                losses[line["kind"]].append(line["loss"])
    last = [sum(values[-5:]) / len(values[-5:]) for values in losses.values()]
    return Run(_processor(usage), usage.ru_maxrss / 2**20, last)


def _processor(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    config = em.get_config()
    config.update_from_flattened_dict(JOB)
    for records in load_splits(config, None):
        _ = records[:]  # made now, and not in the time of the first run
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, changes) in enumerate(VARIANTS.items()):
            cache = Path(folder) / str(number)
            cold = run({**changes, **SHORT}, cache)
            cached = run({**changes, **SHORT}, cache)
            whole = run(changes, cache)
            step = (whole.seconds - cached.seconds) / STEPS
            rows.append([name, step, whole.peak, *whole.losses, cold.seconds, cached.seconds])
            print(rows[-1], file=sys.stderr)
    header = ["setting", "s / step", "peak GB", "segmenter loss", "autoencoder loss"]
    header += ["start s", "start, cached, s"]
    print(report.table(header, rows) + "\n\n" + measure.machine("jax"))


if __name__ == "__main__":
    main()
