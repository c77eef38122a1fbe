"""A step of a network: its gradient, of the whole batch or of its parts in turn, applied."""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from focus_jax.training.method import Method, Terms
from focus_jax.training.optim import global_norm
from focus_jax.types import Batch, PRNGKey, TrainState


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


def _applied(finite: jax.Array, new: Any, old: Any) -> Any:
    """The new tree where the update's numbers are finite, and else the old one unchanged."""
    return jax.tree.map(functools.partial(jnp.where, finite), new, old)


def with_statistics(parameters: dict, statistics: dict) -> dict:
    """Variables of a network; one without batch norm has no statistics, not empty ones."""
    return {"params": parameters} | ({"batch_stats": statistics} if statistics else {})


def step(
    state: TrainState,
    network: Literal["encoder", "segmenter"],
    batch: Batch,
    key: PRNGKey,
    terms: Terms,
    method: Method,
    objective: Any,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """The state after a step of a network, where its numbers are finite, and these numbers."""
    variables, moments = getattr(state, network), getattr(state, f"{network}_optimizer")
    loss, statistics, values, gradients = differentiate(
        objective, variables, batch, key, method.parts
    )
    optimizer = getattr(method, f"{network}_optimizer")
    steps, moved = optimizer.update(gradients, moments, variables["params"])
    steps = jax.tree.map(lambda s: -terms.learning_rate * s, steps)
    parameters = optax.apply_updates(variables["params"], steps)
    norm = global_norm(gradients)
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    new: dict[str, Any] = {
        network: _applied(finite, with_statistics(parameters, statistics), variables),
        f"{network}_optimizer": _applied(finite, moved, moments),
    }
    state = dataclasses.replace(state, step=state.step + 1, **new)
    return state, {**values, "loss": loss, "gradient": norm, "finite": finite}
