"""Refinement: gradient descent on a face's coefficients through the renderer, its mask fixed.

The landmarks anchor it: without them the colours improve and the landmarks get worse. The deep
features of the recognizer make it a likeness: colours and landmarks alone find a face whose
rendering the recognizer takes for somebody else.
"""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from focus_jax import forward, losses
from focus_jax.data.belief import DOUBT, Points, believed, fitted
from focus_jax.networks import recognizer
from focus_jax.photos.landmark_fit import fit_landmarks
from focus_jax.photos.programs import program
from focus_jax.rendering import camera
from focus_jax.rendering.render import PLAIN, Drawing
from focus_jax.types import AnyArray, FaceCode, FaceModel

RATE = 0.05  # of Adam; decays to nothing along a cosine
# Landmarks are in crop widths, whatever the crop's size. With a quarter of the landmarks' weight
# most codes on the way meet them worse than the first one does, and are not taken.
WEIGHTS = {
    **{"photometric": 18.0, "landmark": 800.0, "likeness": 4.0},
    # Of squared deviations. With a tenth of it shapes of people drawn from scans' statistics come
    # out worse than the landmarks alone have them: the photometric term bends what it cannot shade.
    **{"identity": 1e-2, "expression": 5e-3, "albedo": 2e-3},
    # Of squared mm by which the shape has moved in depth, which a photo shows little of: what the
    # encoder knows of it from faces in three dimensions is better than what shading says.
    "depth": 0.1,
}
# By how much a face's landmark error may rise for the sake of the rest: a tenth of the distance. A
# face fitted to landmarks alone could not change at all without it.
LEEWAY = 1.1**2
# And to what it may rise in any case, a hundredth of the crop's width on average: detectors differ
# by more. A face that the encoder put right upon its landmarks could not change otherwise.
FLOOR = 0.01**2 / 2
# Of `freed`: units that make a step of Adam as long as light and tone need. Albedo in deviations.
LIGHT_SCALE, ALBEDO_SCALE, ALBEDO_LIMIT = 3.0, 2.0, 3.0
# Of the light's departure from grey: where a mask misses an occluder, free light takes its colour.
COLOUR_PRIOR = 0.02
START_WEIGHTS = {
    **{"photometric": 0.1, "landmark": 160.0, "likeness": 0.0},
    **{"identity": 1e-3, "expression": 1e-3, "albedo": 1e-3, "depth": 0.0},
}
# The recognizer is most of a step: each second one asks it, and the next goes by what it said.
# Without that it finds less of the likeness, whatever its weight.
EVERY = 2
# What a landmark error above its bound costs, beside `WEIGHTS`.
EXCESS = 4000.0
HELD = 0.8  # of the bound, from where on it does
_ADAM: Any = optax.scale_by_adam()
_embed = program(recognizer.embedding, static=("kind",))
THRESHOLD = 0.13  # of Eq. 10: three deviations of 0.043


class Errors(NamedTuple):
    """Of each face. Refinement lowers their weighted sum and keeps the second, to `LEEWAY`."""

    photometric: Float[Array, "b"]  # mean colour distance inside the mask
    landmark: Float[Array, "b"]  # mean squared distance, crop widths^2
    likeness: Float[Array, "b"]  # 1 - cosine between the deep features of photo and rendering


def _errors(face: forward.Reconstruction, face_model, image, points, mask, likeness) -> Errors:
    # A batch of one: the losses average over their batch, and each face is its own problem.
    def one(rendered, coverage, own, image, points, mask):
        side = image.shape[1]
        return (
            losses.masked_photometric(image[None], rendered[None], (mask * coverage)[None]),
            losses.landmark(own[None] / side, points.found[None] / side, points.weights),
        )

    rendering = face.rendering
    own = fitted(face_model, rendering.screen_vertices, points)
    both = jax.vmap(one)(rendering.image, rendering.coverage, own, image, points, mask)
    return Errors(*both, likeness)


