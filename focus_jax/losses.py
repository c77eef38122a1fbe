"""The terms of the paper's objectives, one unweighted function each.

Images are `[b h w 3]`, masks and coverages `[b h w 1]`. A keyword names each point where the paper
and its authors' released code differ; the defaults are the release's. Every function returns a
scalar and refuses inputs whose shapes do not match, because broadcasting hides mistakes, and empty
batches, of which the mean is NaN. Of inputs in half precision it is computed in float32, as sums
over a picture exceed what float16 holds.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from focus_jax.types import AnyArray, check_arrays

# iBUG indices with the weight 20: the nose ridge without its top, and the inner lip.
HEAVY_LANDMARKS = (28, 29, 30, 60, 61, 62, 63, 64, 65, 66, 67)
USUAL_SHARE = 0.25  # of a face, that a pasted occluder hides


def _single(**arrays: AnyArray) -> list[jax.Array]:
    """The arrays in float32 at least. ValueError, with their names, for what is none."""
    check_arrays(**arrays)
    kinds = [jnp.promote_types(jnp.result_type(x), jnp.float32) for x in arrays.values()]
    return [jnp.asarray(x, kind) for x, kind in zip(arrays.values(), kinds, strict=True)]


def _some(**arrays: AnyArray) -> list[jax.Array]:
    """`_single`; ValueError, too, where one has nothing to take the mean of."""
    found = _single(**arrays)
    for name, array in zip(arrays, found, strict=True):
        if 0 in array.shape[:-1]:  # without coefficients, on the last axis, there is a sum of none
            raise ValueError(f"{name} {array.shape} is empty; leave out batches of nothing")
    return found


def same_masks(**masks: AnyArray) -> list[jax.Array]:
    """Masks `[... h w 1]` of one shape, in float32 at least, whatever they are made of.

    ValueError, with their names, for other shapes and, where values are known, for masks of bytes.
    """
    check_arrays(**masks)
    shapes = {name: np.shape(mask) for name, mask in masks.items()}
    if len(set(shapes.values())) > 1 or any(shape[-1:] != (1,) for shape in shapes.values()):
        raise ValueError(f"these masks must agree in one shape [b h w 1]: {shapes}")
    for name, mask in masks.items():
        counted = jnp.issubdtype(jnp.result_type(mask), jnp.integer)
        if counted and not isinstance(mask, Tracer) and np.any(np.asarray(mask) > 1):
            raise ValueError(f"{name} must be from 0 to 1, not to {np.max(mask)}; give `mask > 0`")
    return _single(**masks)


def _some_masks(**masks: AnyArray) -> list[jax.Array]:
    """`same_masks`, and of at least one pixel."""
    return _some(**dict(zip(masks, same_masks(**masks), strict=True)))


def _same_pictures(target: AnyArray, rendering: AnyArray, **masks: AnyArray) -> list[jax.Array]:
    """Two pictures and the mask between them, in float32 at least; ValueError unless they agree."""
    pictures = {"target": target, "rendering": rendering}
    check_arrays(**pictures, **masks)
    ((name, mask),) = masks.items()
    shapes = {name: np.shape(array) for name, array in (pictures | masks).items()}
    if shapes["target"] != shapes["rendering"] or shapes["target"][:-1] != shapes[name][:-1]:
        raise ValueError(f"these must agree, the mask in all axes but the last: {shapes}")
    for which, picture in pictures.items():
        if not jnp.issubdtype(jnp.result_type(picture), jnp.floating):
            raise ValueError(
                f"{which} must be floating point in [0, 1], not {picture.dtype}; divide by 255"
            )
    return [*_some(**pictures), *_some_masks(**{name: mask})]


def _safe_root(squared: AnyArray) -> jax.Array:
    """Square root whose gradient at zero is zero, not infinite."""
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def neighbour(
    target: Float[AnyArray, "b h w 3"],
    rendering: Float[AnyArray, "b h w 3"],
    mask: Float[AnyArray, "b h w 1"],
    window: int = 5,
    search: Literal["target", "rendering"] = "target",
    *,
    squared: bool = False,
) -> Float[Array, ""]:
    """Distance to the most similar pixel nearby (Eq. 1; supplement, Eq. 12).

    Both images are multiplied by the mask first. `search` says which image is searched: the release
    compares each rendered pixel with the photo's neighbourhood, the paper each photo pixel with the
    rendering's. `squared` gives the paper's double square. The mean runs over the pixels whose
    window lies inside the image.
    """
    target, rendering, mask = _same_pictures(target, rendering, mask=mask)
    if search not in ("target", "rendering"):
        raise ValueError(f"search must be 'target' or 'rendering', not {search!r}")
    if not (window % 2 and 0 < window <= min(target.shape[-3:-1])):
        raise ValueError(f"window must be odd and fit into the image, not {window}")
    masked_target, masked_rendering = target * mask, rendering * mask
    searched, fixed = (
        (masked_target, masked_rendering)
        if search == "target"
        else (masked_rendering, masked_target)
    )
    # Three planes of one colour each: their innermost axis is long enough to be vectorized.
    best: jax.Array = _nearest(window, jnp.moveaxis(fixed, -1, 0), jnp.moveaxis(searched, -1, 0))
    return jnp.mean(best**2 if squared else _safe_root(best))


# The gradient is written out, because the derived one costs five times as much, and as much again
# to compile. Where several neighbours are equally near, the first of them gets all of it.


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _nearest(window: int, fixed: AnyArray, searched: AnyArray) -> jax.Array:
    """Squared distance of each colour to the nearest in the window around it.

    Planes `[3 b h w]` to `[b h-2r w-2r]`, without the border of r = window // 2 pixels.
    """
    return _nearest_forward(window, fixed, searched)[0]


def _shifts(window: int, x: AnyArray) -> list[AnyArray]:
    """The image inside its border, moved to each place of the window."""
    height, width = (n - 2 * (window // 2) for n in x.shape[-2:])
    places = [(dy, dx) for dy in range(window) for dx in range(window)]
    return [x[..., dy : dy + height, dx : dx + width] for dy, dx in places]


def _nearest_forward(window, fixed, searched):
    shifts = _shifts(window, searched)
    centre = _shifts(window, fixed)[len(shifts) // 2]
    best = jnp.full(centre.shape[1:], jnp.inf, centre.dtype)
    which = jnp.zeros(centre.shape[1:], jnp.int32)
    for place, shifted in enumerate(shifts):
        red, green, blue = centre - shifted
        distance = red * red + green * green + blue * blue
        which = jnp.where(distance < best, place, which)
        best = jnp.minimum(best, distance)
    return best, (fixed, searched, which)


def _nearest_backward(window, residuals, cotangent):
    fixed, searched, which = residuals
    shifts = _shifts(window, searched)
    nearest = shifts[0]
    for place, shifted in enumerate(shifts):
        nearest = jnp.where(which == place, shifted, nearest)
    step = 2.0 * cotangent * (_shifts(window, fixed)[len(shifts) // 2] - nearest)
    # Written out once: XLA would compute the above anew for each place in the window.
    r = window // 2
    border = [(0, 0)] * (which.ndim - 2) + [(2 * r, 2 * r)] * 2
    which, step = jax.lax.optimization_barrier(
        (jnp.pad(which, border, constant_values=-1), jnp.pad(step, [(0, 0), *border]))
    )
    places = range(len(shifts))[::-1]  # a pixel seen at the window's end sees the one at its start
    whiches, steps = _shifts(window, which), _shifts(window, step)
    to_searched = jnp.zeros_like(searched)
    for place, w, s in zip(places, whiches, steps, strict=True):
        to_searched += jnp.where(w == place, -s, 0.0)
    height, width = fixed.shape[-2:]
    return step[..., r : r + height, r : r + width], to_searched


_nearest.defvjp(_nearest_forward, _nearest_backward)


def masked_photometric(
    target: Float[AnyArray, "b h w 3"],
    rendering: Float[AnyArray, "b h w 3"],
    mask: Float[AnyArray, "b h w 1"],
    *,
    squared: bool = False,
) -> Float[Array, ""]:
    """Colour distance per unit of mask over the batch (Eq. 5); `squared` as the paper writes it."""
    target, rendering, mask = _same_pictures(target, rendering, mask=mask)
    distance = jnp.sum(((target - rendering) * mask) ** 2, axis=-1)
    distance = distance if squared else _safe_root(distance)
    # An empty mask has nothing to compare: zero, with a zero gradient.
    return jnp.sum(distance) / jnp.maximum(jnp.sum(mask), 1e-6)


def robust_photometric(
    target: Float[AnyArray, "b h w 3"],
    rendering: Float[AnyArray, "b h w 3"],
    coverage: Float[AnyArray, "b h w 1"],
    sigma: float = 0.043,
    deviations: float = 3.0,
) -> tuple[Float[Array, ""], Float[Array, "b h w 1"]]:
    """Negative log-likelihood of the pixels that pass for face, and the mask of them (Eqs. 9, 10).

    A pixel passes when its summed squared difference is below `(deviations * sigma)^2`. The mean
    runs over all pixels of the batch.
    """
    target, rendering, coverage = _same_pictures(target, rendering, coverage=coverage)
    squared = jnp.sum((target - rendering) ** 2, axis=-1, keepdims=True)
    constant = -3.0 * jnp.log(jnp.sqrt(2.0 * jnp.pi) * sigma)  # N_c of Eq. 9, a Gaussian in RGB
    log_likelihood = -squared / (2.0 * sigma**2) + constant
    mask = jax.lax.stop_gradient((squared < (deviations * sigma) ** 2) * coverage)
    return -jnp.mean(mask * log_likelihood), mask


def area(
    mask: Float[AnyArray, "b h w 1"], coverage: Float[AnyArray, "b h w 1"]
) -> Float[Array, ""]:
    """Share of the rendered face that the mask leaves out: 1 - S_M / S_R (Eq. 3)."""
    mask, coverage = _some_masks(mask=mask, coverage=coverage)
    left_out = jnp.sum(coverage * (1.0 - mask), axis=(-3, -2, -1))
    # A face turned or moved out of view covers nothing; it then leaves nothing out.
    return jnp.mean(left_out / jnp.maximum(jnp.sum(coverage, axis=(-3, -2, -1)), 1.0))


def binary(mask: Float[AnyArray, "b h w 1"], *, squared: bool = False) -> Float[Array, ""]:
    """Distance of the mask from 0 or 1 over the whole image (L_bin); `squared` as in the paper."""
    (mask,) = _some_masks(mask=mask)
    if squared:
        return -jnp.mean(jnp.sum((mask - 0.5) ** 2, axis=(-3, -2, -1)))
    return 0.5 - jnp.mean(jnp.abs(mask - 0.5))


def cosine(a: Float[AnyArray, "*n c"], b: Float[AnyArray, "*n c"]) -> Float[Array, ""]:
    """Mean of 1 - cos between the vectors on the last axis (Eqs. 2, 4, 6)."""
    a, b = _some(a=a, b=b)
    if a.shape != b.shape:
        raise ValueError(f"features must agree in shape: {a.shape} and {b.shape}")
    # 1e-12: features of an empty image are zero; their cosine is then 0 and its gradient finite.
    scale = jax.lax.rsqrt(jnp.maximum(jnp.sum(a * a, -1) * jnp.sum(b * b, -1), 1e-12))
    return jnp.mean(1.0 - jnp.sum(a * b, -1) * scale)


def shallow_cosine(
    a: Float[AnyArray, "b h w c"], b: Float[AnyArray, "b h w c"], *, normalize_width: bool = True
) -> Float[Array, ""]:
    """Cosine distance of feature maps, over channels, averaged over positions (Eqs. 2 and 4).

    The release divides each feature map by its norm over the *width* axis first; it is kept by
    default because the published loss weights belong to it.
    """
    a, b = _some(a=a, b=b)
    if a.ndim != 4 or a.shape != b.shape:
        raise ValueError(f"feature maps must be [b h w c] and agree: {a.shape} and {b.shape}")
    if normalize_width:
        a, b = _unit_width(a), _unit_width(b)
    return cosine(a, b)


def _unit_width(x: AnyArray) -> AnyArray:
    squared = jnp.sum(x * x, axis=2, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squared, 1e-12))


def landmark(
    predicted: Float[AnyArray, "b n 2"],
    target: Float[AnyArray, "b n 2"],
    weights: Float[AnyArray, "*w n"],
) -> Float[Array, ""]:
    """Mean squared weighted distance, pixels^2 (Eq. 7); the weights lie inside the square.

    Any number of points, with one weight each for all pictures, or of each picture its own: 0 for a
    point that is not to be believed. ValueError for shapes that do not agree.
    """
    predicted, target, weights = _some(predicted=predicted, target=target, weights=weights)
    if predicted.shape != target.shape:
        raise ValueError(f"landmarks must agree in shape: {predicted.shape} and {target.shape}")
    if weights.shape not in (predicted.shape[-2:-1], predicted.shape[:-1]):
        raise ValueError(f"weights {weights.shape} are not those of points {predicted.shape}")
    return jnp.mean((weights[..., None] * (predicted - target)) ** 2)


def landmark_weights(heavy: float) -> Float[Array, "68"]:
    """1, and `heavy` on the nose ridge and the inner lip, for `landmark`.

    The release uses 20, which its square makes 400; the paper's 20 is this function at 20 ** 0.5.
    """
    return jnp.ones(68).at[jnp.array(HEAVY_LANDMARKS)].set(heavy)


def prior(*coefficients: Float[AnyArray, "b _"]) -> Float[Array, ""]:
    """Squared norm of unit-variance coefficients, mean over the batch (L_reg)."""
    given = _some(**{f"coefficients {k}": c for k, c in enumerate(coefficients)})
    return sum((jnp.mean(jnp.sum(c**2, axis=-1)) for c in given), jnp.zeros(()))


def coefficients(
    predicted: Float[AnyArray, "b n"], true: Float[AnyArray, "b n"], weights: Float[AnyArray, "n"]
) -> Float[Array, ""]:
    """Weighted sum of squared differences of unit-variance coefficients, mean over the batch.

    Of renderings of the face model, whose coefficients are known. Not of the paper.
    """
    predicted, true, weights = _some(predicted=predicted, true=true, weights=weights)
    if predicted.shape != true.shape:
        raise ValueError(f"coefficients must agree in shape: {predicted.shape} and {true.shape}")
    if weights.shape != predicted.shape[-1:]:
        raise ValueError(f"weights {weights.shape} are not those of coefficients {predicted.shape}")
    return jnp.mean(jnp.sum(weights * (predicted - true) ** 2, axis=-1))


def coefficient_weights(*bases: Float[AnyArray, "v 3 _"]) -> Float[Array, "n"]:
    """Each mode's share of what its basis moves on average, for `coefficients`: 1 for each basis.

    So that the loss of a mean face is about 1 for each basis, whatever its number of modes.
    """
    given = _single(**{f"basis {k}": basis for k, basis in enumerate(bases)})
    effects = [jnp.sum(basis**2, axis=(0, 1)) for basis in given]
    return jnp.concatenate([effect / jnp.sum(effect) for effect in effects])


def cross_entropy(
    logits: Float[AnyArray, "b h w 1"], target: Float[AnyArray, "b h w 1"]
) -> Float[Array, ""]:
    """Mean binary cross-entropy on logits, against the preliminary masks of Eq. 10."""
    logits, target = _some_masks(logits=logits, target=target)
    return jnp.mean(jax.nn.softplus(logits) - target * logits)


def _of_thin_ones(
    occluder: Float[Array, "b h w 1"], coverage: Float[Array, "b h w 1"]
) -> Float[Array, "b 1 1 1"]:
    """What each pixel of an occluder counts, from a half to four: rims of glasses and strands are
    so few that all of them are left to the face for less than what a doubtful hand costs."""
    size = functools.partial(jnp.sum, axis=(-3, -2, -1), keepdims=True)
    hidden, face = size(coverage * occluder), size(coverage)
    return jnp.sqrt(jnp.clip(USUAL_SHARE * face / jnp.maximum(hidden, 1.0), 0.25, 16.0))


def pasted(
    logits: Float[AnyArray, "b h w 1"],
    occluder: Float[AnyArray, "b h w 1"],
    coverage: Float[AnyArray, "b h w 1"],
    whole: Float[AnyArray, "b"] | None = None,
) -> Float[Array, ""]:
    """Cross-entropy of a mask where a known occluder lies over the face, per pixel of the face.

    An occluder counts as the root of its area does, one of `USUAL_SHARE` of the face by its area.
    Says of the other pixels that they are face where `whole` is 1, which is where all that lies
    before it is known, and nothing where it is 0. Not of the paper, which knows no occluder.
    """
    logits, occluder, coverage = _some_masks(logits=logits, occluder=occluder, coverage=coverage)
    charge = occluder * _of_thin_ones(occluder, coverage) * jax.nn.softplus(logits)
    if whole is not None:
        (whole,) = _single(whole=whole)
        if np.shape(whole) != logits.shape[:-3]:
            raise ValueError(f"whole {np.shape(whole)} must be a number for each of {logits.shape}")
        face = jnp.expand_dims(whole, (-3, -2, -1)) * (1.0 - occluder)
        charge = charge + face * jax.nn.softplus(-logits)
    charged = jnp.sum(coverage * charge, axis=(-3, -2, -1))
    return jnp.mean(charged / jnp.maximum(jnp.sum(coverage, axis=(-3, -2, -1)), 1.0))
