"""3 x 3 convolutions with a quarter of the multiplications: Winograd's F(4 x 4, 3 x 3).

Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016: a tile of 4 x 4
outputs sees 6 x 6 inputs; both and the kernel are transformed so that 36 products of single numbers
replace 16 x 9. Over all tiles these are 36 matrix products. In float32 the result differs from the
direct sum by some 1e-5 of its largest value.

Stride 1, zeros around, the size kept. There is no derivative: `convolution` combines these.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

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

Grid = list[list[jax.Array]]  # arrays in rows and columns, as the numbers of a small matrix


def convolve(
    x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]
) -> Float[Array, "b h w d"]:
    """Cross-correlation, the size kept."""
    height, width = x.shape[1:3]
    seen, weights = _inputs(x), _transform(KERNEL, _grid(kernel))
    products = [
        [a @ b for a, b in zip(*rows, strict=True)] for rows in zip(seen, weights, strict=True)
    ]
    return _joined(_transform(OUTPUT, products))[:, :height, :width]


def kernel_gradient(
    x: Float[Array, "b h w c"], cotangent: Float[Array, "b h w d"]
) -> Float[Array, "3 3 c d"]:
    """Gradient of the kernel, from that of the output."""
    seen, wanted = _all_inputs(x), _all_outputs(cotangent)
    seen, wanted = (a.reshape(36, -1, a.shape[-1]) for a in (seen, wanted))
    products = jnp.einsum("kpc,kpd->kcd", seen, wanted)
    products = products.reshape(6, 6, *products.shape[1:])
    return _mix(KERNEL.T, list(_mix(KERNEL.T, list(products), 0).swapaxes(0, 1)), 1)


def _inputs(x: jax.Array) -> Grid:
    """Transformed 6 x 6 inputs of each tile: 6 x 6 arrays `[b tiles tiles c]`."""
    rows, columns = (TILE * -(-n // TILE) for n in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), (1, rows + 1 - x.shape[1]), (1, columns + 1 - x.shape[2]), (0, 0)))
    places = range(TILE + 2)
    moved = [x[:, i : i + rows - 3 : TILE] for i in places]
    return [
        _combine(INPUT, [row[:, :, j : j + columns - 3 : TILE] for j in places])
        for row in _combine(INPUT, moved)
    ]


def _all_inputs(x: jax.Array) -> jax.Array:
    """`_inputs` as one array `[6 6 b tiles tiles c]`, which compiles ten times faster."""
    rows, columns = (TILE * -(-n // TILE) for n in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), (1, rows + 1 - x.shape[1]), (1, columns + 1 - x.shape[2]), (0, 0)))
    places = range(TILE + 2)
    half = _mix(INPUT, [x[:, i : i + rows - 3 : TILE] for i in places], 0)
    # Written out once: XLA would compute it anew for each column.
    half = jax.lax.optimization_barrier(half)
    return _mix(INPUT, [half[:, :, :, j : j + columns - 3 : TILE] for j in places], 1)


def _all_outputs(y: jax.Array) -> jax.Array:
    """The transpose of what makes outputs of products: `[6 6 b tiles tiles d]`."""
    rows, columns = (TILE * -(-n // TILE) for n in y.shape[1:3])
    y = jnp.pad(y, ((0, 0), (0, rows - y.shape[1]), (0, columns - y.shape[2]), (0, 0)))
    half = _mix(OUTPUT.T, [y[:, i::TILE] for i in range(TILE)], 0)
    half = jax.lax.optimization_barrier(half)
    return _mix(OUTPUT.T, [half[:, :, :, j::TILE] for j in range(TILE)], 1)


def _joined(tiles: Grid) -> jax.Array:
    """Outputs of each tile, 4 x 4 arrays `[b tiles tiles d]`, as one map."""
    b, rows, columns, d = tiles[0][0].shape
    lines = [jnp.stack(row, axis=3).reshape(b, rows, TILE * columns, d) for row in tiles]
    return jnp.stack(lines, axis=2).reshape(b, TILE * rows, TILE * columns, d)


def _grid(kernel: jax.Array) -> Grid:
    return [[kernel[i, j] for j in range(3)] for i in range(3)]


def _transform(matrix: np.ndarray, grid: Grid) -> Grid:
    """matrix @ grid @ matrix.T"""
    columns = [_combine(matrix, column) for column in zip(*grid, strict=True)]
    return [_combine(matrix, row) for row in zip(*columns, strict=True)]


def _combine(matrix: np.ndarray, parts: Sequence[jax.Array]) -> list[jax.Array]:
    """The matrix times a vector of arrays, written out: most of its numbers are 0, 1 or -1."""

    def total(row: np.ndarray) -> jax.Array:
        terms = [
            part if weight == 1 else -part if weight == -1 else float(weight) * part
            for weight, part in zip(row, parts, strict=True)
            if weight
        ]
        return sum(terms[1:], terms[0])

    return [total(row) for row in matrix]


def _mix(matrix: np.ndarray, parts: Sequence[jax.Array], axis: int) -> jax.Array:
    """The matrix times a vector of arrays, its rows along a new axis of one array."""

    def weighed(column: np.ndarray, part: jax.Array) -> jax.Array:
        shape = [-1 if i == axis else 1 for i in range(part.ndim + 1)]
        return jnp.asarray(column, part.dtype).reshape(shape) * jnp.expand_dims(part, axis)

    terms = [weighed(column, part) for column, part in zip(matrix.T, parts, strict=True)]
    return sum(terms[1:], terms[0])