@functools.partial(program, static=("decoding", "drawing", "doubt"))
def _believed(
    raw,
    landmarks,
    dense,
    mask,
    face_model,
    *,
    decoding: forward.Decoding,
    drawing: Drawing,
    doubt: float,
) -> Points:
    """What a descent from `raw` holds against the face: once, as errors must stay comparable."""
    code = forward.decode(raw, forward.widths(face_model), decoding)
    face = forward.reconstruct(code, face_model, *mask.shape[1:3], drawing=drawing).rendering
    hidden = face.coverage * (1.0 - mask)
    rotation, _ = camera.extrinsics(code.pose)
    found = landmarks, dense, hidden, jnp.ones(landmarks.shape[1])
    return believed(face_model, face.screen_vertices, rotation, *found, doubt=doubt)


class _Descent(NamedTuple):
    """A descent on its way."""

    raw: Float[Array, "b n"]
    moments: Any
    best: Float[Array, "b n"]
    lowest: Errors  # of the best code
    start: Errors
    pull: Float[Array, "b n"]  # the likeness's gradient, when it was last asked for


def _score(errors: Errors, weights: dict[str, Any]) -> Float[Array, "b"]:
    return sum((weights[n] * getattr(errors, n) for n in errors._fields), jnp.zeros(()))


def _descend(
    raw: Float[Array, "b n"],
    photo: tuple[jax.Array, Points, jax.Array],  # with the mask, as in `refine`
    face_model: FaceModel,
    frozen: dict,
    steps: int,
    *,
    weights: dict[str, float],
    seen: Float[Array, "b c"] | None,
    **fixed: Any,
) -> _Descent:
    """The last code and the best on the way, and the errors at the start and of the best.

    `seen` is the photos' embedding; without one there is no likeness, and no best.
    """
    none = Errors(*[jnp.full(len(raw), jnp.finfo(raw.dtype).max)] * 3)
    found = _Descent(raw, _ADAM.init(raw), raw, none, none, jnp.zeros_like(raw))
    weighed = jax.tree.map(np.float32, weights)
    # One more round than there are steps, for the errors after the last of them. A program for each
    # step: in a loop of XLA's the convolutions of a CPU take several times as long.
    for number in range(steps + 1):
        part = np.float32(number / max(steps, 1))
        # The first, for the errors at the start, and the last are among them.
        asked = number == 0 or (steps - number) % EVERY == 0
        looked = (frozen, weighed, seen) if asked else ({}, weighed, None)
        found = _step(found, part, raw, *photo, face_model, *looked, **fixed)
    return found


