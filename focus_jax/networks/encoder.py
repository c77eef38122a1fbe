"""The encoder: from a photo to the numbers that `forward.decode` makes a `FaceCode` of.

Three kinds: the paper's ResNet-50, a small residual network for short trainings from scratch, and
a head on frozen recognizer features. The last layer of each begins at zero, so that training
starts from the mean face.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from focus_jax.networks.layers import BatchNorm, Conv, average_pool, max_pool, parameter
from focus_jax.types import AnyArray

KINDS = ("resnet50", "small", "recognizer")
COLOUR_SIDE = 32  # pixels at which a `FeatureEncoder` sees colours


class Block(nn.Module):
    """Residual block of ResNet; with `bottleneck`, its stride is on the 3 x 3 (torchvision v1.5).

    Names of the parts are torchvision's, which `weights.torch` relies on.
    """

    width: int
    stride: int = 1
    bottleneck: bool = True

    @nn.compact
    def __call__(self, x: Float[AnyArray, "b h w c"], train: bool) -> Float[Array, "b y x d"]:
        features = self.width * (4 if self.bottleneck else 1)
        if self.bottleneck:
            shapes = [(self.width, 1, 1), (self.width, 3, self.stride), (features, 1, 1)]
        else:
            shapes = [(self.width, 3, self.stride), (self.width, 3, 1)]
        y = x
        for i, (channels, size, stride) in enumerate(shapes, start=1):
            y = Conv(channels, size, stride, name=f"conv{i}")(y)
            y = BatchNorm(use_running_average=not train, name=f"bn{i}")(y)
            y = nn.relu(y) if i < len(shapes) else y
        if x.shape[-1] != features or self.stride != 1:
            x = Conv(features, 1, self.stride, padding=0, name="downsample_conv")(x)
            x = BatchNorm(use_running_average=not train, name="downsample_bn")(x)
        return nn.relu(x + y)


class Encoder(nn.Module):
    """A ResNet (He et al. 2016). The defaults are torchvision's ResNet-50.

    The image goes in as it is, in [0, 1]: no mean or deviation is taken off, as in the release.
    `pool` 1 averages over all positions; `pool` n keeps an n x n grid of them for the last layer,
    which makes pose easier to read off.
    """

    outputs: int
    stage_sizes: Sequence[int] = (3, 4, 6, 3)
    width: int = 64
    bottleneck: bool = True
    large_stem: bool = True  # 7 x 7 with stride 2 and pooling; otherwise 3 x 3 with stride 2
    pool: int = 1
    remat: bool = False  # gradients compute the maps inside a block anew, instead of keeping them

    @nn.compact
    def __call__(
        self,
        image: Float[AnyArray, "b h w 3"],
        features: Float[AnyArray, "b n"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b outputs"]:
        del features  # of the recognizer; only FeatureEncoder reads them
        x = Conv(self.width, 7 if self.large_stem else 3, 2, name="conv1")(image)
        x = nn.relu(BatchNorm(use_running_average=not train, name="bn1")(x))
        if self.large_stem:
            x = max_pool(x, 3, stride=2, padding=1)
        residual: Any = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        for stage, blocks in enumerate(self.stage_sizes):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                name = f"layer{stage + 1}_{block}"
                x = residual(self.width * 2**stage, stride, self.bottleneck, name=name)(x, train)
        x = average_pool(x, self.pool) if self.pool > 1 else jnp.mean(x, (1, 2), keepdims=True)
        x = x.reshape(x.shape[0], math.prod(x.shape[1:]))
        return nn.Dense(self.outputs, kernel_init=nn.initializers.zeros, name="fc")(x)


@jax.custom_vjp
def _joined_product(frozen: AnyArray, x: AnyArray, kernel: AnyArray) -> jax.Array:
    return jnp.concatenate([frozen, x], axis=-1) @ kernel


def _joined_product_forward(frozen, x, kernel):
    return _joined_product(frozen, x, kernel), (frozen, x, kernel)


def _joined_product_backward(residuals, cotangent):
    frozen, x, kernel = residuals
    to_kernel = jnp.concatenate([frozen, x], axis=-1).T @ cotangent
    return None, cotangent @ kernel[frozen.shape[-1] :].T, to_kernel


_joined_product.defvjp(_joined_product_forward, _joined_product_backward)


class JoinedDense(nn.Module):
    """`nn.Dense` of both inputs side by side, without the gradient of the first, which is data."""

    features: int

    @nn.compact
    def __call__(
        self, frozen: Float[AnyArray, "b n"], x: Float[AnyArray, "b m"]
    ) -> Float[Array, "b d"]:
        shape = (frozen.shape[-1] + x.shape[-1], self.features)
        kernel = parameter(self, "kernel", nn.initializers.lecun_normal(), shape)
        bias = parameter(self, "bias", nn.initializers.zeros, (self.features,))
        return _joined_product(frozen, x, kernel) + bias


class FeatureEncoder(nn.Module):
    """A head on frozen recognizer features (`recognizer.encoder_features`).

    They are nearly blind to light and colour, which a small branch reads from the photo itself at
    32 x 32 pixels. With a `detail_width`, another looks at blocks of 4 x 4 pixels, as the features
    are too coarse to say where things are to the pixel. The head overfits without weight decay.
    The last `direct` features, if any, also go to the output without a detour: the embedding of a
    face says nearly linearly who it is, and its landmarks where it is.
    """

    outputs: int
    hidden: Sequence[int] = (512, 256)
    colour_width: int = 16
    detail_width: int = 0
    dropout: float = 0.0
    direct: int = 0
    # Of features while training, whose mean square is 1: a hundred landmarks tell photos apart.
    noise: float = 0.0

    @nn.compact
    def __call__(
        self,
        image: Float[AnyArray, "b h w 3"],
        features: Float[AnyArray, "b n"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b outputs"]:
        if features is None:
            raise ValueError(
                "the recognizer encoder needs Batch.features: cache encoder_features of each photo"
            )
        if train and self.noise:
            key = self.make_rng("dropout")
            features += self.noise * jax.random.normal(key, features.shape, features.dtype)
        colour = _resized(image, COLOUR_SIDE) - 0.5
        for i, scale in enumerate((1, 2, 2)):
            conv = Conv(self.colour_width * scale, 3, 2, use_bias=True, name=f"colour{i + 1}")
            colour = nn.relu(conv(colour))
        seen = colour.reshape(colour.shape[0], math.prod(colour.shape[1:]))
        if self.detail_width:
            seen = jnp.concatenate([seen, self._detail(image - 0.5)], axis=-1)
        x = nn.Dropout(self.dropout, deterministic=not train)(features)
        for i, width in enumerate(self.hidden):
            name = f"dense{i + 1}"
            x = nn.Dense(width, name=name)(x) if i else JoinedDense(width, name=name)(x, seen)
            x = nn.LayerNorm(name=f"norm{i + 1}")(x)
            x = nn.Dropout(self.dropout, deterministic=not train)(nn.gelu(x))
        if self.direct:
            x = jnp.concatenate([x, features[..., -self.direct :]], axis=-1)
        return nn.Dense(self.outputs, kernel_init=nn.initializers.zeros, name="fc")(x)

    def _detail(self, x: Float[AnyArray, "b h w 3"]) -> Float[Array, "b n"]:
        shapes = ((self.detail_width, 4, 4, 0), *((2 * self.detail_width, 3, 2, 1),) * 2)
        for i, (width, size, stride, padding) in enumerate(shapes, start=1):
            x = Conv(width, size, stride, padding, name=f"detail{i}")(x)
            x = nn.relu(nn.GroupNorm(8, name=f"detail_norm{i}")(x))
        return nn.LayerNorm(name="detail_norm")(x.reshape(x.shape[0], math.prod(x.shape[1:])))


def _resized(image: Float[AnyArray, "b h w c"], side: int) -> Float[Array, "b side side c"]:
    """As `jax.image.resize(..., "linear")`, in words that converters to ONNX know, too."""
    weights = []
    for size in image.shape[1:3]:
        scale = side / size
        places = (np.arange(side)[:, None] + 0.5) / scale - 0.5
        near = np.maximum(0, 1 - np.abs(places - np.arange(size)) * min(scale, 1.0))
        weights.append(jnp.asarray(near / near.sum(1, keepdims=True), image.dtype))
    return jnp.einsum("yh,bhwc,xw->byxc", weights[0], image, weights[1], precision="highest")


def small_encoder(outputs: int) -> Encoder:
    """A residual network of 1.2 million parameters plus its last layer, for 64 x 64 photos."""
    return Encoder(outputs, (1, 1, 1, 1), width=32, bottleneck=False, large_stem=False, pool=4)


def make_encoder(
    kind: Literal["resnet50", "small", "recognizer"] | str,
    outputs: int,
    *,
    detail: bool = False,
    direct: int = 0,
    remat: bool = False,
) -> nn.Module:
    """The encoder named by a config: `__call__(image, features=None, train=False)`.

    `outputs` is the number of coefficients, pose and light numbers together. `detail`, of the kind
    "recognizer" only, adds the branch that looks at pixels and goes with the finer features of
    `recognizer.encoder_features`, `direct` is the number of those that say who it is and where, if
    they are of the face as its landmarks cut it out; `remat` is of `Encoder`, the others keep
    little. Raises ValueError for another kind, and for `detail` or `direct` of one that has none.
    """
    for name, asked in (("detail", detail), ("landmarks", direct > 0)):
        if asked and kind != "recognizer":
            raise ValueError(
                f"config.encoder.{name} goes with the kind recognizer, not {kind}; set it to False"
            )
    if kind == "resnet50":
        return Encoder(outputs, remat=remat)
    if kind == "small":
        return small_encoder(outputs)
    if kind == "recognizer":
        return FeatureEncoder(
            outputs,
            detail_width=32 if detail else 0,
            direct=direct,
            noise=0.05 if direct else 0.0,
        )
    raise ValueError(f"the encoder is one of {', '.join(KINDS)}, not {kind!r}")
