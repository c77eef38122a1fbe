"""3 x 3 convolutions with a quarter of the multiplications: Winograd's F(4 x 4, 3 x 3).

Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016: a tile of 4 x 4
outputs sees 6 x 6 inputs; both and the kernel are transformed so that 36 products of single numbers
replace 16 x 9. Over all tiles these are 36 matrix products. In float32 the result differs from the
direct sum by some 1e-5 of its largest value.

Stride 1, zeros around, the size kept. There is no derivative: `convolution` combines these.

Each transform is a sum of a few maps with a few weights, once along rows and once along columns, as
a stack of such sums: XLA makes loops of that over whole vectors of channels, which it does not of a
product with the small matrix (40 ms against 110 for the inputs of 64 channels, 2 of 224 x 224).
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from focus_jax.types import AnyArray

TILE = 4
# Of six inputs, of three weights, and from six products to four outputs (their 4.1).
INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
KERNEL = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24.0
OUTPUT = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
)


def convolve(
    x: Float[AnyArray, "b h w c"], kernel: Float[AnyArray, "3 3 c d"]
) -> Float[Array, "b h w d"]:
    """Cross-correlation, the size kept."""
    seen = _inputs(x)
    products = jnp.einsum("kpc,kcd->kpd", _matrices(seen), _matrices(_weights(kernel)))
    return _outputs(products.reshape(*seen.shape[:-1], -1))[:, : x.shape[1], : x.shape[2]]


def gradients(
    x: Float[AnyArray, "b h w c"],
    kernel: Float[AnyArray, "3 3 c d"],
    cotangent: Float[AnyArray, "b h w d"],
) -> tuple[Float[Array, "b h w c"], Float[Array, "3 3 c d"]]:
    """Gradients of input and kernel, from that of the output."""
    seen, wanted = _inputs(x), _outputs_transposed(cotangent)
    to_x = jnp.einsum("kpd,kcd->kpc", _matrices(wanted), _matrices(_weights(kernel)))
    to_kernel = jnp.einsum("kpc,kpd->kcd", _matrices(seen), _matrices(wanted))
    columns = _mix(KERNEL.T, to_kernel.reshape(6, 6, *to_kernel.shape[1:]))
    return (
        _inputs_transposed(to_x.reshape(seen.shape))[:, : x.shape[1], : x.shape[2]],
        _mix(KERNEL.T, columns.swapaxes(0, 1)),
    )


def _matrices(x: AnyArray) -> AnyArray:
    """`[6 6 ... c]` as 36 matrices."""
    return x.reshape(36, -1, x.shape[-1])


def _inputs(x: AnyArray) -> jax.Array:
    """Transformed 6 x 6 inputs of each tile, columns first: `[6 6 b tiles tiles c]`."""
    rows, columns = (TILE * -(-n // TILE) for n in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), (1, rows + 1 - x.shape[1]), (1, columns + 1 - x.shape[2]), (0, 0)))
    x = _mix(INPUT, [x[:, i : i + rows - 3 : TILE] for i in range(6)])
    return _mix(INPUT, [x[:, :, :, j : j + columns - 3 : TILE] for j in range(6)])


def _inputs_transposed(x: AnyArray) -> jax.Array:
    """From the gradient of `_inputs` to that of their pixels, without the border before them."""
    x = _overlapped(_mix(INPUT.T, x), axis=3)
    return _overlapped(_mix(INPUT.T, x), axis=1)[:, 1:, 1:]


def _overlapped(places: AnyArray, axis: int) -> jax.Array:
    """Six places of each tile, along `axis` of one, added up where tiles overlap by two."""
    after = [(0, int(i == axis)) for i in range(places.ndim - 1)]
    before = [(n, 0) for _, n in after]
    whole = [jnp.pad(place, after) for place in places[:TILE]]
    for i in (0, 1):
        whole[i] = whole[i] + jnp.pad(places[TILE + i], before)
    return _side_by_side(whole, axis)


def _outputs(products: AnyArray) -> jax.Array:
    """The map, of the products of each tile."""
    columns = _side_by_side(_combine(OUTPUT, products), axis=3)
    return _side_by_side(_combine(OUTPUT, jax.lax.optimization_barrier(columns)), axis=1)


def _outputs_transposed(y: AnyArray) -> jax.Array:
    """From the gradient of the map to that of the products, columns first."""
    rows, columns = (TILE * -(-n // TILE) for n in y.shape[1:3])
    y = jnp.pad(y, ((0, 0), (0, rows - y.shape[1]), (0, columns - y.shape[2]), (0, 0)))
    y = _mix(OUTPUT.T, [y[:, i::TILE] for i in range(TILE)])
    return _mix(OUTPUT.T, [y[:, :, :, j::TILE] for j in range(TILE)])


def _weights(kernel: AnyArray) -> jax.Array:
    """The transformed kernel, columns first: `[6 6 c d]`."""
    return _mix(KERNEL, _mix(KERNEL, kernel).swapaxes(0, 1))


def _side_by_side(places: Sequence[AnyArray], axis: int) -> jax.Array:
    """Places of each tile as pixels along `axis`."""
    shape = list(places[0].shape)
    shape[axis] *= TILE
    return jnp.stack(places, axis=axis + 1).reshape(shape)


def _mix(matrix: np.ndarray, parts: Sequence[AnyArray] | AnyArray) -> jax.Array:
    """The matrix times a vector of arrays, as one array."""
    # Written out once: XLA would compute it anew for each of its uses.
    return jax.lax.optimization_barrier(jnp.stack(_combine(matrix, parts)))


def _combine(matrix: np.ndarray, parts: Sequence[AnyArray] | AnyArray) -> list[jax.Array]:
    """The matrix times a vector of arrays, written out: most of its numbers are 0, 1 or -1."""

    def total(row: np.ndarray) -> jax.Array:
        terms = [
            part if weight == 1 else -part if weight == -1 else float(weight) * part
            for weight, part in zip(row, parts, strict=True)
            if weight
        ]
        return functools.reduce(jnp.add, terms)

    return [total(row) for row in matrix]
