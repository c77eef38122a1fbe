"""Figure 2 of the paper as code, one line a stage: photo, code, face, rendering, mask.

`predict` is all of it; the functions above it are its stages.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from focus_jax import losses
from focus_jax.networks.segmenter import STEEPNESS, mask_from_logits
from focus_jax.rendering import morphable
from focus_jax.rendering.render import PLAIN, Drawing, render_mesh
from focus_jax.types import Batch, FaceCode, FaceModel, Rendering

__all__ = [
    "Decoding",
    "Networks",
    "Prediction",
    "Reconstruction",
    "composite",
    "decode",
    "encode",
    "predict",
    "reconstruct",
    "render_mesh",
    "segment",
    "shown",
]

LARGER = 10 / 7  # times as large a photo is when it is asked for its mask once more
AMBIENT = 0.7 * 2.0 * math.pi  # added to the constant light term of each channel, as in the release


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How network outputs become a `FaceCode`: the one place where they are scaled.

    The first three are the release's. The rest are neutral by default; they keep light and tone
    from painting an occluder, which short trainings on real photos need.
    """

    albedo_scale: float = 3.0
    angle_scale: float = 0.3
    depth_scale: float = 0.005
    translation_scale: float = 1.0  # of x and y, millimetres
    light_scale: float = 1.0
    light_colour: float = 1.0  # gain of the channels' departure from grey light
    light_colour_limit: float = math.inf  # soft bound of that departure; AMBIENT is 4.4
    light_bands: tuple[float, float, float] = (1.0, 1.0, 1.0)  # gain of each order of harmonics
    albedo_limit: float = math.inf  # soft bound of albedo coefficients, in deviations


@dataclasses.dataclass(frozen=True)
class Networks:
    """Which networks there are, how they are read and drawn: fixed while a program is compiled."""

    encoder: nn.Module
    segmenter: nn.Module
    decoding: Decoding = dataclasses.field(default_factory=Decoding)
    recognizer: str = "dlib"  # its kind, see `recognizer.features`
    drawing: Drawing = PLAIN
    backend: str | None = None  # of the rasterizer
    dtype: str = "float32"  # or "bfloat16", in which the networks compute; the rest is float32
    composited: bool = False  # whether renderings are looked at laid over the photo
    robust_sigma: float = 0.043  # of Eq. 10, the mask without a segmenter
    robust_deviations: float = 3.0


class Widths(NamedTuple):
    identity: int
    expression: int
    albedo: int

    @property
    def outputs(self) -> int:
        """Length of the encoder's output: coefficients, pose and light."""
        return sum(self) + 6 + 27


def widths(face_model: FaceModel) -> Widths:
    """Number of coefficients of each kind that the model has."""
    return Widths(
        face_model.identity_basis.shape[-1],
        face_model.expression_basis.shape[-1],
        face_model.albedo_basis.shape[-1],
    )


def decode(raw: Float[Array, "b n"], sizes: Widths, decoding: Decoding) -> FaceCode:
    """Split the encoder's output (identity, expression, albedo, pose, light) and scale it."""
    if raw.shape[-1] != sizes.outputs:
        raise ValueError(f"the code has {raw.shape[-1]} numbers, the face model needs {sizes}")
    i, e, a = sizes
    identity, expression, albedo, pose, light = jnp.split(
        raw, (i, i + e, i + e + a, i + e + a + 6), -1
    )
    albedo = albedo * decoding.albedo_scale
    if math.isfinite(decoding.albedo_limit):
        albedo = decoding.albedo_limit * jnp.tanh(albedo / decoding.albedo_limit)
    angle, shift, depth = decoding.angle_scale, decoding.translation_scale, decoding.depth_scale
    pose = pose * jnp.array([angle, angle, angle, shift, shift, depth], raw.dtype)
    return FaceCode(identity, expression, albedo, pose, _light(light, decoding))


