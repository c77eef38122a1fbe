"""What the updates are told: formulas and networks, frozen arrays, and the terms of a stage."""

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float

from focus_jax import forward
from focus_jax.types import FaceModel, PRNGKey, TrainState


@dataclasses.dataclass(frozen=True)
class LossForms:
    """The choices among formulas (see `presets`); the weights are in `Terms`."""

    neighbour_window: int = 5
    neighbour_search: Literal["target", "rendering"] = "target"
    neighbour_squared: bool = False
    binary_squared: bool = False
    normalize_width: bool = True
    photometric_squared: bool = False
    perceptual_features: Literal["deep", "shallow"] = "deep"
    prior_on_scene: bool = False
    detach_mask: bool = False
    landmark_heavy: float = 20.0
    landmark_doubt: float = 0.0
    double_sigmoid: bool = False
    pretraining_bgr: bool = False


@dataclasses.dataclass(frozen=True)
class Method:
    """What is fixed while a program is compiled: architectures, formulas, optimizers."""

    networks: forward.Networks
    encoder_optimizer: optax.GradientTransformation  # without learning rate: that is in `Terms`
    segmenter_optimizer: optax.GradientTransformation
    forms: LossForms = dataclasses.field(default_factory=LossForms)
    # Pixels of the face chips that the recognizer sees. -1: as many as it was trained on; 0: it
    # sees the crop itself.
    chip_size: int = 0
    chip_align_corners: bool = True  # see `recognizer.warp_face`
    remat: bool = False  # whether gradients compute feature maps anew instead of keeping them
    parts: int = 1  # of a batch, whose gradients are computed one after the other


class Constants(NamedTuple):
    """Arrays that training never changes; arguments, as constants of this size slow compiling."""

    face_model: FaceModel
    recognizer: dict
    key: PRNGKey


@struct.dataclass
class Terms:
    """What changes from stage to stage. A term without a weight is not computed."""

    weights: dict[str, Float[Array, ""]]
    learning_rate: Float[Array, ""]
    # The autoencoder's mask: the segmenter's, or else Eq. 10's (1) or the whole rendered face (0).
    robust: Float[Array, ""]
    segmenter_mask: bool = struct.field(pytree_node=False, default=False)
    true_mask: bool = struct.field(pytree_node=False, default=False)  # the upper bound of them all


def face_model_of(state: TrainState, constants: Constants) -> FaceModel:
    """The face model with the mean albedo that the run has found so far."""
    return dataclasses.replace(constants.face_model, albedo_mean=state.albedo_mean)


def weighed(weights: dict[str, jax.Array], terms: dict[str, jax.Array]) -> jax.Array:
    """The weighted sum of those terms that have a weight."""
    return sum((weights[name] * terms[name] for name in weights), jnp.zeros(()))
