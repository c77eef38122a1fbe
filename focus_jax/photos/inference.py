"""From a batch of crops to faces and masks: the networks, the refinement, the final pictures."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from focus_jax import forward
from focus_jax.photos.light_fit import fit_light
from focus_jax.photos.programs import program
from focus_jax.photos.refine import Errors, freed, refine, start, threshold_mask, write_freed
from focus_jax.photos.trained import Model
from focus_jax.rendering import camera, geometry, morphable, rasterize, shading
from focus_jax.rendering.render import Drawing
from focus_jax.types import Batch, FaceCode, FaceModel

FINE = 448  # pixels of the crop in which results are drawn, whatever size the networks see
START_STEPS = 30  # of colours, where no encoder has found them
TURN = 0.6  # radians about the vertical, of the face that is shown turned
SIDE, PAPER = 320, 240  # pixels of its picture, and the grey around it


class Inference(NamedTuple):
    """What is known of a batch of faces. f is FINE; pictures show the crop at that size."""

    code: FaceCode
    rotation: Float[Array, "b 3 3"]  # face model to camera
    translation: Float[Array, "b 3"]
    vertices: Float[Array, "b v 3"]  # with expression, face model's coordinates
    neutral: Float[Array, "b v 3"]  # without
    albedo: Float[Array, "b v 3"]
    colours: Float[Array, "b v 3"]  # albedo in the light of the photo
    facing: Float[Array, "b v"]  # cosine between the normal and the direction to the camera
    screen: Float[Array, "b v 3"]  # x, y in pixels of the fine crop, depth
    landmarks: Float[Array, "b 68 2"]  # of the fitted face, pixels of the fine crop
    image: Float[Array, "b f f 3"]  # the rendering
    coverage: Float[Array, "b f f 1"]
    depth: Float[Array, "b f f"]  # 0 outside the face
    region: Int[Array, "b f f"]  # index into types.REGIONS; -1 outside the face
    mask: Float[Array, "b f f 1"]  # probability that a pixel of the face is seen; 0 outside it
    coarse_mask: Float[Array, "b h w 1"]  # as the segmenter gave it
    errors: Errors | None  # of the refinement, before and after
    refined: Errors | None
    encoded: Float[Array, "b 68 2"] | None  # as `landmarks`, of the encoder's own code
    gains: Float[Array, "b 3"] | None  # of the white balance before the networks


class Masks(NamedTuple):
    """Of an `Inference` what masks are made of."""

    coverage: Float[Array, "b f f 1"]
    mask: Float[Array, "b f f 1"]


class Codes(NamedTuple):
    """Codes in the photos' colours."""

    code: FaceCode
    errors: Errors | None  # of the refinement, before and after
    refined: Errors | None
    encoded: Float[Array, "b 68 2"] | None  # as in `Inference`


def infer(model: Model, batch: Batch, steps: int = 0) -> Inference:
    """Faces and masks of a batch, refined by `steps` of gradient descent."""
    found = find_codes(model, batch, steps)
    shown = show(model, batch, found.code)
    return shown._replace(errors=found.errors, refined=found.refined, encoded=found.encoded)


def infer_masks(model: Model, batch: Batch, steps: int = 0) -> Masks:
    """The same masks as `infer`'s, to the last bit, for a third of what drawing faces costs."""
    code = find_codes(model, batch, steps).code
    mask, coverage = _mask(model, relit(code, batch.gains, 1), batch.image)
    drawing = _drawing(model.networks)._replace(samples=1)
    return _outline(code, mask, coverage, model.face_model, drawing=drawing)


def find_codes(model: Model, batch: Batch, steps: int = 0) -> Codes:
    """Codes, refined by `steps` of gradient descent.

    The networks and the refinement see the photos after `white_balance`.
    """
    image, landmarks = batch.image, batch.landmarks
    face_model, decoding = model.face_model, model.decoding
    widths = forward.widths(face_model)
    if model.networks is None:
        dense = batch.dense_landmarks
        raw = start(image, landmarks, face_model, START_STEPS, decoding=decoding, dense=dense)
    else:
        raw = _encode(model.variables, batch, networks=model.networks)
    code = _decode(raw, sizes=widths, decoding=decoding)
    if model.networks is not None:
        code = _lit(code, image, face_model, model.variables, networks=model.networks)
    encoded = None if model.networks is None else _landmarks(code, face_model)
    if not steps:
        return Codes(relit(code, batch.gains, -1), None, None, encoded)
    if model.networks is not None:  # a threshold finds what the bounds leave unexplained
        decoding = freed(decoding)
        raw = write_freed(code, decoding=decoding)
    refined = _refined(model, batch, raw, code, steps, decoding=decoding)
    return Codes(*refined, encoded)