def _light(raw: Float[Array, "b 27"], decoding: Decoding) -> Float[Array, "b 27"]:
    channels = raw.reshape(*raw.shape[:-1], 3, 9) * decoding.light_scale
    low, middle, high = decoding.light_bands
    channels = channels * jnp.array([low] + [middle] * 3 + [high] * 5, raw.dtype)
    grey = jnp.mean(channels, axis=-2, keepdims=True)
    colour = decoding.light_colour * (channels - grey)
    if math.isfinite(decoding.light_colour_limit):
        colour = decoding.light_colour_limit * jnp.tanh(colour / decoding.light_colour_limit)
    channels = grey + colour
    return channels.at[..., 0].add(AMBIENT).reshape(raw.shape)


def without_ambient(light: Float[Array, "b 27"]) -> Float[Array, "b 27"]:
    """What of the light is the code's own, not the constant that `decode` adds."""
    channels = light.reshape(*light.shape[:-1], 3, 9)
    return channels.at[..., 0].add(-AMBIENT).reshape(light.shape)


class Reconstruction(NamedTuple):
    """What the autoencoder makes of a batch."""

    code: FaceCode
    rendering: Rendering
    landmarks: Float[Array, "b 68 2"]
    neutral: Float[Array, "b v 3"]  # without expression and pose, face model's coordinates


def _apply(
    module: nn.Module,
    variables: Any,
    *inputs: Any,
    train: bool,
    dropout: jax.Array | None,
    dtype: str,
) -> tuple[Any, Any]:
    """Output of a network and its batch statistics, which change only when training.

    It computes in `dtype`; parameters, statistics and output are float32 all the same.
    """
    parameters, inputs = jax.tree.map(lambda x: x.astype(dtype), (variables["params"], inputs))
    variables = {**variables, "params": parameters}
    output: Any
    if not train:
        output, updated = module.apply(variables, *inputs, train=False), variables
    else:
        rngs = {} if dropout is None else {"dropout": dropout}
        output, updated = module.apply(
            variables, *inputs, train=True, mutable=["batch_stats"], rngs=rngs
        )
    return output.astype(jnp.float32), updated.get("batch_stats", {})


def encode(
    encoder: nn.Module,
    variables: Mapping[str, Any],
    batch: Batch,
    *,
    train: bool,
    dropout: jax.Array | None = None,
    dtype: str = "float32",
) -> tuple[Float[Array, "b n"], Any]:
    """Run the encoder: its output, and its batch statistics (updated when training)."""
    return _apply(
        encoder, variables, batch.image, batch.features, train=train, dropout=dropout, dtype=dtype
    )


def reconstruct(
    code: FaceCode,
    face_model: FaceModel,
    height: int,
    width: int,
    *,
    backend: str | None = None,
    drawing: Drawing = PLAIN,
) -> Reconstruction:
    """Face and picture of it from a code. The decoder of the autoencoder; it has no weights."""
    vertices = morphable.vertices(face_model, code.identity, code.expression)
    neutral = morphable.vertices(face_model, code.identity, code.expression[..., :0])
    albedo = morphable.albedo(face_model, code.albedo)
    rendering = render_mesh(
        vertices,
        albedo,
        face_model.triangles,
        code.pose,
        code.light,
        height,
        width,
        backend,
        **drawing._asdict(),
    )
    landmarks = morphable.landmarks(face_model, rendering.screen_vertices)[..., :2]
    return Reconstruction(code, rendering, landmarks, neutral)


