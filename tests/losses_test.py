import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from focus_jax import losses


@pytest.fixture(scope="module")
def formation():
    arrays = reference.load("image_formation")
    mask = reference.images(arrays["mask"])
    return {
        "target": reference.images(arrays["target"]),
        "rendering": reference.images(arrays["image"]),
        "coverage": mask,
        "mask": reference.images(arrays["estimated_mask"]) * mask,
        "robust_mask": reference.images(arrays["robust_mask"]),
        "landmarks": arrays["projected"].transpose(0, 2, 1)[:, arrays["landmark_vertices"], :2],
        "landmarks_target": arrays["landmarks_target"].transpose(0, 2, 1),
        "losses": reference.numbers(arrays["losses"]),
    }


def random_images(seed=0, size=16):
    rng = np.random.default_rng(seed)
    target, rendering = rng.random((2, 2, size, size, 3), dtype=np.float32)
    mask = rng.random((2, size, size, 1), dtype=np.float32)
    return target, rendering, mask


# The reference README's tolerance for every term.
TOLERANCE = 1e-4


@pytest.mark.usefixtures("unchecked")
def test_the_coefficients_of_a_mean_face_cost_one_for_each_basis():
    rng = np.random.default_rng(0)
    bases = [rng.normal(0, scale, (30, 3, n)) for scale, n in ((2.0, 5), (0.1, 3))]
    weights = losses.coefficient_weights(*bases)
    true = rng.standard_normal((20000, 8)).astype(np.float32)
    assert losses.coefficients(true, true, weights) == 0
    np.testing.assert_allclose(losses.coefficients(0 * true, true, weights), 2.0, rtol=0.03)
    # The same error costs more in a mode that moves more.
    bases[0][..., 0] *= 10
    weights = losses.coefficient_weights(*bases)
    np.testing.assert_allclose(weights[0], 1.0, atol=0.06)
    with pytest.raises(ValueError, match=r"\(20000, 8\) and \(1, 8\)"):
        losses.coefficients(true, true[:1], weights)


@pytest.mark.usefixtures("unchecked")
def test_half_precision_loses_no_sums():
    target, rendering, mask = (np.tile(x, (1, 14, 14, 1)) for x in random_images())
    features = target.reshape(2, -1), rendering.reshape(2, -1)
    points = 224 * target[:, :2, :68, :2].reshape(2, -1, 2)
    cases = (
        (losses.neighbour, (target, rendering, mask)),
        (losses.masked_photometric, (target, rendering, mask)),
        (lambda *x: losses.robust_photometric(*x)[0], (target, rendering, mask)),
        (losses.area, (mask / 2, mask)),
        (functools.partial(losses.binary, squared=True), (mask,)),
        (losses.cosine, features),
        (losses.cosine, (0 * features[0], features[1])),
        (losses.shallow_cosine, (target, rendering)),
        (losses.landmark, (points, points[::-1], np.full(points.shape[1], 20.0))),
        (losses.prior, features),
        (losses.coefficients, (*features, np.ones(features[0].shape[1]))),
        (losses.cross_entropy, (mask, mask)),
        (losses.pasted, (mask, mask, mask)),
    )
    functions, arrays = zip(*cases, strict=True)
    half = [[np.asarray(x, np.float16) for x in each] for each in arrays]
    single = [[x.astype(np.float32) for x in each] for each in half]

    @jax.jit
    def terms(inputs):
        return [function(*each) for function, each in zip(functions, inputs, strict=True)]

    expected = np.array(terms(single))
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(terms(half), expected, rtol=1e-3)


def test_parity_with_the_release(formation):
    @jax.jit
    def all_terms(f):
        t, r, m, c = f["target"], f["rendering"], f["mask"], f["coverage"]
        robust, robust_mask = losses.robust_photometric(t, r, c)
        weights = losses.landmark_weights(20.0)
        return robust_mask, {
            "neighbor_5x5": losses.neighbour(t, r, m, 5),
            "neighbor_3x3": losses.neighbour(t, r, m, 3),
            "masked_reconstruction": losses.masked_photometric(t, r, m),
            "area": losses.area(m, c),
            "binary": losses.binary(m),
            "robust_nll": robust,
            "landmark": losses.landmark(f["landmarks"], f["landmarks_target"], weights),
        }

    f = formation
    robust_mask, found = all_terms({k: v for k, v in f.items() if k != "losses"})
    assert found.keys() == f["losses"].keys()
    for name, value in found.items():
        np.testing.assert_allclose(value, f["losses"][name], rtol=TOLERANCE, err_msg=name)
    np.testing.assert_array_equal(robust_mask, f["robust_mask"])


