"""The data that flows from a photo to a face and a mask.

Axes, used in every annotation of the package:

| axis | meaning                                   |
| ---- | ----------------------------------------- |
| b    | photos in a batch                         |
| h, w | pixel rows (y, downwards) and columns (x) |
| v, t | vertices, triangles of the face model     |
| i    | identity coefficients                     |
| e    | expression coefficients                   |
| a    | albedo coefficients                       |

Images are float32 in [0, 1], RGB, channels last; pixel centres lie at integer coordinates. Lengths
are those of the face model, millimetres unless its `units` say otherwise.
"""

# Strict but for what Flax and Optax leave untyped:
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportMissingTypeStubs=false

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Float, Int

# What functions take: arrays of JAX, traced ones too, and of NumPy, which JAX makes its own. Type
# checkers see the former alone, so that functions need not say what each operation makes of both.
if TYPE_CHECKING:
    AnyArray = jax.Array
else:
    AnyArray = jax.Array | np.ndarray


def check_arrays(**arrays: Any) -> None:
    """ValueError, with their names, for what is no array: lists and tuples of numbers, mostly.

    JAX refuses them too, where it is asked at all, but with all of their numbers.
    """
    for name, array in arrays.items():
        if not hasattr(array, "dtype"):
            kind = type(array).__name__
            raise ValueError(f"{name} must be an array, not {kind}; make it one by jnp.asarray")


@struct.dataclass
class FaceModel:
    """A linear morphable model: mean plus bases, each mode of unit variance.

    A landmark is a weighted sum of three vertices, so that models which define theirs inside a
    triangle fit too; a landmark on a vertex has the weights (1, 0, 0).
    """

    shape_mean: Float[Array, "v 3"]  # y up, the face looks along +z, surface near z = 0
    identity_basis: Float[Array, "v 3 i"]
    expression_basis: Float[Array, "v 3 e"]
    albedo_mean: Float[Array, "v 3"]  # linear in the image's values, [0, 1]
    albedo_basis: Float[Array, "v 3 a"]
    triangles: Int[Array, "t 3"]  # counter-clockwise seen from outside
    landmark_vertices: Int[Array, "68 3"]  # the iBUG order
    landmark_weights: Float[Array, "68 3"]
    region: Int[Array, "v"]  # index into REGIONS
    uv: Float[Array, "v 2"]  # texture coordinates in [0, 1], v upwards
    # What of `shape_mean` is the mean expression, in models that have one (Basel 2017 and 2019).
    expression_mean: Float[Array, "v 3"] | None = None
    # Places of MediaPipe's points, as those of the landmarks; a point without a place weighs 0.
    dense_landmark_vertices: Int[Array, "478 3"] | None = None
    dense_landmark_weights: Float[Array, "478 3"] | None = None
    name: str = struct.field(pytree_node=False, default="")
    units: str = struct.field(pytree_node=False, default="mm")
    licence: str = struct.field(pytree_node=False, default="")


REGIONS = (
    *("skin", "eyes", "brows", "nose", "lips", "cheeks", "forehead", "chin", "ears", "neck"),
    *("teeth", "gums", "mouth"),  # mouth: all else inside it
)


@struct.dataclass
class FaceCode:
    """What the encoder says of a photo. Pose: three Euler angles (radians), three translations."""

    identity: Float[Array, "*b i"]
    expression: Float[Array, "*b e"]
    albedo: Float[Array, "*b a"]
    pose: Float[Array, "*b 6"]
    light: Float[Array, "*b 27"]  # R x 9, G x 9, B x 9; spherical harmonics up to order 2


class Fragments(NamedTuple):
    """Which triangle each pixel sees, and where in it. Outside: -1, and zero weights."""

    triangle_id: Int[Array, "b h w"]
    barycentric: Float[Array, "b h w 3"]


class Rendering(NamedTuple):
    image: Float[Array, "b h w 3"]  # black outside; colours are not clamped
    coverage: Float[Array, "b h w 1"]  # 1 where a triangle is seen
    screen_vertices: Float[Array, "b v 3"]  # x, y in pixels, depth


@struct.dataclass
class Batch:
    """Photos with what is known of them; what only synthetic or labelled data have may be None."""

    image: Float[Array, "b h w 3"]
    landmarks: Float[Array, "b 68 2"]  # x, y in pixels of `image`
    index: Int[Array, "b"]  # record number, so that errors can name the photo
    dense_landmarks: Float[Array, "b 478 2"] | None = None  # MediaPipe's; nan where unknown
    mask: Float[Array, "b h w 1"] | None = None  # true visible face: 1 face, 0 anything else
    neutral: Float[Array, "b v 3"] | None = None  # true shape without expression and pose
    pose: Float[Array, "b 6"] | None = None
    occluder: Int[Array, "b"] | None = None  # index into data.synthetic.OCCLUDERS; 0 none
    features: Float[Array, "b n"] | None = None  # cached recognizer features of the photo
    clean: Float[Array, "b h w 3"] | None = None  # the photo before an occluder was pasted on
    pasted: Float[Array, "b h w 1"] | None = None  # 1 where one was
    whole: Float[Array, "b"] | None = None  # 1 if `pasted` is all that is before the face
    coefficients: Float[Array, "b n"] | None = None  # of a rendering: identity, expression, albedo
    gains: Float[Array, "b 3"] | None = None  # `image` over the photo's: `photos.white_balance`
    # Renderings of the face model beside the photos, as many or a multiple: `losses.coefficients`.
    renderings: "Batch | None" = None


@struct.dataclass
class TrainState:
    """Everything a run must remember, for both networks; one checkpoint holds it whole."""

    step: Int[Array, ""]
    encoder: dict[str, Any]  # Flax variables: params, batch_stats
    segmenter: dict[str, Any]
    encoder_optimizer: optax.OptState
    segmenter_optimizer: optax.OptState
    albedo_mean: Float[Array, "v 3"]  # the face model's, or corrected (`mean_albedo`)


PRNGKey = jax.Array
Config = Any  # ml_collections.ConfigDict: its fields are known only when it is read
