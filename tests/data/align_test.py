import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from focus_jax.data import align
from focus_jax.data.align import align_face, invert_transform, transform_points

# Points of a plausible face, 68 of them, around the origin: only five matter for the crop.
FACE = np.random.default_rng(0).normal(size=(68, 2)) * 20
FACE[[36, 39]] = [(-40, -40), (-20, -40)]
FACE[[42, 45]] = [(20, -40), (40, -40)]
FACE[[30, 48, 54]] = [(0, 0), (-25, 35), (25, 35)]


def smooth(height: int, width: int) -> np.ndarray:
    """A float picture whose value is known between its pixels too."""
    y, x = np.mgrid[:height, :width]
    return wave(x, y)


def wave(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return 0.5 + 0.4 * np.stack([np.sin(x / 17), np.cos(y / 23), np.sin((x + y) / 31)], -1)


def test_the_five_standard_points_are_those_of_the_reference():
    standard = reference.load("alignment")["standard_landmarks_68x3"]
    np.testing.assert_allclose(align.five_points(standard), align.STANDARD, atol=1e-7)


def test_camera_is_the_releases():
    given = reference.load("alignment")
    _, height, scale, x, y = given["trans_params"]
    found, centre = align.fit_camera(align.five_points(given["landmarks"]))
    # float32 in the release
    assert align.RESCALE / found == pytest.approx(scale, rel=1e-6)
    np.testing.assert_allclose(centre, (x, height - y), atol=1e-4)


def test_release_crop_and_landmarks():
    given = reference.load("alignment")
    aligned = align_face(given["photo"], given["landmarks"], fix_y_offset=False)
    np.testing.assert_allclose(aligned.landmarks, given["landmarks_aligned"], atol=1e-3)
    difference = np.abs(aligned.image.astype(float) - given["aligned"])
    # PIL rounds to whole grey levels between its two passes: at most two levels, 0.2 on average.
    assert difference.max() <= 3
    assert difference.mean() < 0.25


def test_default_crop_is_the_releases_less_than_a_pixel_away():
    given = reference.load("alignment")
    aligned = align_face(given["photo"], given["landmarks"])
    # Half a pixel for the place of pixel centres, up to one for the release's whole-pixel window.
    assert np.abs(aligned.landmarks - given["landmarks_aligned"]).max() < 1.5
    release = align_face(given["photo"], given["landmarks"], fix_y_offset=False)
    assert np.abs(aligned.transform - release.transform)[:, 2].max() < 2


@settings(max_examples=30, deadline=None)
@given(
    scale=st.floats(0.3, 4.0),
    x=st.floats(100, 300),
    y=st.floats(100, 300),
    size=st.sampled_from([48, 64, 224]),
)
def test_landmarks_follow_the_transform_and_come_back(scale, x, y, size):
    landmarks = FACE * scale + np.array([x, y])
    aligned = align_face(np.zeros((10, 10, 3), np.uint8), landmarks, size)
    np.testing.assert_allclose(
        aligned.landmarks, transform_points(aligned.transform, landmarks), atol=1e-4
    )
    back = transform_points(invert_transform(aligned.transform), aligned.landmarks)
    np.testing.assert_allclose(back, landmarks, atol=1e-3)
    # Where and how large the face was does not show in its crop.
    at_origin = align_face(np.zeros((10, 10, 3), np.uint8), FACE, size).landmarks
    np.testing.assert_allclose(aligned.landmarks, at_origin, atol=1e-2)


@pytest.mark.parametrize("size", [32, 64, 224])
def test_pixels_follow_the_transform(size):
    landmarks = FACE + np.array([250.3, 240.7])
    aligned = align_face(smooth(500, 520), landmarks, size)
    y, x = np.mgrid[:size, :size].reshape(2, -1)
    source = transform_points(invert_transform(aligned.transform), np.stack([x, y], -1))
    expected = wave(*source.T).reshape(size, size, 3)
    # A shift of a tenth of a crop pixel would show as 0.01 in a 32-pixel crop.
    assert np.abs(aligned.image - expected).mean() < 0.004


def rolled(degrees, at=(250.3, 240.7)):
    """The face of these tests, rolled clockwise as one sees it, somewhere in a photo."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return FACE @ turn.T + np.array(at)


@pytest.mark.parametrize("degrees", [16, 60, -90, 179])
def test_a_rolled_face_comes_upright(degrees):
    """In the crop it lies as the upright one does, and the transform is a similarity."""
    photo = np.zeros((10, 10, 3), np.uint8)
    upright, turned = (align_face(photo, rolled(d), 64) for d in (0, degrees))
    np.testing.assert_allclose(turned.landmarks, upright.landmarks, atol=1e-3)
    linear = turned.transform[:, :2]
    np.testing.assert_allclose(linear @ linear.T, np.eye(2) * np.linalg.det(linear), atol=1e-9)
    assert align.roll(rolled(degrees)) == pytest.approx(np.radians(degrees))
    back = transform_points(invert_transform(turned.transform), turned.landmarks)
    np.testing.assert_allclose(back, rolled(degrees), atol=1e-3)


@pytest.mark.parametrize("degrees", [-14, 3])
def test_a_face_that_is_upright_enough_is_not_turned(degrees):
    transform = align_face(np.zeros((10, 10, 3), np.uint8), rolled(degrees), 64).transform
    assert transform[0, 1] == transform[1, 0] == 0
    # A film's faces are turned alike, whatever each one's roll.
    asked = align_face(np.zeros((10, 10, 3), np.uint8), rolled(degrees), 64, turn=0.5).transform
    assert np.arctan2(asked[0, 1], asked[0, 0]) == pytest.approx(0.5)


@pytest.mark.parametrize("size", [32, 64, 224])
def test_pixels_follow_a_transform_that_turns(size):
    aligned = align_face(smooth(500, 520), rolled(70), size)
    y, x = np.mgrid[:size, :size].reshape(2, -1)
    source = transform_points(invert_transform(aligned.transform), np.stack([x, y], -1))
    expected = wave(*source.T).reshape(size, size, 3)
    assert np.abs(aligned.image - expected).mean() < 0.004


def test_sizes_agree_by_scale():
    landmarks = FACE + 150.0
    small, large = (align_face(smooth(300, 300), landmarks, size) for size in (56, 224))
    averaged = large.image.reshape(56, 4, 56, 4, 3).mean((1, 3))
    # The middle of four pixels lies 1.5 pixels from the first.
    np.testing.assert_allclose((large.landmarks - 1.5) / 4, small.landmarks, atol=1e-3)
    inner = slice(8, -8)
    np.testing.assert_allclose(small.image[inner, inner], averaged[inner, inner], atol=0.01)


def test_shrinking_does_not_alias():
    checkers = (np.indices((800, 800)).sum(0) % 2 * 255).astype(np.uint8)
    photo = np.repeat(checkers[..., None], 3, -1)
    image = align_face(photo, FACE * 3 + 400, 64).image
    inner = image[20:-20, 20:-20]
    assert inner.min() > 110 and inner.max() < 145


def test_outside_the_photo_is_black_and_the_margin_adds_around():
    photo = np.full((100, 100, 3), 200, np.uint8)
    landmarks = FACE * 0.4 + np.array([20.0, 50.0])
    aligned = align_face(photo, landmarks, 64)
    wide = align_face(photo, landmarks, 64, margin=8)
    edge = aligned.transform[0, 2] - 0.5 * aligned.transform[0, 0]  # where the photo begins
    assert 1 < edge < 63
    assert not aligned.image[:, : int(edge)].any()
    assert (aligned.image[:, int(edge) + 2] == 200).all()
    assert wide.image.shape == (80, 80, 3)
    np.testing.assert_array_equal(wide.image[8:-8, 8:-8], aligned.image)
    np.testing.assert_allclose(wide.landmarks, aligned.landmarks + 8, atol=1e-4)


def test_what_cannot_be_aligned():
    photo = np.zeros((50, 50, 3), np.uint8)
    with pytest.raises(ValueError, match="coincide"):
        align_face(photo, np.ones((68, 2)))
    with pytest.raises(ValueError, match=r"not an array of \(67, 2\)"):
        align_face(photo, np.ones((67, 2)))
    with pytest.raises(ValueError, match="68 finite landmarks"):
        align_face(photo, np.full((68, 2), np.nan))
    with pytest.raises(ValueError, match=r"\[h w 3\], not an array of \(50, 50\)"):
        align_face(photo[..., 0], FACE)
    with pytest.raises(ValueError, match=r"uint8 or float in \[0, 1\], not uint16"):
        align_face(photo.astype(np.uint16), FACE)


@pytest.mark.parametrize("shift", [-900.0, -300.0, 0.0, 40.0])
@pytest.mark.parametrize("factor", [0.2, 0.9, 1.7])
def test_columns_that_a_crop_does_not_show_change_nothing(factor, shift):
    photo = np.random.default_rng(0).integers(0, 256, (60, 900, 3), np.uint8)
    transform = np.array([[factor, 0, shift], [0, factor, 3.3]])
    whole = align._resample_rows(photo, factor, 3.3, 48)
    whole = align._resample_rows(whole.swapaxes(0, 1), factor, shift, 48).swapaxes(0, 1)
    found = align._resample(photo, transform, 48)
    np.testing.assert_allclose(found, whole, atol=1e-4)


@pytest.mark.parametrize("factor", [0.1, 0.9, 1.7])
def test_a_row_is_the_weighted_sum_of_those_around_it(factor):
    """One by one, with weights of their own, also at the edges; nothing outside."""
    picture = np.random.default_rng(0).normal(size=(60, 5, 2))
    found, sharp = align._resample_rows(picture, factor, 2.6, 120), min(factor, 1)
    for row, centre in enumerate((np.arange(120) - 2.6) / factor):
        weights = align._cubic((np.arange(60) - centre) * sharp)
        inside = -0.5 <= centre < 59.5
        wanted = np.tensordot(weights / weights.sum(), picture, 1) if inside else 0
        np.testing.assert_allclose(found[row], wanted, atol=1e-5)