@functools.partial(program, static=("decoding", "kind", "drawing", "together"))
def _step(
    now: _Descent,
    part: Float[Array, ""],  # of the steps that lies behind: 0 at the first
    first: Float[Array, "b n"],  # where the descent began
    image,
    points,
    mask,
    face_model,
    frozen,
    weights: dict[str, Float[AnyArray, ""]],
    seen: Float[Array, "b c"] | None,  # the photo's embedding; None: not asked for in this step
    *,
    decoding: forward.Decoding,
    kind: str = "dlib",
    drawing: Drawing = PLAIN,
    together: bool = False,
) -> _Descent:
    size, widths = image.shape[1], forward.widths(face_model)
    bound = jnp.maximum(LEEWAY * now.start.landmark, FLOOR)  # none yet at the first step

    def objective(raw):
        code = forward.decode(raw, widths, decoding)
        face = forward.reconstruct(code, face_model, size, size, drawing=drawing)
        likeness = jnp.zeros(len(image))
        if seen is not None:
            # Cut out by the photo's landmarks both: a face at the wrong place is no likeness.
            picture = face.rendering.image * mask * face.rendering.coverage
            drawn = recognizer.embedding(frozen, picture, points.found[:, :68], kind=kind)
            likeness = 1.0 - jnp.sum(seen * drawn, axis=-1)
        errors = _errors(face, face_model, image, points, mask, likeness)
        prior = sum(
            weights[kind] * jnp.sum(getattr(code, kind) ** 2)
            for kind in ("identity", "expression", "albedo")
        )
        light = code.light.reshape(-1, 3, 9)
        colour = jnp.sum((light - jnp.mean(light, axis=1, keepdims=True)) ** 2)
        excess = EXCESS * jnp.sum(jnp.maximum(errors.landmark - HELD * bound, 0.0))
        rest = jnp.sum(_score(errors._replace(likeness=jnp.zeros(len(image))), weights))
        moved = code.identity - first[:, : widths.identity]
        depth = moved @ face_model.identity_basis[:, 2].T
        rest += weights["depth"] * jnp.sum(jnp.mean(depth**2, axis=-1))
        rest += prior + excess + COLOUR_PRIOR * colour
        return (rest, weights["likeness"] * jnp.sum(likeness)), errors

    (rest, alike), back, errors = jax.vjp(objective, now.raw, has_aux=True)
    pull = now.pull
    if seen is not None:
        (pull,) = back((jnp.zeros_like(rest), jnp.ones_like(alike)))
    gradient = back((jnp.ones_like(rest), jnp.zeros_like(alike)))[0] + pull
    start = jax.tree.map(lambda s, e: jnp.where(part == 0, e, s), now.start, errors)
    within, score, lowest = errors.landmark, _score(errors, weights), _score(now.lowest, weights)
    if together:
        gradient = _of_one_person(gradient, widths)
        within, bound, score, lowest = (
            jnp.mean(x, keepdims=True) for x in (within, bound, score, lowest)
        )
    better = jnp.broadcast_to((within <= bound) & (score < lowest), errors.landmark.shape)
    better &= seen is not None  # without a likeness, scores are not those of other steps
    change, moments = _ADAM.update(gradient, now.moments)
    # Adam's first steps are of full length whatever the gradient: a face that sits would be thrown.
    rate = optax.cosine_decay_schedule(RATE, 1)(part) * jnp.minimum(1.0, 0.1 + 9.0 * part)
    return _Descent(
        now.raw - rate * change,
        moments,
        jnp.where(better[:, None], now.raw, now.best),
        jax.tree.map(lambda old, new: jnp.where(better, new, old), now.lowest, errors),
        start,
        pull,
    )


def _of_one_person(gradient: Float[Array, "b n"], widths: forward.Widths) -> Float[Array, "b n"]:
    """Identity and albedo, equal in all faces, move as one; the rest of each by itself."""
    number, shaped = jnp.arange(gradient.shape[-1]), widths.identity + widths.expression
    shared = (number < widths.identity) | ((number >= shaped) & (number < shaped + widths.albedo))
    return jnp.where(shared, jnp.mean(gradient, axis=0), gradient)


def freed(decoding: forward.Decoding) -> forward.Decoding:
    """The decoding without bounds on light, and with wide ones on tone.

    Those of a training keep the rendering from painting what covers the face. A mask that does not
    rest on them, as a segmenter's, leaves that out by itself.
    """
    return dataclasses.replace(
        decoding,
        albedo_scale=ALBEDO_SCALE,
        albedo_limit=max(ALBEDO_LIMIT, decoding.albedo_limit),
        light_scale=LIGHT_SCALE,
        light_colour=1.0,
        light_colour_limit=math.inf,
        light_bands=(1.0, 1.0, 1.0),
    )


@functools.partial(program, static=("decoding",))
def write_freed(code: FaceCode, *, decoding: forward.Decoding) -> Float[Array, "b n"]:
    """What a decoding by `freed` reads as this code."""
    angle, shift, depth = decoding.angle_scale, decoding.translation_scale, decoding.depth_scale
    pose = code.pose / jnp.array([angle, angle, angle, shift, shift, depth])
    albedo, limit = code.albedo, decoding.albedo_limit
    if math.isfinite(limit):
        # A coefficient at the very limit would be infinite.
        albedo = limit * jnp.arctanh(jnp.clip(albedo / limit, -1 + 1e-6, 1 - 1e-6))
    light = forward.without_ambient(code.light) / decoding.light_scale
    parts = (code.identity, code.expression, albedo / decoding.albedo_scale, pose, light)
    return jnp.concatenate(parts, axis=-1)


