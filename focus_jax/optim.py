"""Optimizers without a learning rate; the rate comes from the step (`schedule.terms_at`)."""

import functools
from typing import Any

import optax


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
    chain = [optax.clip_by_global_norm(clip)] if clip > 0 else []
    chain.append(steps[name]())
    if weight_decay > 0:
        chain.append(optax.add_decayed_weights(weight_decay))
    return optax.chain(*chain)
