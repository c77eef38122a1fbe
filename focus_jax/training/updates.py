"""The two updates of the EM alternation, and the schedule that says which one runs.

`update_autoencoder` and `update_segmenter` serve every stage: loss weights and learning rate are
traced arguments, since compiling takes longer than hundreds of steps of a small job. Only what is
costly, perceptual terms and the segmenter's mask, is left out of the programs of the stages that do
not need it: XLA's conditionals run convolutions on one CPU core. The network that is not trained
runs in evaluation mode, and nothing is differentiated with respect to its weights.
"""

import dataclasses
import functools
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float

from focus_jax import forward, losses
from focus_jax.networks import recognizer
from focus_jax.rendering.render import PLAIN, Drawing
from focus_jax.training.gradients import differentiate
from focus_jax.training.optim import global_norm
from focus_jax.types import Batch, FaceCode, FaceModel, PRNGKey, Rendering, TrainState


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
    robust_sigma: float = 0.043
    robust_deviations: float = 3.0
    landmark_heavy: float = 20.0
    double_sigmoid: bool = False
    pretraining_bgr: bool = False
    composited: bool = False


@dataclasses.dataclass(frozen=True)
class Method:
    """What is fixed while a program is compiled: architectures, formulas, optimizers."""

    encoder: nn.Module
    segmenter: nn.Module
    encoder_optimizer: optax.GradientTransformation  # without learning rate: that is in `Terms`
    segmenter_optimizer: optax.GradientTransformation
    decoding: forward.Decoding = dataclasses.field(default_factory=forward.Decoding)
    forms: LossForms = dataclasses.field(default_factory=LossForms)
    recognizer: str = "dlib"
    # Pixels of the face chips that the recognizer sees. -1: as many as it was trained on; 0: it
    # sees the crop itself.
    chip_size: int = 0
    chip_align_corners: bool = True  # see `recognizer.warp_face`
    drawing: Drawing = PLAIN
    backend: str | None = None  # of the rasterizer
    dtype: str = "float32"  # or "bfloat16", in which the networks compute; the rest is float32
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


def _recognize(
    method: Method, constants: Constants, image: jax.Array, landmarks: jax.Array, *, shallow: bool
) -> recognizer.Features:
    kind, size = method.recognizer, method.chip_size
    chips = image
    if size:
        chips = recognizer.warp_face(
            image,
            landmarks,
            kind=kind,
            size=size if size > 0 else None,
            align_corners=method.chip_align_corners,
        )
    variables, chips = jax.tree.map(lambda x: x.astype(method.dtype), (constants.recognizer, chips))
    look = functools.partial(recognizer.features, kind=kind, shallow_only=shallow)
    found = (jax.checkpoint(look) if method.remat else look)(variables, chips)
    return jax.tree.map(lambda x: x.astype(jnp.float32), found)


def _decode(
    method: Method, face_model: FaceModel, raw: jax.Array, height: int, width: int
) -> forward.Reconstruction:
    """Code, face and picture from the encoder's output."""
    code = forward.decode(raw, forward.widths(face_model), method.decoding)
    return forward.reconstruct(
        code,
        face_model,
        height,
        width,
        backend=method.backend,
        drawing=method.drawing,
    )


def _total(weights: dict[str, jax.Array], terms: dict[str, jax.Array]) -> jax.Array:
    weighed = (weights[name] * terms[name] for name in weights)
    return sum(weighed, jnp.zeros(()))


def _descend(optimizer, gradients, moments, parameters, learning_rate):
    steps, moments = optimizer.update(gradients, moments, parameters)
    steps = jax.tree.map(lambda s: -learning_rate * s, steps)
    return optax.apply_updates(parameters, steps), moments


def _applied(finite: jax.Array, new: Any, old: Any) -> Any:
    """The new tree where the update's numbers are finite, and else the old one unchanged."""
    return jax.tree.map(functools.partial(jnp.where, finite), new, old)


def _variables(parameters: dict, statistics: dict) -> dict:
    """Variables of a network; one without batch norm has no statistics, not empty ones."""
    return {"params": parameters} | ({"batch_stats": statistics} if statistics else {})