def relight(model: Model, batch: Batch, code: FaceCode) -> FaceCode:
    """Codes in the photos' colours, in the light that these show of shapes and albedos."""
    balanced = relit(code, batch.gains, 1)
    found = _lit(balanced, batch.image, model.face_model, model.variables, networks=model.networks)
    return relit(found, batch.gains, -1)


def refine_together(model: Model, batch: Batch, code: FaceCode, steps: int) -> Codes:
    """Codes of one person's photos, of one identity and albedo, refined as one; `steps` above 0.

    `code` are the photos' as `find_codes` gives them, with that identity and albedo in all.
    """
    balanced, decoding = relit(code, batch.gains, 1), freed(model.decoding)
    raw = write_freed(balanced, decoding=decoding)
    options = {"decoding": decoding, "together": True}
    return Codes(*_refined(model, batch, raw, balanced, steps, **options), None)


def _refined(
    model: Model, batch: Batch, raw: jax.Array, code: FaceCode, steps: int, **options: Any
) -> tuple[FaceCode, Errors, Errors]:
    """`raw` after refinement, in the photo's colours, and the errors before and after.

    `code` is the same face, whose mask is kept.
    """
    networks = model.networks
    given = code, batch.image, model.face_model, model.variables
    mask, _ = _masked(*given, networks=networks, quick=networks is not None)
    raw, before, after = refine(
        raw,
        batch.image,
        batch.landmarks,
        mask,
        model.face_model,
        model.recognizer,
        steps,
        dense=batch.dense_landmarks,
        kind=networks.recognizer if networks else "dlib",
        drawing=_drawing(networks),
        **options,
    )
    sizes = forward.widths(model.face_model)
    found = _decode(raw, sizes=sizes, decoding=options["decoding"])
    return relit(found, batch.gains, -1), before, after


@program
def _landmarks(code: FaceCode, face_model: FaceModel) -> Float[Array, "b 68 2"]:
    vertices = morphable.vertices(face_model, code.identity, code.expression)
    screen = camera.project(vertices, *camera.extrinsics(code.pose), camera.intrinsics(FINE, FINE))
    return morphable.landmarks(face_model, screen)[..., :2]


def relit(code: FaceCode, gains: Float[Array, "b 3"] | None, sign: int) -> FaceCode:
    """The code in a light whose channels are `gains` times as strong; with the sign -1, over them.

    A cast is the light's: tone and albedo stay, and the rendering has the photo's colours.
    """
    return code if gains is None else _relit(code, gains, sign=sign)


@functools.partial(program, static=("sign",))
def _relit(code, gains, *, sign):
    light = code.light.reshape(-1, 3, 9) * jnp.asarray(gains)[..., None] ** sign
    return dataclasses.replace(code, light=light.reshape(code.light.shape))


def show(model: Model, batch: Batch, code: FaceCode) -> Inference:
    """Faces and masks of codes in the photos' colours; without the errors of a refinement."""
    balanced = relit(code, batch.gains, 1)
    mask, coverage = _mask(model, balanced, batch.image)
    drawn = _draw(
        code,
        mask,
        coverage,
        model.face_model,
        # Edges are soft for small pictures; here their pixels would count as half hidden.
        drawing=_drawing(model.networks)._replace(samples=1),
    )
    return drawn._replace(gains=batch.gains)


def turned(model: Model, code: FaceCode) -> UInt8[Array, "b s s 3"]:
    """Pictures of the faces of codes, turned to the side."""
    return _turned(code, model.face_model)


def _drawing(networks: forward.Networks | None) -> Drawing:
    return Drawing() if networks is None else networks.drawing


@functools.partial(program, static=("networks",))
def _encode(variables, batch, *, networks):
    raw, _ = forward.encode(networks.encoder, variables["encoder"], batch, train=False)
    return raw


_decode = program(forward.decode, static=("sizes", "decoding"))


@functools.partial(program, static=("networks",))
def _lit(code, image, face_model, variables, *, networks):
    """The code in the light of what the mask, found with the encoder's light, shows of the face."""
    mask, _ = _masked(code, image, face_model, variables, networks=networks, quick=True)
    return fit_light(code, image, mask, face_model, drawing=_drawing(networks))