@pytest.mark.parametrize("search", ["target", "rendering"])
@pytest.mark.parametrize("squared", [False, True])
def test_neighbour_forgives_a_shift_of_one_pixel(search, squared):
    target, _, mask = random_images()
    ones = np.ones_like(mask)
    shifted = np.roll(target, 1, axis=2)
    found = losses.neighbour(target, shifted, ones, 5, search, squared=squared)
    assert found < 1e-6
    assert losses.neighbour(target, np.roll(target, 4, axis=2), ones, 5, search) > 0.01


@pytest.mark.parametrize("window", [0, 2, -3, 7])
def test_neighbour_wants_an_odd_window_in_the_image(window):
    image = jnp.zeros((1, 6, 9, 3))
    with pytest.raises(ValueError, match="window must be odd and fit"):
        losses.neighbour(image, image, image[..., :1], window)


@pytest.mark.usefixtures("unchecked")
def test_neighbour_searches_the_image_it_is_told_to():
    target = np.zeros((1, 9, 9, 3), np.float32)
    rendering = np.zeros_like(target)
    rendering[0, 4, 4] = 1.0
    ones = np.ones((1, 9, 9, 1), np.float32)
    # The bright rendered pixel has no like in the photo; every photo pixel has a dark one nearby.
    assert losses.neighbour(target, rendering, ones, 3, "target") > 0
    assert losses.neighbour(target, rendering, ones, 3, "rendering") == 0
    with pytest.raises(ValueError, match="search"):
        losses.neighbour(target, rendering, ones, 3, "photo")


def test_masked_photometric_ignores_what_the_mask_hides():
    target, rendering, mask = random_images()
    mask = np.round(mask)
    changed = np.where(mask > 0, target, 0.3)
    np.testing.assert_allclose(
        losses.masked_photometric(target, rendering, mask),
        losses.masked_photometric(changed, rendering, mask),
    )
    assert losses.masked_photometric(target, rendering, 0 * mask) == 0


@pytest.mark.parametrize(
    "loss",
    [
        lambda t, r, m: losses.neighbour(t, r, m),
        lambda t, r, m: losses.masked_photometric(t, r, m),
        lambda t, r, m: losses.shallow_cosine(t * m, r * m),
        lambda t, r, m: losses.robust_photometric(t, r, m)[0],
        lambda t, r, m: losses.area(m, jnp.zeros_like(m)) + losses.binary(m),
    ],
)
def test_gradients_are_finite_where_images_agree_or_nothing_is_left(loss):
    target, _, mask = random_images()
    slopes = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    for fill in (0.0, 1.0):
        for gradient in slopes(target, target, np.full_like(mask, fill)):
            assert np.isfinite(gradient).all(), fill


def test_robust_mask_is_the_threshold_inside_the_face():
    target, rendering, mask = random_images()
    coverage = np.round(mask)
    near = target + 0.04
    _, kept = losses.robust_photometric(target, near, coverage)
    np.testing.assert_array_equal(kept, coverage)
    _, none = losses.robust_photometric(target, target + 0.5, coverage)
    assert none.sum() == 0
    loss, all_kept = losses.robust_photometric(
        target, rendering, coverage, deviations=0.17**0.5 / 0.043
    )
    inside = np.sum((target - rendering) ** 2, -1, keepdims=True) < 0.17
    np.testing.assert_array_equal(all_kept, inside * coverage)
    assert np.isfinite(loss)


def test_area_and_binary_at_their_ends():
    _, _, mask = random_images()
    ones = np.ones_like(mask)
    assert losses.area(ones, ones) == 0 and losses.area(0 * ones, ones) == 1
    assert losses.binary(ones) == 0 and losses.binary(0.5 * ones) == 0.5
    assert losses.binary(ones, squared=True) < losses.binary(0.5 * ones, squared=True) == 0


