import jax.numpy as jnp
import numpy as np
import pytest
import reference
import scipy.stats

from focus_jax.evaluation import report
from focus_jax.evaluation.masks import image_iou, mask_scores
from focus_jax.evaluation.photometric import landmark_error, mae, rmse
from focus_jax.evaluation.shape import (
    align,
    by_region,
    coefficients_of,
    rank_correlation,
    shape_error,
)


def random_mask(seed, size=12):
    return np.random.default_rng(seed).integers(0, 2, (3, size, size, 1)).astype(np.float32)


def test_the_truth_scores_one_and_its_opposite_zero():
    true, region = random_mask(0), np.ones((3, 12, 12, 1), np.float32)
    for value in mask_scores(true, true, region).values():
        np.testing.assert_allclose(value, 1, rtol=1e-5)
    for value in mask_scores(true, 1 - true, region).values():
        np.testing.assert_allclose(value, 0, atol=1e-6)


def test_pixels_outside_the_region_do_not_count():
    true, predicted, region = random_mask(0), random_mask(1), random_mask(2)
    changed = np.where(region > 0, predicted, 1 - predicted)
    a, b = mask_scores(true, predicted, region), mask_scores(true, changed, region)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_iou_and_f1_agree():
    scores = mask_scores(random_mask(0), random_mask(1), np.ones((3, 12, 12, 1), np.float32))
    np.testing.assert_allclose(scores["iou"], scores["f1"] / (2 - scores["f1"]), rtol=1e-4)


def test_parity_with_the_release():
    arrays = reference.load("image_formation")
    scores = mask_scores(
        reference.images(arrays["gt_mask"]),
        np.round(reference.images(arrays["estimated_mask"])),
        reference.images(arrays["mask"]),
    )
    found = np.stack([scores[k] for k in ("accuracy", "precision", "f1", "recall")], axis=-1)
    np.testing.assert_allclose(found, arrays["mask_metrics_per_image"], rtol=1e-5)


@pytest.mark.usefixtures("unchecked")
def test_masks_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        mask_scores(random_mask(0), random_mask(0, 8), random_mask(0))


def test_rmse_is_in_grey_levels_of_the_region():
    image = np.zeros((1, 4, 4, 3), np.float32)
    other = image.copy()
    other[0, :2] = 10 / 255
    other[0, 2:] = 1.0
    region = np.zeros((1, 4, 4, 1), np.float32)
    region[0, :2] = 1
    np.testing.assert_allclose(rmse(image, other, region), [10], rtol=1e-5)


def test_landmark_error_is_in_percent_of_the_outer_eyes():
    true = np.zeros((1, 68, 2), np.float32)
    true[0, 45, 0] = 50.0
    np.testing.assert_allclose(landmark_error(true + np.array([3, 4]), true), [10], rtol=1e-5)


def motion(seed):
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return rotation * np.sign(np.linalg.det(rotation)), rng.normal(size=3)


@pytest.mark.parametrize("scale", [False, True])
def test_alignment_undoes_a_motion(scale):
    target = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    rotation, shift = motion(1)
    moved = (2.0 if scale else 1.0) * target @ rotation.T + shift
    np.testing.assert_allclose(align(jnp.array(moved), target, scale=scale), target, atol=1e-4)


def test_alignment_does_not_mirror():
    target = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    mirrored = target * np.array([-1, 1, 1], np.float32)
    assert shape_error(mirrored[None], target[None])[0] > 0.1


def test_shape_error_is_what_was_put_in():
    target = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    noise = 1e-2 * np.random.default_rng(1).normal(size=target.shape)
    error = shape_error((target + noise)[None], target[None])[0]
    np.testing.assert_allclose(error, np.linalg.norm(noise, axis=-1).mean(), rtol=2e-2)


def test_subsets_are_means_over_their_photos():
    columns = {
        "index": np.arange(4),
        "occluder": np.array([0, 0, 1, 2]),
        "segmenter_f1": np.array([1.0, 0.8, 0.6, 0.2]),
    }
    summary = report.summarize(columns, ("none", "glasses", "mask"))
    assert summary["unoccluded"]["count"] == 2 and summary["occluded"]["count"] == 2
    assert summary["unoccluded"]["segmenter_f1"] == pytest.approx(0.9)
    assert summary["occluded"]["segmenter_f1"] == pytest.approx(0.4)
    assert summary["occluded"]["segmenter_f1_std"] == pytest.approx(0.2)
    assert summary["mask"]["segmenter_f1"] == pytest.approx(0.2)
    assert "glasses" in report.kind_table(summary, ("none", "glasses", "mask"))
    table = report.mask_table([("ours", summary, "segmenter")])
    assert "0.400" in table and "0.900" in table and "| - |" in table


def test_tables_of_masks_show_boundaries_and_calibration():
    means = {"count": 3, "segmenter_boundary_iou": 0.123, "segmenter_ece": 0.045}
    means |= {f"{name}_std": 0.0 for name in means}
    tables = (
        report.kind_table({"hand": means}, ("none", "hand")),
        report.mask_table([("ours", {"occluded": means}, "segmenter")]),
        report.subset_table({"occluded": means}, ["everything", "segmenter"]),
    )
    for table in tables:
        header, row = table.splitlines()[0].split("|"), table.splitlines()[-1].split("|")
        cells = {name.strip(): cell.strip() for name, cell in zip(header, row, strict=True)}
        boundary = [cell for name, cell in cells.items() if "boundary" in name]
        calibration = [cell for name, cell in cells.items() if name.endswith("ece")]
        assert [cell[:5] for cell in boundary + calibration] == ["0.123", "0.045"]


