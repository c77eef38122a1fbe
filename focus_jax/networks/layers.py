"""What the networks share: a convolution as a layer, norm and pooling."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import ScopeParamShapeError
from jaxtyping import Array, Float

from focus_jax.networks import convolution
from focus_jax.networks.convolution import convolve, convolve_enlarged
from focus_jax.types import AnyArray


def parameter(
    module: nn.Module, name: str, init: Callable[..., jax.Array], shape: tuple[int, ...]
) -> Any:
    """`module.param`, but `init` is not traced at each use for its shape: a third of tracing a net.

    Raises flax.errors.ScopeParamShapeError, as Flax does, where there is one of another shape.
    """
    if not module.has_variable("params", name):
        return module.param(name, init, shape)
    value = module.get_variable("params", name)
    if np.shape(value) != shape:
        path = "/".join(module.path)
        raise ScopeParamShapeError(name, path, np.shape(value), shape)
    return value


class Conv(nn.Module):
    """`nn.Conv` with the same parameters (kernel `[kh kw c d]`, bias `[d]`) and PyTorch's padding.

    `padding` None keeps the size at stride 1. With `enlarge`, each pixel is repeated 2 x 2 before
    (3 x 3 kernels with stride 1 only).
    """

    features: int
    size: int = 3
    stride: int = 1
    padding: int | None = None
    use_bias: bool = False
    enlarge: bool = False
    kernel_init: Callable = nn.initializers.he_normal()
    bias_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Float[AnyArray, "b h w c"]) -> Float[Array, "b y x d"]:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = parameter(self, "kernel", self.kernel_init, shape)
        if self.enlarge:
            y = convolve_enlarged(x, kernel)
        else:
            padding = self.size // 2 if self.padding is None else self.padding
            y = convolve(x, kernel, stride=self.stride, padding=padding)
        if self.use_bias:
            y = y + parameter(self, "bias", self.bias_init, (self.features,))
        return y


# Running statistics as PyTorch's defaults, whose momentum 0.1 is Flax's 0.9.
BatchNorm = functools.partial(nn.BatchNorm, momentum=0.9, epsilon=1e-5)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(x: AnyArray, size: int, stride: int, padding: int) -> jax.Array:
    if not convolution.on_cpu():
        pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        window, strides = (1, size, size, 1), (1, stride, stride, 1)
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, strides, pads)
    # Along one axis, then the other: XLA's own is slow on CPU.
    for axis in (1, 2):
        edges = [(padding, padding) if i == axis else (0, 0) for i in range(4)]
        x = jnp.pad(x, edges, constant_values=-jnp.inf)
        last = x.shape[axis] - size + 1
        seen = [jax.lax.slice_in_dim(x, i, i + last, stride, axis) for i in range(size)]
        x = functools.reduce(jnp.maximum, seen)
    return x


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
    x: Float[AnyArray, "b h w c"], size: int, *, stride: int, padding: int = 0
) -> Float[Array, "b y x c"]:
    """Largest value of each window; the border counts as minus infinity.

    Only reverse-mode first derivatives.
    """
    return _max_pool(x, size, stride, padding)


def average_pool(x: Float[AnyArray, "b h w c"], size: int) -> Float[Array, "b size size c"]:
    """Mean over a `size` x `size` grid of windows that may overlap by a pixel, for any map."""
    rows, columns = (_windows(n, size) for n in x.shape[1:3])
    return jnp.einsum("bhwc,yh,xw->byxc", x, rows, columns)


def _windows(pixels: int, windows: int) -> jax.Array:
    place = jnp.arange(pixels)
    index = jnp.arange(windows)[:, None]
    first, last = index * pixels // windows, -((index + 1) * -pixels // windows)
    inside = ((place >= first) & (place < last)).astype(jnp.float32)
    return inside / jnp.sum(inside, axis=1, keepdims=True)
