"""`focus-jax --version`: what a report of an error should say of the machine and the model."""

import platform
import sys
from importlib.metadata import version

import jax

from focus_jax.photos.trained import load_model
from focus_jax.system import devices
from focus_jax.system.command import in_one_sentence, quiet


def main() -> int:
    """Print versions, devices and the shipped model; returns the exit status."""
    quiet()
    return in_one_sentence(_print)(None)


def _print(_: None) -> None:
    devices.check()
    found = jax.devices()
    kinds = ", ".join(sorted({device.device_kind for device in found}))
    print(f"focus_jax {version('focus_jax')}")
    packages = ("jax", "jaxlib", "flax", "warp-lang", "numpy")
    print(", ".join(f"{name} {version(name)}" for name in packages))
    print(f"Python {platform.python_version()} on {sys.platform} {platform.machine()}")
    print(f"backend {jax.default_backend()}: {len(found)} x {kinds}")
    shipped = load_model("shipped")
    print(f"model {shipped.name}: weights {shipped.weights}, face model {shipped.face_model.name}")
