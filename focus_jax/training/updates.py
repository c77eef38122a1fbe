"""The two updates of the EM alternation, and the schedule that says which one runs.

`update_autoencoder` and `update_segmenter` serve every stage: loss weights and learning rate are
traced arguments, since compiling takes longer than hundreds of steps of a small job. Only what is
costly, perceptual terms and the segmenter's mask, is left out of the programs of the stages that do
not need it: XLA's conditionals run convolutions on one CPU core. The network that is not trained
runs in evaluation mode, and nothing is differentiated with respect to its weights.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from focus_jax import forward, losses
from focus_jax.data import belief
from focus_jax.networks import recognizer
from focus_jax.rendering import camera
from focus_jax.training import renderings
from focus_jax.training.gradients import step, with_statistics
from focus_jax.training.method import Constants, LossForms, Method, Terms, face_model_of, weighed
from focus_jax.types import Batch, Rendering, TrainState

__all__ = [
    "Constants",
    "LossForms",
    "Method",
    "Terms",
    "autoencoder_terms",
    "predict",
    "segmenter_terms",
    "shown",
    "update_autoencoder",
    "update_segmenter",
]


def _recognize(
    method: Method, constants: Constants, image: jax.Array, landmarks: jax.Array, *, shallow: bool
) -> recognizer.Features:
    kind, size = method.networks.recognizer, method.chip_size
    chips = image
    if size:
        chips = recognizer.warp_face(
            image,
            landmarks,
            kind=kind,
            size=size if size > 0 else None,
            align_corners=method.chip_align_corners,
        )
    variables, chips = jax.tree.map(
        lambda x: x.astype(method.networks.dtype), (constants.recognizer, chips)
    )
    look = functools.partial(recognizer.features, kind=kind, shallow_only=shallow)
    found = (jax.checkpoint(look) if method.remat else look)(variables, chips)
    return jax.tree.map(lambda x: x.astype(jnp.float32), found)


def predict(
    state: TrainState, batch: Batch, constants: Constants, *, method: Method
) -> forward.Prediction:
    """Faces and masks of a batch by the networks as they are; changes nothing."""
    variables = {"encoder": state.encoder, "segmenter": state.segmenter}
    face_model = face_model_of(state, constants)
    return forward.predict(variables, batch, face_model, networks=method.networks)


def shown(
    method: Method, rendering: Rendering, image: Float[Array, "b h w 3"], *, pretraining: bool
) -> tuple[Rendering, Float[Array, "b h w 3"]]:
    """Rendering and photo as the segmenter sees them while it learns."""
    rendering, image = forward.shown(rendering, image, composited=method.networks.composited)
    if pretraining and method.forms.pretraining_bgr:
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
        sigma=method.networks.robust_sigma,
        deviations=method.networks.robust_deviations,
    )

    if wanted.true_mask:
        if batch.mask is None:
            raise ValueError("training with true masks needs photos that have them")
        mask = batch.mask * rendering.coverage
    elif wanted.segmenter_mask:
        seen = jax.lax.stop_gradient(rendering) if forms.detach_mask else rendering
        mask, _, _ = forward.segment(
            method.networks.segmenter,
            segmenter,
            *forward.shown(seen, batch.image, composited=method.networks.composited),
            train=False,
            dtype=method.networks.dtype,
        )
    else:
        mask = rendering.coverage + wanted.robust * (robust_mask - rendering.coverage)

    def perceptual():
        shallow = forms.perceptual_features == "shallow"
        look = functools.partial(_recognize, method, constants, shallow=shallow)
        rendered = (
            forward.composite(rendering, target) if method.networks.composited else rendering.image
        )
        # The release cuts each picture's chip out by its own landmarks.
        a, b = look(target, batch.landmarks), look(rendered, face.landmarks)
        return losses.cosine(a.shallow, b.shallow) if shallow else losses.cosine(a.deep, b.deep)

    # Where nothing tells occluders from misfits yet, nothing is disbelieved; and what is pasted on
    # was not there when the landmarks were found.
    hidden = jnp.zeros_like(mask)
    if wanted.true_mask or wanted.segmenter_mask:
        hidden = rendering.coverage - mask
    if batch.pasted is not None:
        hidden = hidden * (1.0 - batch.pasted)
    points = belief.believed(
        constants.face_model,
        rendering.screen_vertices,
        camera.extrinsics(face.code.pose)[0],
        batch.landmarks,
        batch.dense_landmarks,
        hidden,
        losses.landmark_weights(forms.landmark_heavy),
        doubt=forms.landmark_doubt,
        backend=method.networks.backend,
    )
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
            belief.fitted(constants.face_model, rendering.screen_vertices, points), *points
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
    face_model = face_model_of(state, constants)

    def objective(parameters, statistics, batch, key):
        seen = renderings.with_renderings(batch)
        raw, statistics = renderings.encode(method, parameters, statistics, seen, key)
        raw = raw.reshape(len(batch.image), -1, raw.shape[-1])
        face = forward.draw(raw[:, 0], face_model, height, width, networks=method.networks)
        values, mask = autoencoder_terms(method, constants, batch, face, state.segmenter, terms)
        if batch.renderings is not None:
            known = raw[:, 1:].reshape(-1, raw.shape[-1])
            code = forward.decode(known, forward.widths(face_model), method.networks.decoding)
            values["coefficients"] = renderings.coefficients_error(
                code, face_model, batch.renderings
            )
        elif "coefficients" in terms.weights:
            values["coefficients"] = renderings.coefficients_error(face.code, face_model, batch)
        kept = 1.0 - losses.area(mask, face.rendering.coverage)
        seen = {"mask": kept, "spread": renderings.spread(face.code)}
        return weighed(terms.weights, values), (statistics, {**values, **seen})

    return step(state, "encoder", batch, key, terms, method, objective)


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
        sigma=method.networks.robust_sigma,
        deviations=method.networks.robust_deviations,
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
        face = jax.lax.stop_gradient(
            forward.find_face(
                state.encoder, batch, face_model_of(state, constants), networks=method.networks
            )
        )
        mask, logits, statistics = forward.segment(
            method.networks.segmenter,
            with_statistics(parameters, statistics),
            *shown(method, face.rendering, batch.image, pretraining=pretraining),
            train=True,
            dropout=key,
            dtype=method.networks.dtype,
        )
        values = segmenter_terms(method, constants, batch, face, mask, logits, terms.weights)
        kept = 1.0 - values["area"]
        return weighed(terms.weights, values), (statistics, {**values, "mask": kept})

    return step(state, "segmenter", batch, key, terms, method, objective)
