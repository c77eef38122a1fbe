"""People whom the tests of occluders put things before."""

import functools

import numpy as np

from focus_jax.data.occluders.head import Head
from focus_jax.face_models import load_face_model


@functools.cache
def head(seed: int) -> Head:
    """A person of the built-in model's, with a slight expression."""
    model, rng = load_face_model("builtin"), np.random.default_rng(seed)
    identity, expression = (np.asarray(b) for b in (model.identity_basis, model.expression_basis))
    vertices = np.asarray(model.shape_mean) + identity @ rng.normal(0, 0.8, identity.shape[-1])
    vertices = vertices + expression @ rng.normal(0, 0.3, expression.shape[-1])
    corners, weights = np.asarray(model.landmark_vertices), np.asarray(model.landmark_weights)
    landmarks = np.einsum("lkc,lk->lc", vertices[corners], weights)
    return Head(vertices, landmarks, np.array([0.7, 0.5, 0.4]))