def refine(
    raw: Float[Array, "b n"],
    image: Float[Array, "b h w 3"],
    landmarks: Float[Array, "b 68 2"],
    mask: Float[Array, "b h w 1"],
    face_model: FaceModel,
    frozen: dict,
    steps: int,
    *,
    decoding: forward.Decoding,
    dense: Float[Array, "b 478 2"] | None = None,
    kind: str = "dlib",
    drawing: Drawing = PLAIN,
    together: bool = False,
    prior: float = 1.0,
) -> tuple[Float[Array, "b n"], Errors, Errors]:
    """Codes after `steps` of descent, and their errors before and after.

    Of the codes on the way each face keeps the one of the lowest weighted sum of errors among those
    whose landmark error is at most `LEEWAY` times that of the start, or `FLOOR`. `decoding` is that
    of `raw` and bounds light and tone (see `freed`); `dense` landmarks count where the face model
    has places for them (`data.belief`); `frozen` and `kind` are the recognizer's. `together` is of
    faces of one person, whose `raw` has one identity and albedo: these stay one, and the code that
    is kept is the same step's for all, of means instead of each face's errors.
    """
    seen = _embed(frozen, image * mask, landmarks, kind=kind)
    fixed = {"decoding": decoding, "kind": kind, "drawing": drawing, "together": together}
    made = {"decoding": decoding, "drawing": drawing, "doubt": DOUBT}
    photo = image, _believed(raw, landmarks, dense, mask, face_model, **made), mask
    held = {k: prior * WEIGHTS[k] for k in ("identity", "expression", "albedo")}
    weights = WEIGHTS | held
    found = _descend(raw, photo, face_model, frozen, steps, weights=weights, seen=seen, **fixed)
    return found.best, found.start, found.lowest


def start(
    image: Float[Array, "b h w 3"],
    landmarks: Float[Array, "b 68 2"],
    face_model: FaceModel,
    steps: int,
    *,
    decoding: forward.Decoding,
    dense: Float[Array, "b 478 2"] | None = None,
) -> Float[Array, "b n"]:
    """A first code without any network: the face of the landmarks, roughly coloured in `steps`."""
    raw = fit_landmarks(landmarks, dense, face_model, size=image.shape[1], decoding=decoding)
    mask = jnp.ones_like(image[..., :1])
    made = {"decoding": decoding, "drawing": PLAIN, "doubt": DOUBT}
    photo = image, _believed(raw, landmarks, dense, mask, face_model, **made), mask
    # As `refine` says it, whose steps without a likeness are the same program.
    fixed = {"decoding": decoding, "kind": "dlib", "drawing": PLAIN, "together": False}
    given = {"weights": START_WEIGHTS, "seen": None}
    found = _descend(raw, photo, face_model, {}, steps, **given, **fixed).raw
    # Of the descent its colours: nothing is masked yet, and the shape would go after what hides it.
    widths = forward.widths(face_model)
    shaped = widths.identity + widths.expression
    number = jnp.arange(widths.outputs) - shaped
    coloured = ((number >= 0) & (number < widths.albedo)) | (number >= widths.albedo + 6)
    return jnp.where(coloured, found, raw)


def threshold_mask(
    image: Float[Array, "b h w 3"],
    rendering: Float[Array, "b h w 3"],
    coverage: Float[Array, "b h w 1"],
) -> Float[Array, "b h w 1"]:
    """Where a rendering meets the photo within a threshold: Eq. 10, for want of a segmenter.

    The differences are smoothed over a twentieth of the width first, and the threshold is at least
    2.5 times their median in the face, since the model of one face is met less well than another.
    """
    side = max(1, round(image.shape[2] / 20)) | 1
    window = (1, side, side, 1)
    squared = jnp.sum((image - rendering) ** 2, -1, keepdims=True) * coverage
    total, count = (
        jax.lax.reduce_window(x, 0.0, jax.lax.add, window, (1, 1, 1, 1), "SAME")
        for x in (squared, coverage)
    )
    distance = jnp.sqrt(total / jnp.maximum(count, 1.0))
    inside = jnp.where(coverage > 0, distance, jnp.nan).reshape(len(image), -1)
    median = jnp.nan_to_num(jnp.nanmedian(inside, axis=1))[:, None, None, None]
    return (distance < jnp.maximum(THRESHOLD, 2.5 * median)) * coverage
