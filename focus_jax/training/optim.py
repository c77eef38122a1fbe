"""Optimizers without a learning rate; the rate comes from the step (`schedule.terms_at`)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float


@functools.cache  # one object for one setting, so that jit knows it again
def make_optimizer(
    name: str, *, clip: float = 0.0, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Direction of descent for a gradient, to be multiplied by minus the learning rate.

    `adadelta` has PyTorch's constants (rho 0.9, epsilon 1e-6), as the release uses it; `adam` suits
    short trainings. A positive `clip` bounds the gradient's global norm first.
    """
    steps: dict[str, Any] = {
        "adadelta": lambda: optax.scale_by_adadelta(rho=0.9, eps=1e-6),
        "adam": optax.scale_by_adam,
    }
    if name not in steps:
        raise ValueError(f"optimizer must be one of {sorted(steps)}, not {name!r}")
    chain = [clip_by_norm(clip)] if clip > 0 else []
    chain.append(steps[name]())
    if weight_decay > 0:
        chain.append(optax.add_decayed_weights(weight_decay))
    return optax.chain(*chain)


def global_norm(tree: Any) -> Float[Array, ""]:
    """Length of all arrays as one vector.

    As products of vectors, for which XLA on CPU does not write out the squares first.
    """
    return jnp.sqrt(sum(jnp.vdot(x, x, precision="highest") for x in jax.tree.leaves(tree)))


def clip_by_norm(limit: float) -> optax.GradientTransformation:
    """`optax.clip_by_global_norm` as one product, which XLA joins with what follows."""

    def update(gradients: Any, state: Any, parameters: Any = None) -> tuple[Any, Any]:
        del parameters
        scale = jnp.minimum(1.0, limit / global_norm(gradients))
        return jax.tree.map(lambda g: scale * g, gradients), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)
