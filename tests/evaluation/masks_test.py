import jax
import numpy as np
import pytest
from scipy import ndimage

from focus_jax.evaluation.masks import boundary_iou, calibration_error, image_iou, mask_scores

EVERYWHERE = np.ones((2, 40, 50, 1), np.float32)


def blobs(seed, shape=EVERYWHERE.shape):
    """Binary masks with smooth borders."""
    noise = np.random.default_rng(seed).normal(size=shape)
    return (ndimage.gaussian_filter(noise, (0, 4, 4, 0)) > 0).astype(np.float32)


def test_the_truth_has_boundary_iou_one_and_the_opposite_zero():
    true = blobs(0)
    np.testing.assert_array_equal(boundary_iou(true, true, EVERYWHERE), 1)
    np.testing.assert_array_equal(boundary_iou(true, 1 - true, EVERYWHERE), 0)


def test_boundary_iou_is_symmetric():
    a, b = blobs(0), blobs(1)
    values = boundary_iou(a, b, EVERYWHERE)
    np.testing.assert_array_equal(values, boundary_iou(b, a, EVERYWHERE))
    assert (values > 0).all() and (values < 1).all()


def test_boundary_iou_is_that_of_eroded_masks():
    """Cheng et al.'s definition with SciPy's erosion, pixels beyond the image kept."""
    a, b = blobs(2), blobs(3)
    reach = round(0.02 * np.hypot(40, 50))
    square = np.ones((3, 3), bool)

    def band(mask):
        worn = ndimage.binary_erosion(mask > 0, square, iterations=reach, border_value=1)
        return (mask > 0) & ~worn

    expected = []
    for i in range(len(a)):
        x, y = band(a[i, ..., 0]), band(b[i, ..., 0])
        expected.append((x & y).sum() / (x | y).sum())
    np.testing.assert_allclose(boundary_iou(a, b, EVERYWHERE), expected, rtol=1e-6)


def test_boundary_iou_notices_a_shift_that_iou_forgives():
    """A square of 60 pixels moved by one: its IoU is 59 of 61, that of its outline much less."""
    true, moved = np.zeros((1, 100, 100, 1), np.float32), np.zeros((1, 100, 100, 1), np.float32)
    true[0, 20:80, 20:80], moved[0, 21:81, 20:80] = 1, 1
    everywhere = np.ones_like(true)
    wide, narrow = (boundary_iou(true, moved, everywhere, r)[0] for r in (0.02, 0.0072))
    assert narrow < wide < 0.8


def test_neither_the_region_nor_the_image_is_a_boundary():
    true, region = np.ones((1, 30, 30, 1), np.float32), np.zeros((1, 30, 30, 1), np.float32)
    region[0, 10:20, 10:20] = 1
    outside = np.where(region > 0, true, 0).astype(np.float32)
    np.testing.assert_array_equal(boundary_iou(true, outside, region), 1)  # no boundary in either
    part = true.copy()
    part[0, 15:] = 0
    np.testing.assert_array_equal(boundary_iou(true, part, region), 0)


def test_boundaries_outside_the_region_do_not_count():
    a, b, region = blobs(4), blobs(5), blobs(6)
    changed = np.where(region > 0, b, 1 - b).astype(np.float32)
    np.testing.assert_array_equal(boundary_iou(a, b, region), boundary_iou(a, changed, region))


def test_the_truth_is_calibrated_and_its_opposite_is_not():
    true = blobs(0)
    np.testing.assert_array_equal(calibration_error(true, true, EVERYWHERE), 0)
    np.testing.assert_array_equal(calibration_error(true, 1 - true, EVERYWHERE), 1)


def test_probabilities_that_come_true_are_calibrated():
    rng = np.random.default_rng(0)
    p = rng.random((1, 600, 600, 1)).astype(np.float32)
    true = (rng.random(p.shape) < p).astype(np.float32)
    everywhere = np.ones_like(p)
    assert calibration_error(true, p, everywhere)[0] < 0.01
    bold = np.clip(p + np.where(p > 0.5, 0.2, -0.2), 0, 1).astype(np.float32)
    assert 0.08 < calibration_error(true, bold, everywhere)[0] < 0.2


def test_one_confidence_everywhere_is_off_by_its_distance_from_the_share_of_face():
    true, region = blobs(1), blobs(2)
    share = (true * region).sum((1, 2, 3)) / region.sum((1, 2, 3))
    error = calibration_error(true, np.full_like(true, 0.9), region)
    np.testing.assert_allclose(error, abs(0.9 - share), rtol=1e-4)


def test_one_bin_compares_means_and_more_bins_find_more():
    true, soft = blobs(1), np.random.default_rng(0).random(EVERYWHERE.shape).astype(np.float32)
    means = abs(true.mean((1, 2, 3)) - soft.mean((1, 2, 3)))
    errors = [calibration_error(true, soft, EVERYWHERE, n) for n in (1, 3, 15)]
    np.testing.assert_allclose(errors[0], means, atol=1e-5)
    assert (errors[0] <= errors[1] + 1e-6).all() and (errors[1] <= errors[2] + 1e-6).all()


def test_an_empty_region_is_calibrated():
    zero = np.zeros_like(EVERYWHERE)
    np.testing.assert_array_equal(calibration_error(blobs(0), blobs(1), zero), 0)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("score", [boundary_iou, calibration_error])
def test_shapes_must_agree_and_jit_changes_nothing(score):
    with pytest.raises(ValueError, match="one shape"):
        score(blobs(0), blobs(0, (2, 40, 40, 1)), EVERYWHERE)
    compiled = jax.jit(score)(blobs(0), blobs(1), EVERYWHERE)
    np.testing.assert_allclose(compiled, score(blobs(0), blobs(1), EVERYWHERE), rtol=1e-6)


def scores_of(true, predicted, region):
    """All scores of a pair of masks, by name."""
    found = mask_scores(true, predicted, region) | image_iou(true, predicted)
    found["boundary_iou"] = boundary_iou(true, predicted, region)
    return found | {"ece": calibration_error(true, predicted, region)}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float16])
def test_scores_do_not_depend_on_what_masks_are_made_of(dtype):
    masks = [np.tile(x, (1, 8, 8, 1)) for x in (blobs(0), blobs(1), EVERYWHERE)]  # beyond float16
    expected = scores_of(*masks)
    for name, value in scores_of(*(x.astype(dtype) for x in masks)).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("score", [mask_scores, boundary_iou, calibration_error])
def test_bytes_and_masks_without_channel_are_refused(score):
    grey = (255 * blobs(0)).astype(np.uint8)
    with pytest.raises(ValueError, match="true must be from 0 to 1, not to 255"):
        score(grey, grey, EVERYWHERE)
    with pytest.raises(ValueError, match=r"one shape \[b h w 1\]"):  # one score for the batch
        score(blobs(0)[..., 0], blobs(1)[..., 0], EVERYWHERE[..., 0])
