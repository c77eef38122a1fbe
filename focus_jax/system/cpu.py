"""What the commands set before JAX computes anything, for speed on a CPU; elsewhere it is idle."""

import ctypes
import os
import sys

from jaxlib import version, xla_client

# Of <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8

# What XLA gives to YNNPACK, and all of it that is left there.
YNNPACK = "--xla_cpu_experimental_ynn_fusion_type"
PRODUCTS = "LIBRARY_FUSION_TYPE_DOT"

# Pixels a side from which a training leaves XLA's choice: at 224 it is faster, at 64 far slower.
LARGE = 128

_told: dict[str, str] = {}  # what XLA was told in this process, beside the user's own settings


def prepare() -> None:
    """All of the below, as every command does but the training on pictures of `LARGE` pixels."""
    keep_freed_memory()
    leave_ynnpack_products()


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the next step; whether it can (glibc).

    XLA frees the buffers of a program when it ends, gigabytes for large networks. By default they
    go back to the system, whose every page costs a fault when it is next used: on a virtual machine
    a third of the time of a full-size step. To be called before JAX computes anything.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False  # another C library
    # Large blocks too from the one heap that grows and never shrinks.
    return all(mallopt(*x) for x in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_ARENA_MAX, 1)))


def leave_ynnpack_products() -> bool:
    """Let XLA compile convolutions and sums itself on CPU; whether it was told so.

    jaxlib 0.10 gives them to the library YNNPACK, which computes a small convolution in one thread
    and a sum over three channels several times as slowly as a plain loop. Matrix products with what
    follows them stay there: large ones are faster. A setting of the user's own in XLA_FLAGS stays
    too. To be called before JAX computes anything, since XLA reads it once.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    # XLA ends the process at a flag that it does not know: only where it is known to.
    if YNNPACK in flags or version.__version_info__[:2] != (0, 10):
        return False
    os.environ["XLA_FLAGS"] = _told["XLA_FLAGS"] = f"{flags} {YNNPACK}={PRODUCTS}".strip()
    try:
        _ = xla_client.CompileOptions().executable_build_options.debug_options  # reads them
    finally:  # programs that this one starts may have another XLA
        if flags:
            os.environ["XLA_FLAGS"] = flags
        else:
            del os.environ["XLA_FLAGS"]
    return True


def told() -> dict[str, str]:
    """Variables of a process that is to compute as this one does."""
    return dict(_told)
