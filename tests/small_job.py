"""The smallest run that passes through every stage, and how tests start it in other processes."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Compiled programs of the small job, for the processes of one test session.
ONE_DEVICE = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def small_config(folder: Path, **changes: Any) -> Any:
    """A config of 14 steps on 8 synthetic faces of 32 pixels, whose records are kept in `folder`."""
    spec = importlib.util.spec_from_file_location("em", ROOT / "configs" / "em.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config("smoke")
    config.name = "small"
    config.compare = False
    config.encoder.kind = "small"
    config.segmenter.width = 2
    config.face_model.modes = {"identity": 4, "expression": 3, "albedo": 2}
    config.data.update(size=32, batch_size=4, train_count=8, validation_count=4, test_count=4)
    config.data.cache = str(folder)
    config.losses.update(perceptual=0.0, distance=0.0, preserve=0.0)
    config.schedule.update(
        warmup=2, initialisation=3, pretraining=3, joint=6, period=3, segmenter_steps=1
    )
    config.evaluate_every, config.checkpoint_every, config.log_every = 4, 2, 1
    config.update_from_flattened_dict(changes)
    return config


def environment(*, devices: int = 1, **more: str) -> dict[str, str]:
    """Of a process with that many virtual devices, which finds the project and the tests."""
    flags = f"--xla_force_host_platform_device_count={devices} {ONE_DEVICE}"
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": paths, **more}


def start(code: str, *arguments: Any, devices: int = 1, **more: str) -> subprocess.Popen[str]:
    """A process that runs `code` with the arguments in `sys.argv`."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment(devices=devices, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
