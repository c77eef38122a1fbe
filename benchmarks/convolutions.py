"""Time of convolutions and of their gradients: XLA's, ours, PyTorch's, as a Markdown table.

    python -m benchmarks.convolutions full       shapes of the paper's networks; two minutes
    python -m benchmarks.convolutions default    of the networks of configs/em.py

Each with the settings that the training has at that size.
"""

import argparse
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks import measure, step
from focus_jax.evaluation import report
from focus_jax.networks import convolution

# By the size of the job: batch, size of the map, of the kernel, stride, channels in and out.
SHAPES = {
    "full": (
        (4, 56, 1, 1, 64, 256),
        (4, 7, 3, 1, 512, 512),
        (4, 224, 7, 2, 3, 64),
        (4, 224, 3, 1, 6, 64),
        (4, 224, 3, 1, 64, 64),
        (4, 112, 3, 1, 128, 128),
        (4, 56, 3, 1, 256, 256),
        (4, 28, 3, 1, 512, 512),
        (4, 14, 3, 1, 1024, 1024),
    ),
    "default": (
        (32, 64, 3, 1, 1, 1),
        (32, 32, 3, 1, 24, 8),
        (32, 32, 3, 1, 8, 8),
        (32, 16, 3, 1, 16, 16),
        (32, 14, 3, 1, 32, 32),
        (32, 2, 3, 1, 128, 128),
    ),
}
COLUMNS = ("XLA", "ours", "PyTorch")
PRODUCTS = ("forward", "gradient of the input", "gradient of the kernel")


def xla(x: jax.Array, kernel: jax.Array, *, stride: int, padding: int) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def products(convolve: Callable, x: Any, kernel: Any, cotangent: Any) -> list[Callable[[], Any]]:
    """The three products of a convolution, each compiled alone."""
    functions = (
        lambda x, kernel, g: convolve(x, kernel),
        lambda x, kernel, g: jax.vjp(lambda x: convolve(x, kernel), x)[1](g)[0],
        lambda x, kernel, g: jax.vjp(lambda k: convolve(x, k), kernel)[1](g)[0],
    )
    return [functools.partial(jax.jit(function), x, kernel, cotangent) for function in functions]


def torch_products(
    x: Any, kernel: Any, cotangent: Any, *, stride: int, padding: int
) -> list[Callable[[], Any]]:
    import torch

    x, cotangent = (torch.tensor(np.moveaxis(a, -1, 1).copy()) for a in (x, cotangent))
    kernel = torch.tensor(np.transpose(kernel, (3, 2, 0, 1)).copy())

    def backward(which: list[bool]) -> Any:
        return torch.ops.aten.convolution_backward(
            *(cotangent, x, kernel, None, [stride] * 2, [padding] * 2, [1, 1]),
            *(False, [0, 0], 1, which),
        )

    return [
        lambda: torch.nn.functional.conv2d(x, kernel, None, stride, padding),
        lambda: backward([True, False, False]),
        lambda: backward([False, True, False]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time convolutions and their gradients.")
    parser.add_argument("size", choices=SHAPES)
    size_of_job = parser.parse_args().size
    step.prepare(size_of_job)
    rng = np.random.default_rng(0)
    rows = []
    for batch, size, side, stride, channels, features in SHAPES[size_of_job]:
        options = {"stride": stride, "padding": side // 2}
        x = rng.standard_normal((batch, size, size, channels), np.float32)
        kernel = rng.standard_normal((side, side, channels, features), np.float32)
        small = -(-size // stride)
        cotangent = rng.standard_normal((batch, small, small, features), np.float32)
        arrays = jax.device_put((x, kernel, cotangent))
        made = {
            "XLA": products(functools.partial(xla, **options), *arrays),
            "ours": products(functools.partial(convolution.convolve, **options), *arrays),
        }
        if measure.installed("torch"):
            made["PyTorch"] = torch_products(x, kernel, cotangent, **options)
        shape = f"{batch} x {size} x {size}, {side} x {side}, {channels} -> {features}"
        for number, product in enumerate(PRODUCTS):
            found = measure.best({k: tasks[number] for k, tasks in made.items()}, budget=2.0)
            times = [1e3 * found[k].wall if k in found else None for k in COLUMNS]
            rows.append([shape + (f", stride {stride}" if stride > 1 else ""), product, *times])
            print(rows[-1], flush=True)
    print("\n" + report.table(["map, kernel, channels", "ms of", *COLUMNS], rows) + "\n")
    print(measure.machine("jax", *(["torch"] if measure.installed("torch") else [])))


if __name__ == "__main__":
    main()
