"""Time of 3 x 3 convolutions and of their gradients: XLA's, ours, PyTorch's, as a Markdown table.

    python -m benchmarks.convolutions          the U-Net's shapes at batch 4; five minutes

Milliseconds of processor time, of all cores together.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks import measure
from focus_jax import convolution, cpu
from focus_jax.evaluation import report

BATCH = 4
SHAPES = ((224, 64, 64), (112, 128, 128), (56, 256, 256), (28, 512, 512), (14, 1024, 1024))
PRODUCTS = ("forward", "gradient of the input", "gradient of the kernel")


def xla(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def ours(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return convolution.convolve(x, kernel, padding=1)


def products(convolve: Callable, x: Any, kernel: Any, cotangent: Any) -> list[Callable[[], Any]]:
    """The three products of a convolution, each compiled alone."""
    functions = (
        lambda x, kernel, g: convolve(x, kernel),
        lambda x, kernel, g: jax.vjp(lambda x: convolve(x, kernel), x)[1](g)[0],
        lambda x, kernel, g: jax.vjp(lambda k: convolve(x, k), kernel)[1](g)[0],
    )
    return [functools.partial(jax.jit(function), x, kernel, cotangent) for function in functions]


def torch_products(x: Any, kernel: Any, cotangent: Any) -> list[Callable[[], Any]]:
    import torch

    x, cotangent = (torch.tensor(np.moveaxis(a, -1, 1).copy()) for a in (x, cotangent))
    kernel = torch.tensor(np.transpose(kernel, (3, 2, 0, 1)).copy())

    def backward(which: list[bool]) -> Any:
        return torch.ops.aten.convolution_backward(
            cotangent, x, kernel, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, which
        )

    return [
        lambda: torch.nn.functional.conv2d(x, kernel, padding=1),
        lambda: backward([True, False, False]),
        lambda: backward([False, True, False]),
    ]


def main() -> None:
    cpu.prepare()  # as the commands do
    rng = np.random.default_rng(0)
    rows = []
    for size, channels, features in SHAPES:
        x = rng.standard_normal((BATCH, size, size, channels), np.float32)
        kernel = rng.standard_normal((3, 3, channels, features), np.float32)
        cotangent = rng.standard_normal((BATCH, size, size, features), np.float32)
        arrays = jax.device_put((x, kernel, cotangent))
        made = {"XLA": products(xla, *arrays), "ours": products(ours, *arrays)}
        if measure.installed("torch"):
            made["PyTorch"] = torch_products(x, kernel, cotangent)
        for number, product in enumerate(PRODUCTS):
            found = measure.best({k: tasks[number] for k, tasks in made.items()}, budget=2.0)
            times = [round(1e3 * found[k].cpu) if k in found else None for k in ("XLA", "ours")]
            other = round(1e3 * found["PyTorch"].cpu) if "PyTorch" in found else None
            rows.append([f"{size} x {size}, {channels} -> {features}", product, *times, other])
            print(rows[-1], flush=True)
    print("\n" + report.table(["map", "product", "XLA", "ours", "PyTorch"], rows) + "\n")
    print(measure.machine("jax", *(["torch"] if measure.installed("torch") else [])))


if __name__ == "__main__":
    main()
