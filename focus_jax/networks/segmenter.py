"""The segmenter: a U-Net that says which pixels of a photo show the face, given its rendering.

Architecture of the release (34.5 million parameters at width 64): four times halved by maximum,
nearest-neighbour enlargement, batch norm, dropout in the two deepest encoder blocks, and a mask of
sigmoid(5 x). The `space_to_depth` stem works on 2 x 2 pixels at a time, for a quarter of the cost.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from focus_jax.networks.convolution import space_to_depth
from focus_jax.networks.layers import BatchNorm, Conv, max_pool
from focus_jax.types import AnyArray

STEEPNESS = 5.0  # of the mask's sigmoid, as in the release
LEVELS = 5


def mask_from_logits(logits: Float[AnyArray, "*b h w 1"]) -> Float[Array, "*b h w 1"]:
    """Probability that a pixel shows the face."""
    return jax.nn.sigmoid(STEEPNESS * logits)


class DoubleConv(nn.Module):
    """Two 3 x 3 convolutions, each with batch norm and ReLU, then dropout."""

    features: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Float[AnyArray, "b h w c"], train: bool) -> Float[Array, "b h w d"]:
        for i in (1, 2):
            x = Conv(self.features, use_bias=True, name=f"conv{i}")(x)
            x = nn.relu(BatchNorm(use_running_average=not train, name=f"bn{i}")(x))
        return nn.Dropout(self.dropout, deterministic=not train)(x)


class UpConv(nn.Module):
    """Twice the size by repeating pixels, then a 3 x 3 convolution with batch norm and ReLU."""

    features: int

    @nn.compact
    def __call__(self, x: Float[AnyArray, "b h w c"], train: bool) -> Float[Array, "b y x d"]:
        x = Conv(self.features, use_bias=True, enlarge=True, name="conv")(x)
        return nn.relu(BatchNorm(use_running_average=not train, name="bn")(x))


class Segmenter(nn.Module):
    """The U-Net. Any image size is accepted: odd ones are padded at the bottom right and cropped.

    With `dropout` above 0, training needs the random stream 'dropout'.
    """

    width: int = 64
    stem: str = "authors"  # or "space_to_depth"
    dropout: float = 0.5
    fine: int = 0  # channels of a last look at single pixels, after the `space_to_depth` stem's
    remat: bool = False  # gradients compute the maps inside a block anew, instead of keeping them

    @nn.compact
    def __call__(
        self,
        rendering: Float[AnyArray, "b h w 3"],
        image: Float[AnyArray, "b h w 3"],
        train: bool = False,
    ) -> Float[Array, "b h w 1"]:
        """Logits x of the mask sigmoid(5 x); see `mask_from_logits`."""
        if rendering.shape != image.shape:
            raise ValueError(f"rendering {rendering.shape} and image {image.shape} differ in shape")
        if self.stem not in ("authors", "space_to_depth"):
            raise ValueError(f"stem is 'authors' or 'space_to_depth', not {self.stem!r}")
        if self.fine and (self.stem == "authors" or self.width % 4):
            raise ValueError(
                "fine goes with the stem 'space_to_depth' and a width that four divides, not "
                f"{self.stem!r} and {self.width}"
            )
        height, width = image.shape[1:3]
        half = self.stem == "space_to_depth"
        pictures = pad_to_multiple(
            jnp.concatenate([rendering, image], axis=-1), 2 ** (LEVELS - 1 + int(half))
        )
        x = self._unet(space_to_depth(pictures) if half else pictures, train)
        # Small weights and a positive bias: the mask begins near sigmoid(5 * 0.2) = 0.73, mostly
        # face, as the alternation needs something to take away from.
        logits = Conv(
            4 if half else 1,
            1,
            use_bias=True,
            kernel_init=nn.initializers.variance_scaling(0.005, "fan_in", "normal"),
            bias_init=nn.initializers.constant(0.2),
            name="head",
        )(x)
        if half:
            # The four pixels of a block come from different weights, hence a checkerboard, which
            # this last convolution starts by smoothing.
            logits = depth_to_space(logits)
            logits = Conv(1, use_bias=True, kernel_init=_binomial, name="smooth")(logits)
        if self.fine:
            # What is thinner than a block of 2 x 2 pixels. Nothing at first.
            seen = jnp.concatenate([logits, depth_to_space(x), pictures], axis=-1)
            seen = DoubleConv(self.fine, name="fine")(seen, train)
            logits += Conv(1, kernel_init=nn.initializers.zeros, name="change")(seen)
        return logits[:, :height, :width]

    def _unet(self, x: AnyArray, train: bool) -> jax.Array:
        double: Any = DoubleConv
        up: Any = UpConv
        if self.remat:
            double, up = (nn.remat(block, static_argnums=(2,)) for block in (double, up))
        skips = []
        for level in range(LEVELS):
            dropout = self.dropout if level >= LEVELS - 2 else 0.0
            x = max_pool(x, 2, stride=2) if level else x
            x = double(self.width * 2**level, dropout, name=f"down{level + 1}")(x, train)
            skips.append(x)
        for level in reversed(range(LEVELS - 1)):
            features = self.width * 2**level
            x = up(features, name=f"up{level + 2}")(x, train)
            x = jnp.concatenate([skips[level], x], axis=-1)
            x = double(features, name=f"merge{level + 2}")(x, train)
        return x


def _binomial(key: AnyArray, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
    del key
    row = np.array([0.25, 0.5, 0.25])
    return jnp.asarray(np.broadcast_to(np.outer(row, row)[..., None, None], shape), dtype)


def pad_to_multiple(x: Float[AnyArray, "b h w c"], multiple: int) -> Float[AnyArray, "b y x c"]:
    """Repeat the last row and column until both sizes are multiples."""
    rows, columns = (-n % multiple for n in x.shape[1:3])
    x = jnp.concatenate([x, *[x[:, -1:]] * rows], axis=1)
    return jnp.concatenate([x, *[x[:, :, -1:]] * columns], axis=2)


def depth_to_space(x: Float[AnyArray, "b y x d"]) -> Float[AnyArray, "b h w c"]:
    """The inverse of `space_to_depth`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, 2 * h, 2 * w, c // 4)
