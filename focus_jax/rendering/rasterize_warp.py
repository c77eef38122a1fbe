"""The rasterizer's Warp kernels as JAX functions, with the signatures of `rasterize_jnp`.

`python -m focus_jax.rendering.rasterize_warp --compile sm_80 sm_90` compiles the kernels without
a GPU.
"""

# pyright: reportArgumentType=false, reportInvalidTypeForm=false, reportUnknownParameterType=false
# (Warp declares the arrays of a call by annotations that are not types.)

import argparse
import concurrent.futures
import functools
import itertools
import os
import pathlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import warp as wp

from focus_jax.rendering import rasterize_kernels as kernels
from focus_jax.types import AnyArray

_NUMBERING = threading.Lock()

_Buffer: TypeAlias = "wp.array[Any, Any]"

# --- Launches ------------------------------------------------------------------------------------


@functools.cache
def _workers(process: int) -> concurrent.futures.ThreadPoolExecutor:
    """Threads for this process; a forked child must not wait for its parent's."""
    return concurrent.futures.ThreadPoolExecutor(_cores(), "rasterize")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _on_cpu(buffer: _Buffer) -> bool:
    return buffer.device is not None and buffer.device.is_cpu


def _launch(steps: Callable[..., None], *arrays: _Buffer) -> None:
    """Run `steps(*arrays)`, all of a batch: on CPU in threads, each with its part of the images.

    Warp's own CPU launches use one thread, and its calls from several JAX CPU devices take turns:
    this is where more cores are put to use. Images share nothing, so that the result does not
    depend on the number of parts.
    """
    batch = len(arrays[0])
    parts = min(batch, _cores()) if _on_cpu(arrays[0]) else 1
    if parts == 1:
        steps(*arrays)
        return
    bounds = [batch * part // parts for part in range(parts + 1)]
    jobs = [
        _workers(os.getpid()).submit(steps, *(array[low:high] for array in arrays))
        for low, high in itertools.pairwise(bounds)
    ]
    for job in jobs:
        job.result()


def _each(
    kernel: wp.Kernel, shape: int | Sequence[int], inputs: Sequence[Any], outputs: Sequence[_Buffer]
) -> None:
    wp.launch(kernel, dim=shape, inputs=inputs, outputs=outputs, device=outputs[0].device)


def _runs(
    kernel: wp.Kernel, shape: Sequence[int], inputs: Sequence[Any], outputs: Sequence[_Buffer]
) -> None:
    """Launch over `shape`: along its last axis a thread takes all on CPU, one on CUDA."""
    run = max(shape[-1], 1) if _on_cpu(outputs[0]) else 1
    _each(kernel, (*shape[:-1], shape[-1] // run), [*inputs, run], outputs)


def _as_keys(scratch: _Buffer) -> _Buffer:
    """int32 [b h w 2], which JAX has without x64, as int64 [b h w]."""
    return wp.array(
        ptr=scratch.ptr, dtype=wp.int64, shape=scratch.shape[:3], device=scratch.device, copy=False
    )


def _find(screen: _Buffer, triangles: _Buffer, perspective: int, nearest: _Buffer) -> None:
    _each(kernels.clear_nearest, nearest.shape, [], [nearest])
    inputs = [screen, triangles, perspective]
    _each(kernels.draw_triangles, (len(screen), len(triangles)), inputs, [nearest])


def _index_steps(
    screen: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    perspective: wp.int32,
    scratch: wp.array4d(dtype=wp.int32),
    triangle_id: wp.array3d(dtype=wp.int32),
) -> None:
    def steps(screen: _Buffer, scratch: _Buffer, triangle_id: _Buffer) -> None:
        nearest = _as_keys(scratch)
        if _on_cpu(screen):
            outputs = [nearest, triangle_id]
            _each(kernels.index_images, len(screen), [screen, triangles, perspective], outputs)
        else:
            _find(screen, triangles, perspective, nearest)
            _each(kernels.index_pixels, nearest.shape, [nearest], [triangle_id])

    _launch(steps, screen, scratch, triangle_id)


def _image_steps(
    screen: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    attributes: wp.array3d(dtype=wp.float32),
    perspective: wp.int32,
    scratch: wp.array4d(dtype=wp.int32),
    triangle_id: wp.array3d(dtype=wp.int32),
    values: wp.array4d(dtype=wp.float32),
) -> None:
    def steps(
        screen: _Buffer,
        attributes: _Buffer,
        scratch: _Buffer,
        triangle_id: _Buffer,
        values: _Buffer,
    ) -> None:
        nearest = _as_keys(scratch)
        inputs = [screen, triangles, attributes, perspective]
        if _on_cpu(screen):
            outputs = [nearest, triangle_id, values]
            _each(kernels.render_images, len(screen), inputs, outputs)
        else:
            _find(screen, triangles, perspective, nearest)
            outputs = [triangle_id, values]
            _each(kernels.shade_nearest, nearest.shape, [*inputs, nearest], outputs)

    _launch(steps, screen, attributes, scratch, triangle_id, values)


def _values_steps(
    screen: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    attributes: wp.array3d(dtype=wp.float32),
    triangle_id: wp.array3d(dtype=wp.int32),
    perspective: wp.int32,
    values: wp.array4d(dtype=wp.float32),
) -> None:
    def steps(screen: _Buffer, attributes: _Buffer, triangle_id: _Buffer, values: _Buffer) -> None:
        inputs = [screen, triangles, attributes, triangle_id, perspective]
        _runs(kernels.shade_pixels, triangle_id.shape, inputs, [values])

    _launch(steps, screen, attributes, triangle_id, values)


def _weights_steps(
    screen: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    triangle_id: wp.array3d(dtype=wp.int32),
    perspective: wp.int32,
    weights: wp.array3d(dtype=wp.vec3),
) -> None:
    def steps(screen: _Buffer, triangle_id: _Buffer, weights: _Buffer) -> None:
        inputs = [screen, triangles, triangle_id, perspective]
        _runs(kernels.weigh_pixels, triangle_id.shape, inputs, [weights])

    _launch(steps, screen, triangle_id, weights)


def _backward_steps(
    screen: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    attributes: wp.array3d(dtype=wp.float32),
    triangle_id: wp.array3d(dtype=wp.int32),
    cotangent: wp.array4d(dtype=wp.float32),
    perspective: wp.int32,
    grad_screen: wp.array2d(dtype=wp.vec3),
    grad_attributes: wp.array3d(dtype=wp.float32),
) -> None:
    def steps(
        screen: _Buffer,
        attributes: _Buffer,
        triangle_id: _Buffer,
        cotangent: _Buffer,
        *outputs: _Buffer,
    ) -> None:
        inputs = [screen, triangles, attributes, triangle_id, cotangent, perspective]
        for gradient in outputs:
            gradient.zero_()
        _runs(kernels.backward_pixels, triangle_id.shape, inputs, outputs)

    _launch(steps, screen, attributes, triangle_id, cotangent, grad_screen, grad_attributes)


def _ordered_backward_steps(
    screen: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    attributes: wp.array3d(dtype=wp.float32),
    triangle_id: wp.array3d(dtype=wp.int32),
    cotangent: wp.array4d(dtype=wp.float32),
    order: wp.array(dtype=wp.int32),
    starts: wp.array(dtype=wp.int32),
    perspective: wp.int32,
    scratch: wp.array4d(dtype=wp.float32),
    grad_screen: wp.array2d(dtype=wp.vec3),
    grad_attributes: wp.array3d(dtype=wp.float32),
) -> None:
    count, width = len(triangles), attributes.shape[2] + 3

    def steps(
        screen: _Buffer,
        attributes: _Buffer,
        triangle_id: _Buffer,
        cotangent: _Buffer,
        scratch: _Buffer,
        *outputs: _Buffer,
    ) -> None:
        inputs = [screen, triangles, attributes, triangle_id, cotangent, perspective]
        _runs(kernels.backward_triangles, (len(screen), count), inputs, [scratch])
        inputs = [scratch.reshape((len(screen), 3 * count, width)), order, starts]
        _runs(kernels.gather_corners, screen.shape, inputs, outputs)

    gradients = grad_screen, grad_attributes
    _launch(steps, screen, attributes, triangle_id, cotangent, scratch, *gradients)


def _callable(steps: Callable[..., None], outputs: int) -> Callable[..., Sequence[jax.Array]]:
    # Warp loads the module that a function belongs to before calling it, and launches kernels of
    # it: the kernels' module, not this one, whose compilation to nothing would take a second.
    steps.__module__ = kernels.__name__
    made = wp.jax_callable(steps, num_outputs=outputs)

    def call(
        *arrays: AnyArray, perspective: bool, output_dims: dict[str, tuple[int, ...]]
    ) -> Sequence[jax.Array]:
        # Warp numbers its calls as they are traced, and finds what is not an array by the number,
        # which a compiled program holds. Here it is that one integer itself, so that the program
        # runs in any process.
        with _NUMBERING:
            made.call_id = number = int(perspective)
            return made(*arrays, number, output_dims=output_dims)

    return call


# Built once: each construction registers a new call with XLA.
_index_call = _callable(_index_steps, 2)
_image_call = _callable(_image_steps, 3)
_values_call = _callable(_values_steps, 1)
_weights_call = _callable(_weights_steps, 1)
_backward_call = _callable(_backward_steps, 2)
_ordered_backward_call = _callable(_ordered_backward_steps, 3)


# --- The backend's five functions, as in `rasterize_jnp` -----------------------------------------


def index_map(
    screen: AnyArray, triangles: AnyArray, height: int, width: int, perspective: bool
) -> jax.Array:
    """Nearest triangle of each pixel, [b h w] int32, -1 outside."""
    pixels = (screen.shape[0], height, width)
    dims = {"scratch": (*pixels, 2), "triangle_id": pixels}
    return _index_call(screen, triangles, perspective=perspective, output_dims=dims)[1]


def image(
    screen: AnyArray,
    triangles: AnyArray,
    attributes: AnyArray,
    height: int,
    width: int,
    perspective: bool,
) -> tuple[jax.Array, jax.Array]:
    """Interpolated attributes [b h w c] and the index map [b h w]."""
    pixels = (screen.shape[0], height, width)
    values = (*pixels, attributes.shape[2])
    dims = {"scratch": (*pixels, 2), "triangle_id": pixels, "values": values}
    arrays = screen, triangles, attributes
    _, triangle_id, image = _image_call(*arrays, perspective=perspective, output_dims=dims)
    return image, triangle_id


def interpolate(
    screen: AnyArray,
    triangles: AnyArray,
    attributes: AnyArray,
    triangle_id: AnyArray,
    perspective: bool,
) -> jax.Array:
    """Attributes [b v c] at each pixel, [b h w c]; zero outside."""
    dims = {"values": (*triangle_id.shape, attributes.shape[2])}
    arrays = screen, triangles, attributes, triangle_id
    return _values_call(*arrays, perspective=perspective, output_dims=dims)[0]


def barycentric(
    screen: AnyArray, triangles: AnyArray, triangle_id: AnyArray, perspective: bool
) -> jax.Array:
    """Weights of the corners of each pixel's triangle, [b h w 3]; zero outside."""
    dims = {"weights": triangle_id.shape}
    arrays = screen, triangles, triangle_id
    return _weights_call(*arrays, perspective=perspective, output_dims=dims)[0]


def backward(
    screen: AnyArray,
    triangles: AnyArray,
    attributes: AnyArray,
    triangle_id: AnyArray,
    cotangent: AnyArray,
    perspective: bool,
    deterministic: bool,
) -> tuple[jax.Array, jax.Array]:
    """Gradients of `interpolate` for the screen positions [b v 3] and the attributes [b v c].

    On CUDA the sums' last bits depend on the order of threads, unless `deterministic`.
    """
    dims = {"grad_screen": screen.shape[:2], "grad_attributes": attributes.shape}
    arrays = screen, triangles, attributes, triangle_id, cotangent
    if not deterministic:
        to_screen, to_attributes = _backward_call(
            *arrays, perspective=perspective, output_dims=dims
        )
        return to_screen, to_attributes
    owners = triangles.reshape(-1)
    order = jnp.argsort(owners, stable=True).astype(jnp.int32)
    vertices = jnp.arange(screen.shape[1] + 1, dtype=jnp.int32)
    starts = jnp.searchsorted(owners[order], vertices).astype(jnp.int32)
    dims["scratch"] = (screen.shape[0], triangles.shape[0], 3, attributes.shape[2] + 3)
    _, to_screen, to_attributes = _ordered_backward_call(
        *arrays, order, starts, perspective=perspective, output_dims=dims
    )
    return to_screen, to_attributes


@functools.cache
def expect_programs() -> None:
    """Let programs run here whose calls another process traced."""
    shape, size = jax.ShapeDtypeStruct, (1, 1)
    one = shape((1, 3, 3), jnp.float32)
    triangles, pixels = (shape(s, jnp.int32) for s in ((1, 3), (1, *size)))

    def trace(
        screen: AnyArray, triangles: AnyArray, attributes: AnyArray, pixels: AnyArray
    ) -> None:
        for perspective in (False, True):
            index_map(screen, triangles, *size, perspective)
            image(screen, triangles, attributes, *size, perspective)
            interpolate(screen, triangles, attributes, pixels, perspective)
            barycentric(screen, triangles, pixels, perspective)
            cotangent = jnp.zeros((1, *size, 3))
            for deterministic in (False, True):
                arrays = screen, triangles, attributes, pixels, cotangent
                backward(*arrays, perspective, deterministic)

    jax.eval_shape(trace, one, triangles, one, pixels)


def main() -> None:
    """Compile all kernels for the architectures given, on a machine with or without a GPU."""
    parser = argparse.ArgumentParser(description="Compile the rasterizer's kernels to cubins.")
    parser.add_argument("--compile", nargs="+", required=True, metavar="sm_80")
    parser.add_argument("--directory", type=pathlib.Path, help="instead of Warp's cache")
    arguments = parser.parse_args()
    paths = wp.compile_aot_module(
        kernels,
        arch=[int(name.removeprefix("sm_")) for name in arguments.compile],
        module_dir=arguments.directory,
        use_ptx=False,
    )
    for path in paths:
        print(path)


if __name__ == "__main__":
    main()
