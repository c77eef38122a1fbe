"""A convolution that takes the fastest of its forms for its shape.

XLA's convolutions on CPU are slow for some shapes: a 1 x 1 kernel is faster as a matrix product
(131 -> 52 ms at 64 -> 256 channels, 56 x 56 pixels), and so is a larger kernel on a small map with
many channels (16.5 -> 8.6 ms forward and backward at 3 x 3, 512 -> 512 channels, 7 x 7 pixels) once
the shifted copies of the map lie side by side. The gradient of an image under a strided convolution
is faster on blocks of 2 x 2 pixels (33 -> 22 ms at 7 x 7, 3 -> 32 channels, 64 of 64 x 64 pixels),
and one channel to one is faster as a sum over the kernel (9 -> 0.4 ms at 3 x 3, 32 of 64 x 64).
3 x 3 kernels on larger maps of many channels are Winograd's (`winograd.py`), above all in the
gradient of the kernel (1,705 -> 277 ms of processor time at 512 -> 256 channels, 4 of 56 x 56).
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from focus_jax import winograd

SMALL_MAP = 8  # pixels a side; larger maps lose more by being copied than they gain
MANY_CHANNELS = 64
FEW_CHANNELS = 4  # of an image
MANY_PIXELS = 600  # of a batch, for which it pays to transform kernels
# Winograd's form takes half the time, but seconds to compile.
MANY_OPERATIONS = 5e9


def on_cpu() -> bool:
    """Whether the forms that only pay on a CPU are used."""
    return jax.default_backend() == "cpu"


def convolve(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw c d"],
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
        return _sum_of_shifts(x, kernel, padding, height, width)
    if max(height, width) <= SMALL_MAP and channels >= MANY_CHANNELS:
        return _shifted_copies(x, (kh, kw), stride, padding, height, width) @ kernel.reshape(
            kh * kw * channels, -1
        )
    if stride == 2 and channels <= FEW_CHANNELS:
        return _of_an_image(x, kernel, padding)
    if kh == kw == 3 and stride == padding == 1 and _is_large(x, kernel):
        return _three_by_three(x, kernel)
    return _direct(x, kernel, stride, padding)


def _direct(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    """XLA's own form."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _sum_of_shifts(
    x: jax.Array, kernel: jax.Array, padding: int, height: int, width: int
) -> jax.Array:
    """One channel to one, as one loop over the pixels."""
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    kh, kw, _, _ = kernel.shape
    places = ((i, j) for i in range(kh) for j in range(kw))
    return functools.reduce(
        jnp.add, (x[:, i : i + height, j : j + width] * kernel[i, j, 0, 0] for i, j in places)
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _of_an_image(x: jax.Array, kernel: jax.Array, padding: int) -> jax.Array:
    """Stride 2 over few channels: all but the gradient of the image in XLA's own form."""
    return _direct(x, kernel, 2, padding)


def _of_an_image_forward(x, kernel, padding):
    return _of_an_image(x, kernel, padding), (x, kernel)


def _of_an_image_backward(padding, residuals, cotangent):
    x, kernel = residuals
    _, to_x = jax.vjp(lambda x: _on_blocks(x, kernel, padding, *cotangent.shape[1:3]), x)
    _, to_kernel = jax.vjp(lambda kernel: _direct(x, kernel, 2, padding), kernel)
    return *to_x(cotangent), *to_kernel(cotangent)


_of_an_image.defvjp(_of_an_image_forward, _of_an_image_backward)


def _on_blocks(x: jax.Array, kernel: jax.Array, padding: int, height: int, width: int) -> jax.Array:
    """A convolution of stride 2 as one of stride 1 on blocks of 2 x 2 pixels."""
    kh, kw, _, _ = kernel.shape
    rows, columns = kh + kh % 2, kw + kw % 2
    kernel = jnp.pad(kernel, ((0, rows - kh), (0, columns - kw), (0, 0), (0, 0)))
    kernel = _blocks(kernel.transpose(3, 0, 1, 2)).transpose(1, 2, 3, 0)
    # As many pixels as the outputs see, whatever the image's size was.
    bottom, right = 2 * (height - 1) + rows, 2 * (width - 1) + columns
    grown = [
        max(0, need - n - padding) for need, n in zip((bottom, right), x.shape[1:3], strict=True)
    ]
    x = jnp.pad(x, ((0, 0), (padding, grown[0]), (padding, grown[1]), (0, 0)))
    return jax.lax.conv_general_dilated(
        _blocks(x[:, :bottom, :right]),
        kernel,
        (1, 1),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _blocks(x: jax.Array) -> jax.Array:
    b, h, w, c = x.shape
    x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // 2, w // 2, 4 * c)


def _shifted_copies(
    x: jax.Array, size: tuple[int, int], stride: int, padding: int, height: int, width: int
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


# --- 3 x 3, stride 1, the size kept --------------------------------------------------------------


def _is_large(x: jax.Array, kernel: jax.Array) -> bool:
    """Whether one of the three products at least is faster in Winograd's form."""
    batch, height, width, _ = x.shape
    return max(kernel.shape[2:]) >= MANY_CHANNELS and batch * height * width >= MANY_PIXELS


def _same(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution in the faster form: large maps of few channels cost more to transform."""
    batch, height, width, _ = x.shape
    operations = 2 * batch * height * width * kernel.size
    channels = min(kernel.shape[2:])
    # Few pixels do not repay transforming the kernel, few channels not those of the map.
    if operations >= MANY_OPERATIONS and batch * height * width >= 2 * channels >= 2 * height:
        return winograd.convolve(x, kernel)
    return _direct(x, kernel, 1, 1)


@jax.custom_vjp
def _three_by_three(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _same(x, kernel)


def _three_by_three_forward(x, kernel):
    return _same(x, kernel), (x, kernel)


def _three_by_three_backward(residuals, cotangent):
    x, kernel = residuals
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    # Winograd's form reads the turned kernel across its grain, which a large one does not repay.
    small = max(kernel.shape[2:]) <= 256
    to_x = _same(cotangent, turned) if small else _direct(cotangent, turned, 1, 1)
    return to_x, winograd.kernel_gradient(x, cotangent)


_three_by_three.defvjp(_three_by_three_forward, _three_by_three_backward)
