"""A convolution that takes the fastest of its forms for its shape.

XLA's convolutions on CPU are slow for some shapes; `python -m benchmarks.convolutions` times one of
each. A 1 x 1 kernel is faster as a matrix product, and so is a larger kernel with many channels on
few pixels once the shifted copies of the map lie side by side. A strided convolution of an image
is faster on blocks of 2 x 2 pixels, one channel to one as a sum over the kernel, and few channels
on many pixels when two neighbours are computed at once. 3 x 3 kernels between many channels are
Winograd's (`winograd.py`), and the gradient of a kernel with few channels on a large map is a
product of shifted copies.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from focus_jax.networks import winograd
from focus_jax.types import AnyArray

FEW_PIXELS = 256  # of all maps of a batch; more lose more by being copied than they gain
MANY_CHANNELS = 64
FEW_CHANNELS = 8  # of an image, or of two
FEW_FEATURES = 16  # computed channels up to which two pixels at once are faster
MANY_PIXELS = 8192  # of all maps of a batch, from which on that pays
# Winograd's form takes half the time, but seconds to compile; so do many shifted copies.
MANY_OPERATIONS = 9e8


def on_cpu() -> bool:
    """Whether the forms that only pay on a CPU are used."""
    return jax.default_backend() == "cpu"


def convolve(
    x: Float[AnyArray, "b h w c"],
    kernel: Float[AnyArray, "kh kw c d"],
    *,
    stride: int = 1,
    padding: int = 0,
) -> Float[Array, "b y x d"]:
    """Cross-correlation with zeros around, `padding` pixels on each side (as PyTorch counts it)."""
    kh, kw, channels, _ = kernel.shape
    if kh == kw == 1 and padding == 0:
        return x[:, ::stride, ::stride] @ kernel[0, 0]
    height, width = (
        (n + 2 * padding - k) // stride + 1 for n, k in zip(x.shape[1:3], (kh, kw), strict=True)
    )
    if not on_cpu():
        return _direct(x, kernel, stride, padding)
    if channels * kernel.shape[3] == 1 and stride == 1:
        return _sum_of_shifts(x, kernel, padding)
    if len(x) * height * width <= FEW_PIXELS and channels >= MANY_CHANNELS:
        return _shifted_copies(x, (kh, kw), stride, padding, height, width) @ kernel.reshape(
            kh * kw * channels, -1
        )
    if kh == kw and stride == 2 and channels <= FEW_CHANNELS:
        return _on_blocks(x, kernel, padding, height, width)
    operations = 2 * len(x) * height * width * kernel.size
    if (kh, kw, stride, padding) == (3, 3, 1, 1) and operations >= MANY_OPERATIONS:
        if min(kernel.shape[2:]) >= MANY_CHANNELS:
            return _three_by_three(x, kernel)
        if channels <= FEW_CHANNELS:
            return _of_few_channels(x, kernel)
    if kh == kw and stride == 1 and len(x) * height * width >= MANY_PIXELS:
        return _one_or_two(x, kernel, padding)
    return _direct(x, kernel, stride, padding)


def _direct(x: AnyArray, kernel: AnyArray, stride: int, padding: int) -> jax.Array:
    """XLA's own form."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _one_or_two(x: AnyArray, kernel: AnyArray, padding: int) -> jax.Array:
    """XLA's own form at stride 1, of two pixels at once where there are few channels to fill."""
    _, kw, _, features = kernel.shape
    if features > FEW_FEATURES:
        return _direct(x, kernel, 1, padding)
    width = x.shape[2] + 2 * padding - kw + 1
    edges = ((0, 0), (0, 1), (0, 0), (0, 0)), ((0, 0), (1, 0), (0, 0), (0, 0))
    left, right = (jnp.pad(kernel, edge) for edge in edges)
    y = jax.lax.conv_general_dilated(
        x,
        jnp.concatenate([left, right], -1),
        (1, 2),
        ((padding, padding), (padding, padding + width % 2)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y.reshape(*y.shape[:2], -1, features)[:, :, :width]


def _one_or_two_forward(x, kernel, padding):
    return _one_or_two(x, kernel, padding), (x, kernel)


def _one_or_two_backward(padding, residuals, cotangent):
    x, kernel = residuals
    size = kernel.shape[0]
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    _, to_kernel = jax.vjp(lambda kernel: _direct(x, kernel, 1, padding), kernel)
    return _one_or_two(cotangent, turned, size - 1 - padding), *to_kernel(cotangent)


_one_or_two.defvjp(_one_or_two_forward, _one_or_two_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _sum_of_shifts(x: AnyArray, kernel: AnyArray, padding: int) -> jax.Array:
    """One channel to one, as one loop over the pixels, and so the gradient of the map."""
    kh, kw, _, _ = kernel.shape
    return functools.reduce(
        jnp.add,
        (
            seen * kernel[place // kw, place % kw, 0, 0]
            for place, seen in enumerate(_shifts(x, (kh, kw), padding))
        ),
    )


def _sum_of_shifts_forward(x, kernel, padding):
    return _sum_of_shifts(x, kernel, padding), (x, kernel)


def _sum_of_shifts_backward(padding, residuals, cotangent):
    x, kernel = residuals
    kh, kw, _, _ = kernel.shape
    sums = [jnp.sum(seen * cotangent) for seen in _shifts(x, (kh, kw), padding)]
    whole = jnp.pad(cotangent, ((0, 0), (kh - 1, kh - 1), (kw - 1, kw - 1), (0, 0)))
    tall, wide = x.shape[1:3]
    inside = whole[:, padding : padding + tall + kh - 1, padding : padding + wide + kw - 1]
    to_x = _sum_of_shifts(inside, jnp.flip(kernel, (0, 1)), 0)
    return to_x, jnp.stack(sums).reshape(kernel.shape)


_sum_of_shifts.defvjp(_sum_of_shifts_forward, _sum_of_shifts_backward)


def _shifts(x: AnyArray, size: tuple[int, int], padding: int) -> list[jax.Array]:
    """What each place of the kernel sees, row by row."""
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height, width = (n - k + 1 for n, k in zip(x.shape[1:3], size, strict=True))
    return [x[:, i : i + height, j : j + width] for i in range(size[0]) for j in range(size[1])]


def _on_blocks(x: AnyArray, kernel: AnyArray, padding: int, height: int, width: int) -> jax.Array:
    """A convolution of stride 2 as one of stride 1 on blocks of 2 x 2 pixels."""
    kh, kw, _, _ = kernel.shape
    rows, columns = kh + kh % 2, kw + kw % 2
    kernel = jnp.pad(kernel, ((0, rows - kh), (0, columns - kw), (0, 0), (0, 0)))
    kernel = space_to_depth(kernel.transpose(3, 0, 1, 2)).transpose(1, 2, 3, 0)
    # As many pixels as the outputs see, whatever the image's size was.
    bottom, right = 2 * (height - 1) + rows, 2 * (width - 1) + columns
    grown = [
        max(0, need - n - padding) for need, n in zip((bottom, right), x.shape[1:3], strict=True)
    ]
    x = jnp.pad(x, ((0, 0), (padding, grown[0]), (padding, grown[1]), (0, 0)))
    return _one_or_two(space_to_depth(x[:, :bottom, :right]), kernel, 0)


def space_to_depth(x: Float[AnyArray, "b h w c"]) -> Float[AnyArray, "b y x d"]:
    """Each block of 2 x 2 pixels as one, its pixels (row by row) as further channels."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // 2, w // 2, 4 * c)


def _shifted_copies(
    x: AnyArray, size: tuple[int, int], stride: int, padding: int, height: int, width: int
) -> jax.Array:
    """Everything the kernel sees at each place, channels innermost: `[b height width kh*kw*c]`."""
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows, columns = stride * (height - 1) + 1, stride * (width - 1) + 1
    copies = [
        x[:, i : i + rows : stride, j : j + columns : stride]
        for i in range(size[0])
        for j in range(size[1])
    ]
    return jnp.concatenate(copies, axis=-1)


# --- twice the size, then 3 x 3 -------------------------------------------------------------------


def convolve_enlarged(
    x: Float[AnyArray, "b h w c"], kernel: Float[AnyArray, "3 3 c d"]
) -> Float[Array, "b 2*h 2*w d"]:
    """`convolve(enlarged, kernel, padding=1)` of the map with each pixel repeated 2 x 2.

    With a quarter of its multiplications, and without making the enlarged map. Along one axis, with
    the kernel (k0, k1, k2), their sum s, and the difference D[i] = x[i] - x[i-1], the outputs are
    y[2i] = s x[i] - k0 D[i] and y[2i+1] = s x[i] + k2 D[i+1]: three products for two outputs.
    """
    b, h, w, _ = x.shape
    d = kernel.shape[3]
    rows = jnp.stack([jnp.sum(kernel, 0), -kernel[0], kernel[2]])
    both = jnp.stack([jnp.sum(rows, 1), -rows[:, 0], rows[:, 2]], axis=1)  # [3 3 c d]

    def product(seen: AnyArray, kernels: Sequence[AnyArray]) -> list[jax.Array]:
        joined = seen @ jnp.concatenate(kernels, axis=-1)
        return jnp.split(joined, len(kernels), axis=-1)

    down, right = (jnp.diff(jnp.pad(x, _around(axis)), axis=axis) for axis in (1, 2))
    slope = jnp.diff(jnp.pad(down, _around(2)), axis=2)
    (flat,) = product(x, [both[0, 0]])
    in_rows = product(down, [both[1, 0], both[2, 0]])
    in_columns = product(right, [both[0, 1], both[0, 2]])
    in_both = product(slope, [both[p, q] for p in (1, 2) for q in (1, 2)])
    outputs = [
        flat
        + in_rows[p][:, p : p + h]
        + in_columns[q][:, :, q : q + w]
        + in_both[2 * p + q][:, p : p + h, q : q + w]
        for p in (0, 1)
        for q in (0, 1)
    ]
    y = jnp.stack(outputs, axis=3).reshape(b, h, w, 2, 2, d)
    return y.transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, d)


def _around(axis: int) -> list[tuple[int, int]]:
    return [(1, 1) if i == axis else (0, 0) for i in range(4)]


# --- 3 x 3, stride 1, the size kept --------------------------------------------------------------


@jax.custom_vjp
def _three_by_three(x: AnyArray, kernel: AnyArray) -> jax.Array:
    return winograd.convolve(x, kernel)


def _three_by_three_forward(x, kernel):
    return winograd.convolve(x, kernel), (x, kernel)


def _three_by_three_backward(residuals, cotangent):
    x, kernel = residuals
    return winograd.gradients(x, kernel, cotangent)


_three_by_three.defvjp(_three_by_three_forward, _three_by_three_backward)


@jax.custom_vjp
def _of_few_channels(x: AnyArray, kernel: AnyArray) -> jax.Array:
    """XLA's own form, but for the gradient of the kernel."""
    return _direct(x, kernel, 1, 1)


def _of_few_channels_forward(x, kernel):
    return _direct(x, kernel, 1, 1), (x, kernel)


def _of_few_channels_backward(residuals, cotangent):
    x, kernel = residuals
    _, to_x = jax.vjp(lambda x: _direct(x, kernel, 1, 1), x)
    height, width = x.shape[1:3]
    seen = _shifted_copies(x, (3, 3), 1, 1, height, width)
    to_kernel = jnp.einsum("bhwk,bhwd->kd", seen, cotangent).reshape(kernel.shape)
    return *to_x(cotangent), to_kernel


_of_few_channels.defvjp(_of_few_channels_forward, _of_few_channels_backward)