def _mask(model: Model, code: FaceCode, image: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mask and coverage at the size of the networks."""
    return _masked(code, image, model.face_model, model.variables, networks=model.networks)


@functools.partial(program, static=("networks", "quick"))
def _masked(code, image, face_model, variables, *, networks, quick=False):
    # A quick mask, of one look at the photo, will do where a face is fitted.
    face = forward.reconstruct(code, face_model, *image.shape[1:3], drawing=_drawing(networks))
    rendering = face.rendering
    if networks is None:
        mask = threshold_mask(image, rendering.image, rendering.coverage)
    else:
        seen = forward.shown(rendering, image, composited=networks.composited)
        given = networks.segmenter, variables["segmenter"], *seen
        if quick:
            mask, _, _ = forward.segment(*given, train=False)
        else:
            mask = forward.segment_three_ways(*given)
    return mask, rendering.coverage


@functools.partial(program, static=("drawing",))
def _draw(code, mask, coverage, face_model: FaceModel, *, drawing: Drawing) -> Inference:
    """The faces at the fine size, with all that exports and pictures need."""
    triangles = face_model.triangles
    rotation, translation = camera.extrinsics(code.pose)
    vertices = morphable.vertices(face_model, code.identity, code.expression)
    albedo = morphable.albedo(face_model, code.albedo)
    normals = geometry.vertex_normals(vertices, triangles, drawing.renormalize_normals)
    normals = camera.rotate(rotation, normals)
    colours = shading.shade(albedo, normals, code.light)
    screen = camera.project(vertices, rotation, translation, camera.intrinsics(FINE, FINE))
    # As `render_mesh`, which would not say which triangles are seen: pixels are filled once.
    drawn, triangle_id = rasterize.render(
        screen,
        triangles,
        jnp.concatenate([colours, screen[..., 2:]], -1),
        FINE,
        FINE,
        perspective=drawing.perspective,
    )
    fine = (triangle_id >= 0).astype(drawn.dtype)[..., None]
    # A triangle shows the region that its first corner belongs to.
    region = face_model.region[triangles[jnp.maximum(triangle_id, 0), 0]]
    towards = vertices @ jnp.swapaxes(rotation, -1, -2) + translation[:, None]
    lengths = jnp.linalg.norm(normals, axis=-1) * jnp.linalg.norm(towards, axis=-1)
    facing = -jnp.sum(normals * towards, -1) / jnp.maximum(lengths, 1e-6)
    return Inference(
        code,
        rotation,
        translation,
        vertices,
        morphable.vertices(face_model, code.identity, code.expression[..., :0]),
        albedo,
        colours,
        facing,
        screen,
        morphable.landmarks(face_model, screen)[..., :2],
        drawn[..., :3],
        fine,
        drawn[..., 3],
        jnp.where(triangle_id >= 0, region, -1),
        _enlarge(mask, coverage) * fine,
        mask,
        None,
        None,
        None,
        None,
    )


@program
def _turned(code, face_model: FaceModel) -> UInt8[Array, "b s s 3"]:
    code = dataclasses.replace(code, pose=code.pose.at[:, 1].add(TURN))
    face = forward.reconstruct(code, face_model, SIDE, SIDE, drawing=Drawing(samples=2))
    paper = jnp.full((len(code.pose), SIDE, SIDE, 3), PAPER / 255)
    picture = jnp.clip(forward.composite(face.rendering, paper), 0, 1)
    return jnp.rint(255 * picture).astype(jnp.uint8)


@functools.partial(program, static=("drawing",))
def _outline(code, mask, coverage, face_model: FaceModel, *, drawing: Drawing) -> Masks:
    """Coverage and mask of `_draw`, without colours."""
    vertices = morphable.vertices(face_model, code.identity, code.expression)
    screen = camera.project(vertices, *camera.extrinsics(code.pose), camera.intrinsics(FINE, FINE))
    perspective = {"perspective": drawing.perspective}
    seen = rasterize.rasterize(screen, face_model.triangles, FINE, FINE, **perspective)
    fine = (seen.triangle_id >= 0).astype(mask.dtype)[..., None]
    return Masks(fine, _enlarge(mask, coverage) * fine)


def _enlarge(mask: jax.Array, coverage: jax.Array) -> jax.Array:
    """The mask at the fine size. Nothing is known outside the face, so that does not count.

    `mask` is a part of `coverage`, which soft edges make a share of pixels.
    """
    shape = (len(mask), FINE, FINE, 1)
    total, weight = (jax.image.resize(x, shape, "linear") for x in (mask, coverage))
    near = jnp.where(weight > 1e-3, total / jnp.maximum(weight, 1e-3), 1.0)
    return jnp.clip(near, 0.0, 1.0)
