"""What the networks share: a convolution that takes the fastest of its forms, norm and pooling.

XLA's convolutions on CPU are slow for some shapes: a 1 x 1 kernel is faster as a matrix product
(131 -> 52 ms at 64 -> 256 channels, 56 x 56 pixels), and so is a larger kernel on a small map with
many channels (16.5 -> 8.6 ms forward and backward at 3 x 3, 512 -> 512 channels, 7 x 7 pixels) once
the shifted copies of the map lie side by side. The gradient of an image under a strided convolution
is faster on blocks of 2 x 2 pixels (33 -> 22 ms at 7 x 7, 3 -> 32 channels, 64 of 64 x 64 pixels),
and one channel to one is faster as a sum over the kernel (9 -> 0.4 ms at 3 x 3, 32 of 64 x 64).
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

SMALL_MAP = 8  # pixels a side; larger maps lose more by being copied than they gain
MANY_CHANNELS = 64
FEW_CHANNELS = 4  # of an image


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
    if on_cpu and channels * kernel.shape[3] == 1 and stride == 1:
        return _sum_of_shifts(x, kernel, padding, height, width)
    if on_cpu and max(height, width) <= SMALL_MAP and channels >= MANY_CHANNELS:
        return _shifted_copies(x, (kh, kw), stride, padding, height, width) @ kernel.reshape(
            kh * kw * channels, -1
        )
    if on_cpu and stride == 2 and channels <= FEW_CHANNELS:
        return _of_an_image(x, kernel, padding)
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(x: jax.Array, size: int, stride: int, padding: int) -> jax.Array:
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    window, strides = (1, size, size, 1), (1, stride, stride, 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, strides, pads)


def _max_pool_forward(x, size, stride, padding):
    y = _max_pool(x, size, stride, padding)
    return y, (x, y)


def _max_pool_backward(size, stride, padding, residuals, cotangent):
    """To the first largest value of each window; XLA's own takes four times as long on CPU."""
    x, y = residuals
    (_, height, width, _), (_, rows, columns, _) = x.shape, y.shape
    edges = ((0, 0), (padding, padding + size), (padding, padding + size), (0, 0))
    x = jnp.pad(x, edges, constant_values=-jnp.inf)
    which = jnp.full(y.shape, -1, jnp.int32)
    places = {(i, j): i * size + j for i in range(size) for j in range(size)}
    for (i, j), place in places.items():
        seen = x[:, i : i + rows * stride : stride, j : j + columns * stride : stride]
        which = jnp.where((which < 0) & (seen == y), place, which)
    # Inputs stand in stride x stride classes; those of one class are seen from the same places.
    more = (size - 1) // stride
    border = ((0, 0), (more, more), (more, more), (0, 0))
    # Written out once: XLA would compute it anew for each place.
    which, share = jax.lax.optimization_barrier(
        (jnp.pad(which, border, constant_values=-1), jnp.pad(cotangent, border))
    )

    def moved(i: int, j: int) -> jax.Array:
        down, right = more - i // stride, more - j // stride
        here = (slice(None), slice(down, down + rows + more), slice(right, right + columns + more))
        return jnp.where(which[here] == places[i, j], share[here], 0.0)

    classes = [
        functools.reduce(
            jnp.add,
            (moved(i, j) for i in range(a, size, stride) for j in range(b, size, stride)),
            jnp.zeros((x.shape[0], rows + more, columns + more, x.shape[3]), x.dtype),
        )
        for a in range(stride)
        for b in range(stride)
    ]
    batch, tall, wide, channels = classes[0].shape
    whole = jnp.stack(classes).reshape(stride, stride, batch, tall, wide, channels)
    whole = whole.transpose(2, 3, 0, 4, 1, 5).reshape(batch, tall * stride, wide * stride, channels)
    missing = [
        max(0, n + padding - m) for n, m in zip((height, width), whole.shape[1:3], strict=True)
    ]
    whole = jnp.pad(whole, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))
    return (whole[:, padding : padding + height, padding : padding + width],)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def max_pool(
    x: Float[Array, "b h w c"], size: int, *, stride: int, padding: int = 0
) -> Float[Array, "b y x c"]:
    """Largest value of each window; the border counts as minus infinity.

    Only reverse-mode first derivatives.
    """
    return _max_pool(x, size, stride, padding)


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
