"""Training on faces whose coefficients are known: renderings of the model, photos fitted before."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from focus_jax import forward, losses
from focus_jax.training.gradients import step, with_statistics
from focus_jax.training.method import Constants, Method, Terms, face_model_of, weighed
from focus_jax.types import Batch, FaceCode, FaceModel, PRNGKey, TrainState


@functools.partial(jax.jit, static_argnames="method", donate_argnames="state")
def update_on_renderings(
    state: TrainState, batch: Batch, constants: Constants, terms: Terms, *, method: Method
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One step of the encoder on known coefficients alone, for which nothing need be drawn."""
    key = jax.random.fold_in(constants.key, state.step)
    face_model = face_model_of(state, constants)

    def objective(parameters, statistics, batch, key):
        raw, statistics = encode(method, parameters, statistics, batch, key)
        code = forward.decode(raw, forward.widths(face_model), method.networks.decoding)
        values = {"coefficients": coefficients_error(code, face_model, batch)}
        return weighed(terms.weights, values), (statistics, {**values, "spread": spread(code)})

    return step(state, "encoder", batch, key, terms, method, objective)


def encode(
    method: Method, parameters: dict, statistics: dict, batch: Batch, key: PRNGKey
) -> tuple[jax.Array, dict]:
    """The training encoder's output and its new statistics."""
    return forward.encode(
        method.networks.encoder,
        with_statistics(parameters, statistics),
        batch,
        train=True,
        dropout=key,
        dtype=method.networks.dtype,
    )


def with_renderings(batch: Batch) -> Batch:
    """What the encoder sees: each photo followed by its share of the renderings.

    In turn, so that none moves to another device, and together, so that a network which normalises
    by the batch learns the statistics of both.
    """
    if batch.renderings is None:
        return batch

    def join(photos: jax.Array, renderings: jax.Array) -> jax.Array:
        shares = renderings.reshape(len(photos), -1, *photos.shape[1:])
        together = jnp.concatenate([photos[:, None], shares], axis=1)
        return together.reshape(-1, *photos.shape[1:])

    own = batch.renderings
    features = None if batch.features is None else join(batch.features, own.features)
    return dataclasses.replace(batch, image=join(batch.image, own.image), features=features)


def coefficients_error(code: FaceCode, face_model: FaceModel, faces: Batch) -> jax.Array:
    """`losses.coefficients` of what the encoder says of faces; none of those that are unknown."""
    found = jnp.concatenate([code.identity, code.expression, code.albedo], axis=-1)
    weights = losses.coefficient_weights(
        face_model.identity_basis, face_model.expression_basis, face_model.albedo_basis
    )
    known = jnp.isfinite(faces.coefficients).all(axis=-1, keepdims=True)
    true = jnp.where(known, faces.coefficients, found)
    return losses.coefficients(found, true, weights) * (len(found) / jnp.maximum(known.sum(), 1))


def spread(code: FaceCode) -> jax.Array:
    """By how much the faces of a batch differ, in standard deviations of the face model."""
    face = jnp.concatenate([code.identity, code.expression, code.albedo], axis=-1)
    return jnp.sqrt(jnp.mean(jnp.var(jax.lax.stop_gradient(face), axis=0)))
