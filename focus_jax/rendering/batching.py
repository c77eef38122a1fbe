"""Running an operation on a batch where it lies: mapped axes fold into it, devices keep their part.

An operation is a function of hashable options, of arrays that the whole batch shares (triangles),
and of arrays with a leading batch axis; it returns a tuple of arrays with that axis. It must treat
the batch's entries one by one.
"""

import functools
from collections.abc import Callable, Hashable, Sequence

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from focus_jax.types import AnyArray

BATCH_AXIS = "data"  # the mesh axis over which batches are split

Operation = Callable[..., tuple[AnyArray, ...]]


def run(
    operation: Operation, options: Hashable, shared: AnyArray, *arrays: AnyArray
) -> tuple[AnyArray, ...]:
    """The operation on the whole batch.

    `jax.vmap` folds the mapped axis into the batch. Each device computes its own part of the batch,
    and nothing is communicated, if the arrays' type says that they are sharded (explicit meshes),
    or if the ambient mesh (`jax.set_mesh`) has an axis 'data' whose size divides the batch.
    """
    return _foldable(operation, options)(shared, *arrays)


@functools.lru_cache(maxsize=256)
def _foldable(operation: Operation, options: Hashable) -> Operation:
    # Compiled as a whole also outside jit, where its steps would be compiled one by one.
    compiled = jax.jit(functools.partial(_on_each_device, functools.partial(operation, options)))

    @custom_vmap
    def call(shared: AnyArray, *arrays: AnyArray) -> tuple[AnyArray, ...]:
        return compiled(shared, *arrays)

    def one(arguments: tuple[AnyArray, ...]) -> tuple[AnyArray, ...]:
        return call(*arguments)

    @call.def_vmap
    def fold(
        size: int, mapped: Sequence[bool], shared: AnyArray, *arrays: AnyArray
    ) -> tuple[tuple[AnyArray, ...], tuple[bool, ...]]:
        arrays = tuple(
            x if is_mapped else jnp.broadcast_to(x, (size, *x.shape))
            for x, is_mapped in zip(arrays, mapped[1:], strict=True)
        )
        if mapped[0]:  # another mesh each time: one after the other
            results = jax.lax.map(one, (shared, *arrays))
        else:
            batch = arrays[0].shape[1]
            folded = call(shared, *(x.reshape(size * batch, *x.shape[2:]) for x in arrays))
            results = tuple(x.reshape(size, batch, *x.shape[1:]) for x in folded)
        return tuple(results), (True,) * len(results)

    return call


def _on_each_device(
    operation: Operation, shared: AnyArray, *arrays: AnyArray
) -> tuple[AnyArray, ...]:
    axes = _batch_axes(arrays[0])
    if not axes:
        return operation(shared, *arrays)
    # XLA cannot look into a foreign call or a loop over images: it would gather their operands and
    # run them whole on every device.
    mapped = jax.shard_map(
        operation,
        in_specs=(P(), *[P(axes)] * len(arrays)),
        out_specs=P(axes),
        check_vma=False,  # nothing varies but along the batch, and nothing is transposed
    )
    return mapped(shared, *arrays)


def _batch_axes(x: AnyArray) -> str | tuple[str, ...] | None:
    """Mesh axes over which the batch is, or should be, split; None for all on one device."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or AxisType.Manual in mesh.axis_types:  # none, or the caller's own shard_map
        return None
    spec = jax.typeof(x).sharding.spec
    if len(spec) and spec[0] is not None:
        return spec[0]
    size = mesh.shape.get(BATCH_AXIS, 1)
    return BATCH_AXIS if size > 1 and x.shape[0] % size == 0 else None