def composite(rendering: Rendering, image: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """The rendered face laid over the photo."""
    return image + rendering.coverage * (rendering.image - image)


def segment(
    segmenter: nn.Module,
    variables: Mapping[str, Any],
    rendering: Rendering,
    image: Float[Array, "b h w 3"],
    *,
    train: bool,
    dropout: jax.Array | None = None,
    dtype: str = "float32",
) -> tuple[Float[Array, "b h w 1"], Float[Array, "b h w 1"], Any]:
    """Mask inside the rendered face, its logits, and the segmenter's batch statistics."""
    raw, statistics = _apply(
        segmenter, variables, rendering.image, image, train=train, dropout=dropout, dtype=dtype
    )
    return mask_from_logits(raw) * rendering.coverage, STEEPNESS * raw, statistics


def segment_three_ways(
    segmenter: nn.Module,
    variables: Mapping[str, Any],
    rendering: Rendering,
    image: Float[Array, "b h w 3"],
) -> Float[Array, "b h w 1"]:
    """The mask by the mean of three logits, in evaluation mode: of a photo, of its mirror image,
    and of that enlarged.

    Training shows mirror images alike, and faces a little larger or smaller, so that their errors
    are in part each other's correction.
    """

    def logits(*pictures: jax.Array) -> jax.Array:
        given = {"train": False, "dropout": None, "dtype": "float32"}
        raw, _ = _apply(segmenter, variables, *pictures, **given)
        return STEEPNESS * raw

    def resize(x: jax.Array, height: int, width: int) -> jax.Array:
        shape = (len(x), height, width, x.shape[-1])
        return jax.image.resize(x, shape, "linear", antialias=False)  # as ONNX knows it

    height, width = image.shape[1:3]
    larger = round(LARGER * height), round(LARGER * width)
    pictures = rendering.image, image
    mirrored = [x[:, :, ::-1] for x in pictures]
    both = logits(*(jnp.concatenate(x) for x in zip(pictures, mirrored, strict=True)))
    straight, mirror = jnp.split(both, 2)
    enlarged = resize(logits(*(resize(x, *larger) for x in mirrored)), height, width)
    mean = (straight + (mirror + enlarged)[:, :, ::-1]) / 3
    return jax.nn.sigmoid(mean) * rendering.coverage


def shown(
    rendering: Rendering, image: Float[Array, "b h w 3"], *, composited: bool
) -> tuple[Rendering, Float[Array, "b h w 3"]]:
    """Rendering and photo as the segmenter sees them."""
    if composited:
        rendering = rendering._replace(image=composite(rendering, image))
    return rendering, image


class Prediction(NamedTuple):
    """What both networks, in evaluation mode, say of a batch."""

    face: Reconstruction
    mask: Float[Array, "b h w 1"]
    robust_mask: Float[Array, "b h w 1"]  # Eq. 10, the baseline without a network


def find_face(
    encoder: Mapping[str, Any], batch: Batch, face_model: FaceModel, *, networks: Networks
) -> Reconstruction:
    """Code, face and picture of each photo, by an encoder in evaluation mode."""
    raw, _ = encode(networks.encoder, encoder, batch, train=False, dtype=networks.dtype)
    return draw(raw, face_model, *batch.image.shape[1:3], networks=networks)


def draw(
    raw: Float[Array, "b n"],
    face_model: FaceModel,
    height: int,
    width: int,
    *,
    networks: Networks,
) -> Reconstruction:
    """Code, face and picture from the encoder's output."""
    code = decode(raw, widths(face_model), networks.decoding)
    drawn = {"backend": networks.backend, "drawing": networks.drawing}
    return reconstruct(code, face_model, height, width, **drawn)


@functools.partial(jax.jit, static_argnames="networks")
def predict(
    variables: Mapping[str, Any], batch: Batch, face_model: FaceModel, *, networks: Networks
) -> Prediction:
    """Faces and masks of a batch. `variables` are those of the "encoder" and the "segmenter"."""
    face = find_face(variables["encoder"], batch, face_model, networks=networks)
    mask, _, _ = segment(
        networks.segmenter,
        variables["segmenter"],
        *shown(face.rendering, batch.image, composited=networks.composited),
        train=False,
        dtype=networks.dtype,
    )
    _, robust_mask = losses.robust_photometric(
        batch.image,
        face.rendering.image,
        face.rendering.coverage,
        sigma=networks.robust_sigma,
        deviations=networks.robust_deviations,
    )
    return Prediction(face, mask, robust_mask)