def test_area_pulls_as_the_papers_ratio_does():
    """1 - S_M / S_R of the release and -S_M / S_R of the paper have one gradient."""
    mask, coverage = random_images()[2], np.round(random_images(1)[2])

    def ratio(mask):
        covered = jnp.sum(coverage, axis=(1, 2, 3))
        return -jnp.mean(jnp.sum(mask * coverage, axis=(1, 2, 3)) / covered)

    pull = jax.grad(lambda m: losses.area(m, coverage))(mask)
    np.testing.assert_allclose(pull, jax.grad(ratio)(mask), rtol=1e-5, atol=1e-9)
    assert np.abs(pull).max() > 0


def test_the_likelihood_rewards_every_pixel_that_passes():
    """Of the initialisation: its mean runs over all pixels, so that a larger mask is better."""
    target, _, _ = random_images()
    ones = np.ones_like(target[..., :1])
    whole, _ = losses.robust_photometric(target, target, ones)
    half, _ = losses.robust_photometric(target, target, ones * (np.arange(16) < 8)[:, None])
    constant = 3 * np.log(np.sqrt(2 * np.pi) * 0.043)  # minus N_c, 6.683
    np.testing.assert_allclose([whole, half], [constant, constant / 2], rtol=1e-5)


def test_cosine_measures_direction_only():
    a = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)
    np.testing.assert_allclose(losses.cosine(a, 5 * a), 0, atol=1e-6)
    np.testing.assert_allclose(losses.cosine(a, -a), 2, atol=1e-6)


def test_width_normalization_changes_the_distance():
    target, rendering, _ = random_images()
    with_width = losses.shallow_cosine(target, rendering)
    assert abs(with_width - losses.shallow_cosine(target, rendering, normalize_width=False)) > 1e-4


def test_landmark_weight_lies_inside_the_square():
    zero = np.zeros((1, 68, 2), np.float32)
    off = zero.copy()
    off[0, 30] = 1.0
    plain = losses.landmark(off, zero, losses.landmark_weights(1.0))
    heavy = losses.landmark(off, zero, losses.landmark_weights(20.0))
    np.testing.assert_allclose(heavy, 400 * plain)
    # The nose ridge but for its top, and the inner lip.
    heavy = np.flatnonzero(np.asarray(losses.landmark_weights(20.0)) == 20.0)
    np.testing.assert_array_equal(heavy, [28, 29, 30, *range(60, 68)])


def test_cross_entropy_prefers_the_right_answer():
    target = np.round(random_images()[2])
    logits = 10 * (2 * target - 1)
    assert losses.cross_entropy(logits, target) < 1e-3 < losses.cross_entropy(-logits, target)


pull_of_pasted = jax.jit(jax.grad(losses.pasted))


def test_a_pasted_occluder_charges_the_mask_only_where_it_lies_on_the_face():
    occluder = np.zeros((1, 4, 4, 1), np.float32)
    occluder[:, :2] = 1
    coverage = np.ones_like(occluder)
    coverage[:, 0] = 0
    logits = np.where(occluder == 1, -50.0, 50.0).astype(np.float32)
    assert losses.pasted(logits, occluder, coverage) < 1e-6
    slope = np.asarray(pull_of_pasted(np.zeros((1, 4, 4, 1), np.float32), occluder, coverage))
    np.testing.assert_array_equal(slope[0, ..., 0] > 0, (occluder * coverage)[0, ..., 0] == 1)
    assert losses.pasted(logits, occluder, np.zeros_like(coverage)) == 0


def test_of_pasted_occluders_thin_ones_count_more_than_their_area():
    """A hundredth of the face a tenth of the whole, a quarter a half, and nothing nothing."""
    occluder = np.zeros((4, 10, 10, 1), np.float32)
    occluder[0, 0, :1], occluder[1, :5, :5], occluder[2] = 1, 1, 1
    logits = np.zeros_like(occluder)

    def charge(k):
        return losses.pasted(logits[[k]], occluder[[k]], np.ones_like(logits[[k]]))

    hundredth, quarter, whole, nothing = (charge(k) for k in range(4))
    np.testing.assert_allclose(quarter, np.log(2) / 4, rtol=1e-5)  # as by its area
    np.testing.assert_allclose(whole, 2 * quarter, rtol=1e-5)
    assert whole / 30 < hundredth < whole / 10  # its root would be 1 / 10; at most four times
    assert nothing == 0


