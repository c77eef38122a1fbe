"""The gradient of an update, of the whole batch at once or of its parts one after the other."""

from typing import Any

import jax
import jax.numpy as jnp

from focus_jax.types import Batch, PRNGKey


def differentiate(
    objective: Any, network: dict, batch: Batch, key: PRNGKey, parts: int
) -> tuple[jax.Array, Any, dict[str, jax.Array], Any]:
    """Loss, batch statistics, values and gradient of `objective(parameters, statistics, ...)`.

    With `parts` above 1 the batch goes through in so many parts, one after the other, and loss,
    values and gradient are their means; statistics change with each part.
    """
    if len(batch.image) % parts:
        raise ValueError(
            f"a batch of {len(batch.image)} does not divide into {parts} parts; choose "
            "config.data.batch_size as a multiple of config.compute.parts"
        )
    gradient = jax.value_and_grad(objective, has_aux=True)
    parameters, statistics = network["params"], network.get("batch_stats", {})
    if parts == 1:
        (loss, (statistics, values)), gradients = gradient(parameters, statistics, batch, key)
        return loss, statistics, values, gradients
    # Each part takes every so many photos, so that none moves to another device.
    split = jax.tree.map(lambda x: x.reshape(-1, parts, *x.shape[1:]), batch)
    total = jax.tree.map(jnp.zeros_like, parameters)
    nothing = jnp.zeros(())
    seen = []
    # Not a loop of XLA's, in which the convolutions of a CPU run on one core and seven times as
    # long. What keeps a part from starting, and taking memory, before the last has ended is a zero
    # made of all its gradients: a CPU's compiler heeds no optimization_barrier.
    for number, own in enumerate(jax.random.split(key, parts)):
        part = jax.tree.map(lambda x, n=number, zero=nothing: _plus(x[:, n], zero), split)
        (loss, (statistics, values)), gradients = gradient(parameters, statistics, part, own)
        total = jax.tree.map(jnp.add, total, gradients)
        nothing = 0.0 * sum(map(jnp.sum, jax.tree.leaves(gradients)))
        seen.append((loss, values))
    loss, values = jax.tree.map(lambda *x: sum(x) / parts, *seen)
    return loss, statistics, values, jax.tree.map(lambda x: x / parts, total)


def _plus(x: jax.Array, zero: jax.Array) -> jax.Array:
    return x + zero if jnp.issubdtype(x.dtype, jnp.floating) else x
