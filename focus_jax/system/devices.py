"""What of JAX's environment the commands set right, or refuse in a sentence."""

import glob
import logging
import os
import re
from pathlib import Path

import jax

log = logging.getLogger(__name__)

# What Linux shows of an NVIDIA GPU (the last is Windows' subsystem for Linux), and of its driver.
GPU_FILES = ("/dev/nvidia[0-9]*", "/dev/dxg")
DRIVER = Path("/proc/driver/nvidia/version")
CUDA13_DRIVER = 580  # the first that runs CUDA 13


def single_precision() -> None:
    """Compute in float32 and mix types as NumPy does, whatever JAX_ENABLE_X64 and the like say.

    Of this process, which is a command's: who imports the package keeps the settings of their own.
    """
    jax.config.update("jax_enable_x64", False)
    jax.config.update("jax_numpy_dtype_promotion", "standard")


def check() -> None:
    """ValueError where JAX finds none of the devices that JAX_PLATFORMS asks for.

    JAX looks at its devices here: processes of one run must have found each other before.
    """
    try:
        jax.devices()
    except (AssertionError, RuntimeError) as error:  # an assertion without a text is JAX's own
        asked = os.environ.get("JAX_PLATFORMS", "")
        detail = (str(error).splitlines() or ["none is there"])[0]
        raise ValueError(
            f"JAX finds no device for JAX_PLATFORMS={asked!r} ({detail}); unset it, or install JAX "
            "for that device"
        ) from None
    if said := unused_gpu():
        log.warning("%s", said)


def unused_gpu() -> str | None:
    """One sentence where an NVIDIA GPU is there and JAX was installed without CUDA, else None.

    None too where JAX_PLATFORMS or CUDA_VISIBLE_DEVICES say what to use.
    """
    chosen = os.environ.get("JAX_PLATFORMS") or "CUDA_VISIBLE_DEVICES" in os.environ
    if chosen or jax.default_backend() != "cpu" or not any(map(glob.glob, GPU_FILES)):
        return None
    try:
        driver = re.search(r"\b(\d{3,})\.\d", DRIVER.read_text())
    except OSError:
        driver = None
    extra = "cuda12" if driver and int(driver[1]) < CUDA13_DRIVER else "cuda13"
    return (
        "an NVIDIA GPU is here, but JAX computes on the CPU; to use it: pip install "
        f'"jax[{extra}]" (or make em EXTRA={extra})'
    )