def test_of_a_face_without_anything_else_before_it_the_rest_is_told_too():
    occluder, coverage = np.zeros((2, 4, 4, 1)), np.zeros((2, 4, 4, 1))
    occluder[:, :2], coverage[:, :, 1:] = 1, 1
    whole = np.array([0.0, 1.0])
    logits = np.zeros((2, 4, 4, 1), np.float32)
    slope = np.asarray(pull_of_pasted(logits, occluder, coverage, whole))
    np.testing.assert_array_equal(np.sign(slope[0]), occluder[0] * coverage[0])
    np.testing.assert_array_equal(np.sign(slope[1]), (2 * occluder[1] - 1) * coverage[1])


def test_prior_counts_coefficients_not_batches():
    np.testing.assert_allclose(losses.prior(np.ones((5, 3)), 2 * np.ones((5, 2))), 3 + 8)


def test_landmarks_of_any_number_weigh_what_each_picture_says():
    """One weight a point for all pictures, or a picture's own; a point of none pulls at nothing."""
    rng = np.random.default_rng(0)
    found, true = rng.normal(size=(2, 3, 478, 2)).astype(np.float32)
    weights = rng.uniform(size=478).astype(np.float32)
    same = losses.landmark(found, true, np.tile(weights, (3, 1)))
    np.testing.assert_allclose(losses.landmark(found, true, weights), same, rtol=1e-6)
    own = np.ones((3, 478), np.float32)
    own[1, 7] = 0
    gradient = np.asarray(jax.jit(jax.grad(losses.landmark))(found, true, own))
    assert (np.abs(gradient).sum(-1) > 0).sum() == 3 * 478 - 1 and not gradient[1, 7].any()


@pytest.mark.usefixtures("unchecked")
def test_shapes_that_would_broadcast_are_refused():
    target, rendering, mask = random_images()
    with pytest.raises(ValueError, match="agree"):
        losses.masked_photometric(target, rendering[:1], mask)
    with pytest.raises(ValueError, match="agree"):
        losses.landmark(np.zeros((2, 68, 2)), np.zeros((1, 68, 2)), np.ones(68))
    with pytest.raises(ValueError, match="not those of points"):
        losses.landmark(np.zeros((2, 68, 2)), np.zeros((2, 68, 2)), np.ones((1, 68)))
    with pytest.raises(ValueError, match="agree"):
        losses.cosine(np.zeros((2, 8)), np.zeros((1, 8)))
    pictures = losses.masked_photometric, losses.neighbour, losses.robust_photometric
    for loss in pictures:
        with pytest.raises(ValueError, match="agree"):  # a grey picture
            loss(target[..., :1], rendering, mask)
        with pytest.raises(ValueError, match="one shape"):  # would weigh each pixel three times
            loss(target, rendering, np.repeat(mask, 3, axis=-1))
        with pytest.raises(ValueError, match=r"target must be floating point .* not uint8"):
            loss((255 * target).astype(np.uint8), rendering, mask)
    for loss in (losses.area, losses.cross_entropy):
        with pytest.raises(ValueError, match="one shape"):
            loss(mask[..., 0], mask[..., 0])
        with pytest.raises(ValueError, match=r"from 0 to 1, not to 25\d; give `mask > 0`"):
            loss((255 * mask).astype(np.uint8), mask)


