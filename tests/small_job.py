"""The smallest run that passes through every stage: a config file, and how tests start it.

python -m focus_jax.main --config=tests/small_job.py:CACHE --workdir=DIR
"""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from configs import em

ROOT = Path(__file__).resolve().parents[1]
# As in conftest.py: quick compilation, the last two of jaxlib 0.10 alone.
FLAGS = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
if version("jaxlib").startswith("0.10."):
    FLAGS += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"


def get_config(cache: str) -> Any:
    """14 steps on 8 synthetic faces of 32 pixels, whose records are kept in `cache`."""
    config = em.get_config("smoke")
    config.name = "small"
    config.compare = False
    config.encoder.kind = "small"
    config.segmenter.width = 2
    config.face_model.modes = {"identity": 4, "expression": 3, "albedo": 2}
    config.data.update(size=32, batch_size=4, train_count=8, validation_count=4, test_count=4)
    config.data.cache = cache
    config.losses.update(perceptual=0.0, coefficients=0.0)
    config.schedule.update(
        renderings=0,
        warmup=2,
        initialisation=3,
        pretraining=3,
        joint=6,
        period=3,
        segmenter_steps=1,
    )
    config.evaluate_every, config.checkpoint_every, config.log_every = 4, 2, 1
    return config


def environment(*, devices: int = 1) -> dict[str, str]:
    """Of a process with that many virtual devices, which finds the project and the tests."""
    flags = f"--xla_force_host_platform_device_count={devices} {FLAGS}"
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": paths}


def start(command: list[Any], *, devices: int = 1) -> subprocess.Popen[str]:
    """Python with these arguments, in the project's folder."""
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=environment(devices=devices),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_run(cache: Path, workdir: Path, *flags: str, devices: int = 1) -> subprocess.Popen[str]:
    """The small job as a user starts it."""
    command = ["-m", "focus_jax.main", f"--config=tests/small_job.py:{cache}"]
    return start([*command, f"--workdir={workdir}", *flags], devices=devices)