def shown(
    forms: LossForms,
    rendering: Rendering,
    image: Float[Array, "b h w 3"],
    *,
    pretraining: bool = False,
) -> tuple[Rendering, Float[Array, "b h w 3"]]:
    """Rendering and photo as the segmenter sees them."""
    if forms.composited:
        rendering = rendering._replace(image=forward.composite(rendering, image))
    if pretraining and forms.pretraining_bgr:
        return rendering._replace(image=rendering.image[..., ::-1]), image[..., ::-1]
    return rendering, image


# --- the autoencoder ---------------------------------------------------------------------------


def autoencoder_terms(
    method: Method,
    constants: Constants,
    batch: Batch,
    face: forward.Reconstruction,
    segmenter: dict,
    wanted: Terms,
) -> tuple[dict[str, jax.Array], jax.Array]:
    """Unweighted terms of Eq. 8 and of the initialisation, and the mask that was used."""
    forms, rendering = method.forms, face.rendering
    target = batch.image if batch.clean is None else batch.clean
    robust, robust_mask = losses.robust_photometric(
        target,
        rendering.image,
        rendering.coverage,
        sigma=forms.robust_sigma,
        deviations=forms.robust_deviations,
    )

    if wanted.true_mask:
        if batch.mask is None:
            raise ValueError("training with true masks needs photos that have them")
        mask = batch.mask * rendering.coverage
    elif wanted.segmenter_mask:
        seen = jax.lax.stop_gradient(rendering) if forms.detach_mask else rendering
        mask, _, _ = forward.segment(
            method.segmenter,
            segmenter,
            *shown(forms, seen, batch.image),
            train=False,
            dtype=method.dtype,
        )
    else:
        mask = rendering.coverage + wanted.robust * (robust_mask - rendering.coverage)

    def perceptual():
        shallow = forms.perceptual_features == "shallow"
        look = functools.partial(_recognize, method, constants, shallow=shallow)
        rendered = forward.composite(rendering, target) if forms.composited else rendering.image
        # The release cuts each picture's chip out by its own landmarks.
        a, b = look(target, batch.landmarks), look(rendered, face.landmarks)
        return losses.cosine(a.shallow, b.shallow) if shallow else losses.cosine(a.deep, b.deep)

    code = face.code
    coefficients = [code.identity, code.expression, code.albedo]
    if forms.prior_on_scene:
        coefficients += [code.pose, forward.without_ambient(code.light)]
    terms = {
        "photometric": losses.masked_photometric(
            target, rendering.image, mask, squared=forms.photometric_squared
        ),
        "robust": robust,
        "landmark": losses.landmark(
            face.landmarks, batch.landmarks, losses.landmark_weights(forms.landmark_heavy)
        ),
        "prior": losses.prior(*coefficients),
        "autoencoder_area": losses.area(mask, rendering.coverage),
    }
    if "perceptual" in wanted.weights:
        terms["perceptual"] = perceptual()
    return terms, mask


