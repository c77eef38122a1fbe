"""What is freed is used again, instead of going back to the system."""

import subprocess
import sys

import pytest

CODE = """
import ctypes, resource
from focus_jax.memory import keep_freed_memory
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
