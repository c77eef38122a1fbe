"""What the networks share: a convolution that takes the fastest of four forms, norm and pooling.

XLA's convolutions on CPU are slow for some shapes: a 1 x 1 kernel is faster as a matrix product
(131 -> 52 ms at 64 -> 256 channels, 56 x 56 pixels), and so is a larger kernel on a small map with
many channels (16.5 -> 8.6 ms forward and backward at 3 x 3, 512 -> 512 channels, 7 x 7 pixels) once
the shifted copies of the map lie side by side.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

SMALL_MAP = 8  # pixels a side; larger maps lose more by being copied than they gain
MANY_CHANNELS = 64
FEW_CHANNELS = 4  # of an image; a strided convolution over them is slow backwards (42 -> 14 ms)


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
    on_cpu = jax.default_backend() == "cpu"
    if on_cpu and max(height, width) <= SMALL_MAP and channels >= MANY_CHANNELS:
        return _shifted_copies(x, (kh, kw), stride, padding, height, width) @ kernel.reshape(
            kh * kw * channels, -1
        )
    if on_cpu and stride == 2 and channels <= FEW_CHANNELS:
        return _on_blocks(x, kernel, padding, height, width)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


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


class Conv(nn.Module):
    """`nn.Conv` with the same parameters (kernel `[kh kw c d]`, bias `[d]`) and PyTorch's padding.

    `padding` None keeps the size at stride 1.
    """

    features: int
    size: int = 3
    stride: int = 1
    padding: int | None = None
    use_bias: bool = False
    kernel_init: Callable = nn.initializers.he_normal()
    bias_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b y x d"]:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        padding = self.size // 2 if self.padding is None else self.padding
        y = convolve(x, kernel, stride=self.stride, padding=padding)
        if self.use_bias:
            y = y + self.param("bias", self.bias_init, (self.features,))
        return y


# Running statistics as PyTorch's defaults, whose momentum 0.1 is Flax's 0.9.
BatchNorm = functools.partial(nn.BatchNorm, momentum=0.9, epsilon=1e-5)


def max_pool(
    x: Float[Array, "b h w c"], size: int, *, stride: int, padding: int = 0
) -> Float[Array, "b y x c"]:
    """Largest value of each window; the border counts as minus infinity."""
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    window, strides = (1, size, size, 1), (1, stride, stride, 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, strides, pads)


def average_pool(x: Float[Array, "b h w c"], size: int) -> Float[Array, "b size size c"]:
    """Mean over a `size` x `size` grid of windows that may overlap by a pixel, for any map."""
    rows, columns = (_windows(n, size) for n in x.shape[1:3])
    return jnp.einsum("bhwc,yh,xw->byxc", x, rows, columns)


def _windows(pixels: int, windows: int) -> jax.Array:
    place = jnp.arange(pixels)
    index = jnp.arange(windows)[:, None]
    first, last = index * pixels // windows, -((index + 1) * -pixels // windows)
    inside = ((place >= first) & (place < last)).astype(jnp.float32)
    return inside / jnp.sum(inside, axis=1, keepdims=True)
