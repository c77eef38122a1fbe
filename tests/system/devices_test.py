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
