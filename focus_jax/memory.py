"""Memory that is freed is kept: what XLA asks for anew in every step costs the most to get."""

import ctypes
import sys

# Of <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8


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
