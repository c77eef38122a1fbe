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
    gradient = jax.value_and_grad(objective, has_aux=True)
    parameters, statistics = network["params"], network.get("batch_stats", {})
    if parts == 1:
        (loss, (statistics, values)), gradients = gradient(parameters, statistics, batch, key)
        return loss, statistics, values, gradients
    if len(batch.image) % parts:
        raise ValueError(
            f"a batch of {len(batch.image)} does not divide into {parts} parts; choose "
            "config.data.batch_size as a multiple of config.compute.parts"
        )
    # Each part takes every so many photos, so that none moves to another device.
    split = jax.tree.map(lambda x: jnp.moveaxis(x.reshape(-1, parts, *x.shape[1:]), 1, 0), batch)

    def add(carry, part):
        total, statistics = carry
        (loss, (statistics, values)), gradients = gradient(parameters, statistics, *part)
        return (jax.tree.map(jnp.add, total, gradients), statistics), (loss, values)

    nothing = jax.tree.map(jnp.zeros_like, parameters)
    (total, statistics), (loss, values) = jax.lax.scan(
        add, (nothing, statistics), (split, jax.random.split(key, parts))
    )
    loss, values = jax.tree.map(lambda x: jnp.mean(x, axis=0), (loss, values))
    return loss, statistics, values, jax.tree.map(lambda x: x / parts, total)