@functools.partial(jax.jit, static_argnames="method", donate_argnames="state")
def update_autoencoder(
    state: TrainState, batch: Batch, constants: Constants, terms: Terms, *, method: Method
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One step of the encoder with the segmenter held fixed (Eq. 8; the M step)."""
    height, width = batch.image.shape[1:3]
    key = jax.random.fold_in(constants.key, state.step)
    face_model = _face_model(state, constants)

    def objective(parameters, statistics, batch, key):
        raw, statistics = _encode(method, parameters, statistics, _with_renderings(batch), key)
        raw = raw.reshape(len(batch.image), -1, raw.shape[-1])
        face = _decode(method, face_model, raw[:, 0], height, width)
        values, mask = autoencoder_terms(method, constants, batch, face, state.segmenter, terms)
        if batch.renderings is not None:
            known = raw[:, 1:].reshape(-1, raw.shape[-1])
            code = forward.decode(known, forward.widths(face_model), method.decoding)
            values["coefficients"] = _coefficients(code, face_model, batch.renderings)
        kept = 1.0 - losses.area(mask, face.rendering.coverage)
        seen = {"mask": kept, "spread": _spread(face.code)}
        return _total(terms.weights, values), (statistics, {**values, **seen})

    return _learnt(state, batch, key, terms, method, objective)


@functools.partial(jax.jit, static_argnames="method", donate_argnames="state")
def update_on_renderings(
    state: TrainState, batch: Batch, constants: Constants, terms: Terms, *, method: Method
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One step of the encoder on a batch of renderings alone, of which nothing need be drawn."""
    key = jax.random.fold_in(constants.key, state.step)
    face_model = _face_model(state, constants)

    def objective(parameters, statistics, batch, key):
        raw, statistics = _encode(method, parameters, statistics, batch, key)
        code = forward.decode(raw, forward.widths(face_model), method.decoding)
        values = {"coefficients": _coefficients(code, face_model, batch)}
        return _total(terms.weights, values), (statistics, {**values, "spread": _spread(code)})

    return _learnt(state, batch, key, terms, method, objective)


def _encode(
    method: Method, parameters: dict, statistics: dict, batch: Batch, key: PRNGKey
) -> tuple[jax.Array, dict]:
    """The training encoder's output and its new statistics."""
    return forward.encode(
        method.encoder,
        _variables(parameters, statistics),
        batch,
        train=True,
        dropout=key,
        dtype=method.dtype,
    )


def _learnt(
    state: TrainState, batch: Batch, key: PRNGKey, terms: Terms, method: Method, objective: Any
) -> tuple[TrainState, dict[str, jax.Array]]:
    """The state after a step of the encoder, where its numbers are finite, and these numbers."""
    loss, statistics, values, gradients = differentiate(
        objective, state.encoder, batch, key, method.parts
    )
    parameters, moments = _descend(
        method.encoder_optimizer,
        gradients,
        state.encoder_optimizer,
        state.encoder["params"],
        terms.learning_rate,
    )
    norm = global_norm(gradients)
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    state = dataclasses.replace(
        state,
        step=state.step + 1,
        encoder=_applied(finite, _variables(parameters, statistics), state.encoder),
        encoder_optimizer=_applied(finite, moments, state.encoder_optimizer),
    )
    return state, {**values, "loss": loss, "gradient": norm, "finite": finite}


def _with_renderings(batch: Batch) -> Batch:
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


def _coefficients(code: FaceCode, face_model: FaceModel, renderings: Batch) -> jax.Array:
    """`losses.coefficients` of what the encoder says of renderings."""
    found = jnp.concatenate([code.identity, code.expression, code.albedo], axis=-1)
    weights = losses.coefficient_weights(
        face_model.identity_basis, face_model.expression_basis, face_model.albedo_basis
    )
    return losses.coefficients(found, renderings.coefficients, weights)


def _spread(code: FaceCode) -> jax.Array:
    """By how much the faces of a batch differ, in standard deviations of the face model."""
    face = jnp.concatenate([code.identity, code.expression, code.albedo], axis=-1)
    return jnp.sqrt(jnp.mean(jnp.var(jax.lax.stop_gradient(face), axis=0)))


# --- the segmentation network ------------------------------------------------------------------


def segmenter_terms(
    method: Method,
    constants: Constants,
    batch: Batch,
    face: forward.Reconstruction,
    mask: jax.Array,
    logits: jax.Array,
    weights: dict[str, jax.Array],
) -> dict[str, jax.Array]:
    """Unweighted terms of the segmentation objective (Eqs. 1 to 4) and of its pre-training."""
    forms, rendering = method.forms, face.rendering
    _, preliminary = losses.robust_photometric(
        batch.image,
        rendering.image,
        rendering.coverage,
        sigma=forms.robust_sigma,
        deviations=forms.robust_deviations,
    )

    terms = {"area": losses.area(mask, rendering.coverage)}
    if "pasted" in weights:
        if batch.pasted is None:
            raise ValueError("losses.pasted needs pasted occluders; set config.data.paste above 0")
        terms["pasted"] = losses.pasted(logits, batch.pasted, rendering.coverage, batch.whole)
        preliminary = preliminary * (1.0 - batch.pasted)
    if "pretraining" in weights:
        # The release takes the sigmoid of these for logits.
        given = jax.nn.sigmoid(logits) if forms.double_sigmoid else logits
        return terms | {"pretraining": losses.cross_entropy(given, preliminary)}

    look = functools.partial(_recognize, method, constants, shallow=True)
    # One pass for the two masked pictures: a convolution likes a large batch.
    pictures = jnp.concatenate([batch.image * mask, rendering.image * mask])
    shallow = look(pictures, jnp.concatenate([batch.landmarks, face.landmarks])).shallow
    target, rendered = jnp.split(shallow, 2)
    whole = look(batch.image, batch.landmarks).shallow
    compare = functools.partial(losses.shallow_cosine, normalize_width=forms.normalize_width)
    return terms | {
        "neighbour": losses.neighbour(
            batch.image,
            rendering.image,
            mask,
            window=forms.neighbour_window,
            search=forms.neighbour_search,
            squared=forms.neighbour_squared,
        ),
        "distance": compare(target, rendered),
        "preserve": compare(target, whole),
        "binary": losses.binary(mask, squared=forms.binary_squared),
    }


@functools.partial(jax.jit, static_argnames="method", donate_argnames="state")
def update_segmenter(
    state: TrainState, batch: Batch, constants: Constants, terms: Terms, *, method: Method
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One step of the segmentation network with the autoencoder held fixed (the E step)."""
    key = jax.random.fold_in(constants.key, state.step)
    pretraining = "pretraining" in terms.weights

    def objective(parameters, statistics, batch, key):
        face = jax.lax.stop_gradient(_face(state, batch, constants, method))
        mask, logits, statistics = forward.segment(
            method.segmenter,
            _variables(parameters, statistics),
            *shown(method.forms, face.rendering, batch.image, pretraining=pretraining),
            train=True,
            dropout=key,
            dtype=method.dtype,
        )
        values = segmenter_terms(method, constants, batch, face, mask, logits, terms.weights)
        kept = 1.0 - values["area"]
        return _total(terms.weights, values), (statistics, {**values, "mask": kept})

    loss, statistics, values, gradients = differentiate(
        objective, state.segmenter, batch, key, method.parts
    )
    parameters, moments = _descend(
        method.segmenter_optimizer,
        gradients,
        state.segmenter_optimizer,
        state.segmenter["params"],
        terms.learning_rate,
    )
    norm = global_norm(gradients)
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    state = dataclasses.replace(
        state,
        step=state.step + 1,
        segmenter=_applied(finite, _variables(parameters, statistics), state.segmenter),
        segmenter_optimizer=_applied(finite, moments, state.segmenter_optimizer),
    )
    return state, {**values, "loss": loss, "gradient": norm, "finite": finite}


# --- prediction ----------------------------------------------------------------------------------


class Prediction(NamedTuple):
    """What both networks, in evaluation mode, say of a batch."""

    face: forward.Reconstruction
    mask: Float[Array, "b h w 1"]
    robust_mask: Float[Array, "b h w 1"]  # Eq. 10, the baseline without a network


def _face_model(state: TrainState, constants: Constants) -> FaceModel:
    return dataclasses.replace(constants.face_model, albedo_mean=state.albedo_mean)


def _face(state: TrainState, batch: Batch, constants: Constants, method: Method):
    height, width = batch.image.shape[1:3]
    face_model = _face_model(state, constants)
    raw, _ = forward.encode(method.encoder, state.encoder, batch, train=False, dtype=method.dtype)
    return _decode(method, face_model, raw, height, width)


@functools.partial(jax.jit, static_argnames="method")
def predict(state: TrainState, batch: Batch, constants: Constants, *, method: Method) -> Prediction:
    """Faces and masks of a batch; changes nothing."""
    face = _face(state, batch, constants, method)
    mask, _, _ = forward.segment(
        method.segmenter,
        state.segmenter,
        *shown(method.forms, face.rendering, batch.image),
        train=False,
        dtype=method.dtype,
    )
    _, robust_mask = losses.robust_photometric(
        batch.image,
        face.rendering.image,
        face.rendering.coverage,
        sigma=method.forms.robust_sigma,
        deviations=method.forms.robust_deviations,
    )
    return Prediction(face, mask, robust_mask)
