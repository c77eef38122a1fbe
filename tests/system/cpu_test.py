"""Memory that is freed is used again, and XLA compiles sums for the CPU itself."""

import os
import subprocess
import sys
from importlib.metadata import version
from types import SimpleNamespace

import pytest

from configs import em

CODE = """
import ctypes, resource
from focus_jax.system.cpu import keep_freed_memory
if {keep} and not keep_freed_memory():
    raise SystemExit(3)
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
size = 64 << 20
for _ in range(5):
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def faults(keep):
    code = CODE.format(keep=keep)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode == 3:
        pytest.skip("not glibc")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_pages_are_faulted_in_once():
    assert faults(keep=True) < faults(keep=False) / 2


def compiled_program(xla_flags):
    """A sum over three channels, compiled with these XLA_FLAGS after `leave_ynnpack_products`."""
    code = """
from focus_jax.system.cpu import leave_ynnpack_products
import os
before = os.environ["XLA_FLAGS"]
told = leave_ynnpack_products()
assert os.environ["XLA_FLAGS"] == before, "programs that this one starts may have another XLA"
import jax, jax.numpy as jnp
f = jax.jit(lambda x: jnp.sum(x * x, -1))
print(told, f.lower(jnp.zeros((32, 3000, 3))).compile().as_text())
"""
    environment = {**os.environ, "XLA_FLAGS": xla_flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    told, _, program = done.stdout.partition(" ")
    return told == "True", program


def test_xla_is_told_to_compile_sums_itself():
    if not version("jaxlib").startswith("0.10."):
        pytest.skip("another jaxlib, whose flags are not known")
    told, program = compiled_program("--xla_cpu_use_fusion_emitters=true")
    assert told
    assert "ynn" not in program


def test_a_setting_of_the_user_stays():
    set_by_user = "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_REDUCE"
    told, program = compiled_program(set_by_user)
    assert not told
    assert "ynn" in program


def test_a_training_on_large_pictures_leaves_xlas_choice(monkeypatch, tmp_path):
    from focus_jax import main
    from focus_jax.system import cpu

    told = []
    monkeypatch.setattr(cpu, "leave_ynnpack_products", lambda: told.append(size))
    monkeypatch.setattr(main, "train", lambda *_, **__: {})
    monkeypatch.setattr(main, "write_summary", lambda *_: "")
    monkeypatch.setattr(main, "_WORKDIR", SimpleNamespace(value=str(tmp_path)))
    for size in (64, 224):
        config = em.get_config("smoke")
        config.data.size = size
        monkeypatch.setattr(main, "_CONFIG", SimpleNamespace(value=config))
        main.main(["main"])
    assert told == [64]
