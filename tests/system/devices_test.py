"""An environment that JAX takes badly."""

import os
import subprocess
import sys

import jax
import pytest

from focus_jax.system import devices


@pytest.mark.parametrize("problem", [AssertionError(), RuntimeError("Unknown backend cuda\nmore")])
def test_a_device_that_is_not_there_is_said_in_a_sentence(monkeypatch, problem):
    def none():
        raise problem

    monkeypatch.setattr(jax, "devices", none)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(ValueError, match=r"no device for JAX_PLATFORMS='cuda' \((none|Unknown)"):
        devices.check()


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """A machine with an NVIDIA GPU whose driver is of the version that is given."""
    for name in ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(devices, "GPU_FILES", (str(tmp_path / "nvidia[0-9]*"),))
    monkeypatch.setattr(devices, "DRIVER", tmp_path / "version")

    def with_driver(text):
        devices.DRIVER.write_text(text)

    return with_driver


@pytest.mark.parametrize(
    ("driver", "extra"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19", "cuda12"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Re", "cuda13"),
        ("something else", "cuda13"),
    ],
)
def test_a_gpu_that_jax_cannot_use_is_told_of_once(gpu, caplog, driver, extra):
    gpu(driver)
    devices.check()
    (said,) = [record.getMessage() for record in caplog.records]
    assert f'pip install "jax[{extra}]"' in said and f"make em EXTRA={extra}" in said


@pytest.mark.parametrize("name", ["JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES"])
def test_who_asked_for_the_cpu_is_told_nothing(gpu, monkeypatch, name):
    gpu("580.1")
    monkeypatch.setenv(name, "cpu")
    assert devices.unused_gpu() is None


def test_without_a_gpu_nothing_is_told(gpu, monkeypatch, tmp_path):
    gpu("580.1")
    monkeypatch.setattr(devices, "GPU_FILES", (str(tmp_path / "no*"),))
    assert devices.unused_gpu() is None
    monkeypatch.setattr(devices, "GPU_FILES", (str(tmp_path / "nvidia*"),))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert devices.unused_gpu() is None


def run(*command, **environment):
    changed = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, *command], env=changed, capture_output=True, text=True, timeout=300
    )


def test_commands_compute_in_single_precision_whatever_the_environment_says():
    code = (
        "import jax, jax.numpy as jnp, numpy as np\n"
        "from focus_jax.system.command import in_one_sentence\n"
        "print(in_one_sentence(lambda x: print(jnp.asarray(np.ones(2)).dtype, "
        "(jnp.int32(1) + jnp.float32(x)).dtype))(1))"
    )
    found = run("-c", code, JAX_ENABLE_X64="1", JAX_NUMPY_DTYPE_PROMOTION="strict")
    assert found.stdout.split() == ["float32", "float32", "0"], found.stderr


def test_a_command_without_its_device_ends_in_one_sentence(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no photo")
    command = ("-m", "focus_jax", "segment", str(tmp_path / "a.png"), "--out", str(tmp_path / "o"))
    found = run(*command, JAX_PLATFORMS="no_such_device")
    assert found.returncode == 1 and "Traceback" not in found.stderr
    assert found.stderr.strip().splitlines()[-1].startswith("error: JAX finds no device")