@pytest.mark.usefixtures("unchecked")
def test_truth_values_are_masks_and_a_picture_needs_no_batch():
    target, rendering, mask = random_images()
    binary = mask > 0.5
    for loss in (losses.masked_photometric, losses.neighbour):
        expected = loss(target, rendering, binary.astype(np.float32))
        np.testing.assert_array_equal(loss(target, rendering, binary), expected)
        one = loss(target[0], rendering[0], mask[0])
        np.testing.assert_allclose(one, loss(target[:1], rendering[:1], mask[:1]), rtol=1e-6)
    for loss in (losses.area, losses.cross_entropy):
        np.testing.assert_allclose(loss(mask[0], mask[0]), loss(mask[:1], mask[:1]), rtol=1e-6)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (losses.neighbour, ["1883", "1883", "1883"]),
        (losses.neighbour, ["1881", "1883", "1881"]),
        (losses.masked_photometric, ["1883", "1883", "1883"]),
        (losses.masked_photometric, ["1883", "1881", "1881"]),
        (losses.robust_photometric, ["1883", "1883", "1883"]),
        (losses.area, ["1883", "1881"]),
        (losses.cross_entropy, ["1881", "1883"]),
        (losses.pasted, ["1881", "1883", "1881"]),
        (losses.pasted, ["2881", "2881", "2881", "1"]),
        (losses.coefficients, ["33", "33", "1"]),
        (losses.coefficients, ["33", "33", "33"]),
        (losses.shallow_cosine, ["883", "883"]),
    ],
)
def test_channels_and_weights_that_would_broadcast_are_refused(function, shapes):
    """Each gave a number."""
    with pytest.raises(ValueError, match=r"must|are not those|has not one") as told:
        function(*(np.ones(tuple(map(int, shape)), np.float32) for shape in shapes))
    assert "\n" not in str(told.value) and "(" in str(told.value)


@pytest.mark.parametrize("window", [1, 3, 5])
def test_neighbour_has_the_derived_gradient(window):
    """The one that is written out, against the derived one of the formula."""
    rng = np.random.default_rng(5)
    target, rendering = (rng.random((2, 9, 8, 3)).astype(np.float32) for _ in range(2))
    mask = rng.random((2, 9, 8, 1)).astype(np.float32)
    r = window // 2

    def formula(target, rendering, mask):
        searched, fixed = target * mask, rendering * mask
        places = [(y, x) for y in range(window) for x in range(window)]
        centre = fixed[:, r : 9 - r, r : 8 - r]
        distances = [
            jnp.sum((centre - searched[:, y : y + 9 - 2 * r, x : x + 8 - 2 * r]) ** 2, -1)
            for y, x in places
        ]
        return jnp.mean(jnp.sqrt(jnp.min(jnp.stack(distances), 0)))

    def ours(target, rendering, mask):
        return losses.neighbour(target, rendering, mask, window)

    found, expected = (
        jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2)))(target, rendering, mask)
        for f in (ours, formula)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), found, expected
    )


LOSSES = {  # with arrays of two pictures each, or two faces
    losses.neighbour: ((8, 8, 3), (8, 8, 3), (8, 8, 1)),
    losses.masked_photometric: ((8, 8, 3), (8, 8, 3), (8, 8, 1)),
    losses.robust_photometric: ((8, 8, 3), (8, 8, 3), (8, 8, 1)),
    losses.area: ((8, 8, 1), (8, 8, 1)),
    losses.binary: ((8, 8, 1),),
    losses.cosine: ((5,), (5,)),
    losses.shallow_cosine: ((4, 4, 5), (4, 4, 5)),
    losses.landmark: ((6, 2), (6, 2), (6,)),
    losses.prior: ((5,), (3,)),
    losses.cross_entropy: ((8, 8, 1), (8, 8, 1)),
    losses.pasted: ((8, 8, 1), (8, 8, 1), (8, 8, 1), ()),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("loss", LOSSES)
def test_empty_batches_and_lists_are_refused(loss):
    """The mean of nothing is NaN; of lists JAX says nothing, or repeats all of their numbers."""
    given = [np.ones((2, *shape), np.float32) for shape in LOSSES[loss]]
    assert np.isfinite(jax.tree.leaves(loss(*given))[0])
    with pytest.raises(ValueError, match=r"\w+ \(0, .*\) is empty; leave out"):
        loss(*(array[:0] for array in given))
    for k, array in enumerate(given):
        with pytest.raises(ValueError, match=r"^[\w ]+ must be an array, not list; make it one by"):
            loss(*given[:k], array.tolist(), *given[k + 1 :])


@pytest.mark.usefixtures("unchecked")
def test_faces_without_coefficients_have_a_prior_of_nothing():
    assert losses.prior(np.ones((2, 0), np.float32)) == 0