def test_soft_masks_score_between_the_rounded_ones():
    """A prediction of one half everywhere hits half of the face, and is half wrong beside it."""
    true, half = random_mask(0), np.full((3, 12, 12, 1), 0.5, np.float32)
    scores = mask_scores(true, half, np.ones_like(half))
    np.testing.assert_allclose(scores["recall"], 0.5, rtol=1e-5)
    np.testing.assert_allclose(scores["accuracy"], 0.5, rtol=1e-5)
    np.testing.assert_allclose(scores["precision"], true.mean((1, 2, 3)), rtol=1e-5)


def test_whole_image_iou_is_the_mean_of_face_and_rest():
    true, predicted = np.zeros((1, 4, 4, 1), np.float32), np.zeros((1, 4, 4, 1), np.float32)
    true[:, :2], predicted[:, :1] = 1, 1
    scores = image_iou(true, predicted)
    np.testing.assert_allclose(scores["image_iou"], [4 / 8])
    np.testing.assert_allclose(scores["image_rest_iou"], [8 / 12])
    np.testing.assert_allclose(scores["image_miou"], [(4 / 8 + 8 / 12) / 2])


def test_mae_is_the_mean_where_rmse_weighs_outliers():
    image = np.zeros((1, 4, 4, 3), np.float32)
    other, region = image.copy(), np.ones((1, 4, 4, 1), np.float32)
    other[0, 0] = 40 / 255
    np.testing.assert_allclose(mae(image, other, region), [10], rtol=1e-5)
    np.testing.assert_allclose(rmse(image, other, region), [20], rtol=1e-5)
    region[0, 0] = 0
    np.testing.assert_allclose(mae(image, other, region), [0], atol=1e-6)


def test_scale_counts_unless_alignment_scales():
    target = np.random.default_rng(0).normal(size=(1, 50, 3)).astype(np.float32)
    assert shape_error(1.1 * target, target)[0] > 0.05
    np.testing.assert_allclose(shape_error(1.1 * target, target, scale=True), [0], atol=1e-5)


def test_regions_are_means_over_their_vertices():
    errors = jnp.array([[1.0, 3.0, 5.0]])
    found = np.asarray(by_region(errors, jnp.array([0, 0, 2]), 3))
    np.testing.assert_allclose(found[0, [0, 2]], [2, 5])
    assert np.isnan(found[0, 1])


def test_coefficients_of_a_shape_are_those_it_was_made_of():
    rng = np.random.default_rng(0)
    mean, basis = rng.normal(size=(40, 3)), rng.normal(size=(40, 3, 5))
    true = rng.normal(size=(3, 5))
    found = coefficients_of(jnp.asarray(mean + np.einsum("vci,bi->bvc", basis, true)), mean, basis)
    np.testing.assert_allclose(found, true, atol=1e-4)


def test_rank_correlation_is_scipys():
    rng = np.random.default_rng(0)
    a = np.round(rng.normal(size=(30, 3)), 1)  # with ties
    b = a + rng.normal(size=a.shape)
    expected = [scipy.stats.spearmanr(a[:, i], b[:, i]).statistic for i in range(3)]
    np.testing.assert_allclose(rank_correlation(a, b), expected, atol=1e-9)
    np.testing.assert_allclose(rank_correlation(a, np.exp(a)), 1)
    assert np.isnan(rank_correlation(np.zeros((5, 1)), np.arange(5.0)[:, None]))
    with pytest.raises(ValueError, match="three faces"):
        rank_correlation(a[:2], b[:2])


def test_the_heavy_half_is_the_more_hidden_one():
    columns = {
        "index": np.arange(5),
        "occluder": np.array([0, 1, 1, 2, 2]),
        "hidden": np.array([0.9, 0.1, 0.2, 0.3, 0.4]),
        "rmse": np.array([9.0, 1.0, 2.0, 3.0, 5.0]),
    }
    heavy = report.summarize(columns, ("none", "glasses", "mask"))["heavy"]
    assert heavy["count"] == 2 and heavy["rmse"] == 4.0 and heavy["rmse_std"] == 1.0


def test_subsets_come_from_a_csv_column(tmp_path):
    path = tmp_path / "subsets.csv"
    path.write_text("filename,kind\na.jpg,glasses\nb.jpg,\nc.jpg,scarf\nd.jpg,glasses\n")
    names = ["a.jpg", "c.jpg", "b.jpg", "d.jpg"]
    subsets = report.read_subsets(path, names, "kind")
    columns = {"index": np.arange(4), "segmenter_f1": np.array([0.2, 0.5, 1.0, 0.4])}
    summary = report.summarize_subsets(columns, subsets)
    assert set(summary) == {"all", "glasses", "scarf"}
    assert summary["glasses"]["segmenter_f1"] == pytest.approx(0.3)
    assert "0.300 ± 0.100" in report.subset_table(summary, ["segmenter"])
    with pytest.raises(ValueError, match=r"1 photos not, such as e\.jpg"):
        report.read_subsets(path, ["e.jpg"], "kind")
    with pytest.raises(ValueError, match="not filename and group"):
        report.read_subsets(path, names, "group")
