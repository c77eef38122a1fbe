import cv2
import numpy as np
import pytest

from focus_jax.data.align import align_face, transform_points
from focus_jax.data.augment import (
    MARGIN,
    MIRROR,
    SHIFT,
    augment,
    crop,
    flip_landmarks,
    random_transform,
)

SIZE = 128
WIDE = SIZE + 2 * round(MARGIN * SIZE)


def dots(side: int = WIDE) -> dict:
    """A record whose landmarks are drawn: point n is a spot of brightness 80 + 2 n."""
    middle = (side - 1) / 2
    grid = np.stack(np.meshgrid(np.arange(8), np.arange(9)), -1).reshape(-1, 2)[:68]
    landmarks = ((grid - [3.5, 4]) * 8 + middle + 0.25).astype(np.float32)
    y, x = np.mgrid[:side, :side]
    image = np.zeros((side, side))
    for n, point in enumerate(landmarks):
        spot = np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * 1.3**2))
        image += (80 + 2 * n) * spot
    image = np.repeat(np.rint(image)[..., None], 3, -1).astype(np.uint8)
    return {"image": image, "landmarks": landmarks, "mask": (image[..., 0] > 30) * np.uint8(255)}


def centroid(image: np.ndarray, point: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre and brightness of the spot near a point."""
    x, y = np.rint(point).astype(int)
    patch = image[y - 3 : y + 4, x - 3 : x + 4, 0].astype(float)
    offset = np.arange(-3, 4)
    total = patch.sum()
    return np.array(
        [x + (patch.sum(0) @ offset) / total, y + (patch.sum(1) @ offset) / total]
    ), total


@pytest.mark.parametrize("seed", range(8))
def test_landmarks_move_as_the_pixels_do(seed):
    record = {**dots(), "transform": np.eye(2, 3)}
    moved = augment(record, np.random.default_rng(seed), SIZE)
    assert moved["image"].shape == (SIZE, SIZE, 3)
    found, brightness = zip(*(centroid(moved["image"], p) for p in moved["landmarks"]), strict=True)
    np.testing.assert_allclose(found, moved["landmarks"], atol=0.15)
    # In a mirrored face point n is called by the name of its mirror image.
    mirrored = np.linalg.det(moved["transform"][:, :2]) < 0
    names = 80 + 2.0 * (MIRROR if mirrored else np.arange(68))
    assert np.corrcoef(brightness, names)[0, 1] > 0.98
    assert np.corrcoef(moved["mask"].ravel(), moved["image"][..., 0].ravel() > 30)[0, 1] > 0.8


def test_a_pasted_occluder_hides_what_the_mask_loses():
    size = 96
    x, y = np.meshgrid(np.linspace(20, 75, 17), np.linspace(25, 80, 4))
    points = np.stack([x.ravel(), y.ravel()], axis=-1).astype(np.float32)
    record = {
        "image": np.full((size, size, 3), 128, np.uint8),
        "mask": np.full((size, size), 255, np.uint8),
        "landmarks": points,
    }
    pasted = 0
    for seed in range(12):
        moved = augment(record, np.random.default_rng(seed), size, paste=0.5)
        hidden = moved["mask"] == 0
        touched = np.abs(moved["image"].astype(int) - 128).max(-1) > 0
        assert (touched[hidden]).mean() > 0.9 if hidden.any() else True
        assert (moved["clean"] == 128).all()
        np.testing.assert_array_equal(moved["pasted"] >= 128, hidden)
        pasted += hidden.any()
    assert 2 <= pasted <= 10


def test_mirror_is_an_involution_that_keeps_the_middle():
    np.testing.assert_array_equal(MIRROR[MIRROR], np.arange(68))
    middle = [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
    np.testing.assert_array_equal(np.flatnonzero(np.arange(68) == MIRROR), middle)
    points = np.random.default_rng(0).random((68, 2)).astype(np.float32) * 64
    np.testing.assert_allclose(flip_landmarks(flip_landmarks(points, 64), 64), points, atol=1e-5)
    # The subject's right eye is the left one of the mirrored face.
    np.testing.assert_allclose(flip_landmarks(points, 64)[36], (63 - points[45, 0], points[45, 1]))


def test_moves_stay_within_the_releases_bounds():
    rng = np.random.default_rng(0)
    found = np.stack([random_transform(rng, 224) for _ in range(500)])
    scale = np.sqrt(np.linalg.det(found[:, :, :2]))
    angle = np.degrees(np.arctan2(found[:, 1, 0], found[:, 0, 0]))
    centre = np.full(2, 111.5)
    shift = found[:, :, :2] @ centre + found[:, :, 2] - centre
    for values, bound in ((scale - 1, 0.1), (angle, 10), (shift, 10)):
        assert 0.95 * bound < np.abs(values).max() <= bound
    assert SHIFT * 224 == 10
    flips = [
        augment(dots(SIZE), np.random.default_rng(i), SIZE)["landmarks"][0, 0] > SIZE / 2
        for i in range(60)
    ]
    assert 15 < sum(flips) < 45


def test_the_same_generator_makes_the_same_record_and_leaves_its_input():
    record = dots()
    before = {k: v.copy() for k, v in record.items()}
    one, two = (augment(record, np.random.default_rng((1, 2, 3)), SIZE) for _ in range(2))
    for name in record:
        np.testing.assert_array_equal(one[name], two[name])
        np.testing.assert_array_equal(record[name], before[name])


def test_the_margin_is_what_moves_in():
    record = dots()
    record["image"] = np.full_like(record["image"], 90)
    record["image"][[0, -1]] = record["image"][:, [0, -1]] = 0  # the outermost of the margin
    for seed in range(60):
        assert augment(record, np.random.default_rng(seed), SIZE)["image"].min() > 80


def test_truth_that_a_mirror_falsifies_is_left_out():
    record = {**dots(), "neutral": 0, "pose": 0, "features": 0, "occluder": 3, "filename": "a"}
    moved = augment(record, np.random.default_rng(0), SIZE)
    assert set(moved) == {"image", "landmarks", "mask", "mirrored", "occluder", "filename"}


def test_crop_cuts_the_margin_off_exactly():
    record = dots()
    found, margin = crop(record, SIZE), (WIDE - SIZE) // 2
    np.testing.assert_array_equal(found["image"], record["image"][margin:-margin, margin:-margin])
    np.testing.assert_array_equal(found["mask"], record["mask"][margin:-margin, margin:-margin])
    np.testing.assert_allclose(found["landmarks"], record["landmarks"] - margin)
    np.testing.assert_array_equal(crop(found, SIZE)["image"], found["image"])
    with pytest.raises(ValueError, match=f"{WIDE} x {WIDE} pixels is neither a crop of 64 pixels"):
        crop(record, 64)


@pytest.mark.parametrize("seed", range(4))
def test_the_transform_still_leads_from_the_photo(seed):
    photo = cv2.GaussianBlur(np.full((300, 300, 3), 128, np.uint8), (0, 0), 2)
    landmarks = np.random.default_rng(5).uniform(100, 200, (68, 2))
    landmarks[[36, 39, 42, 45, 30, 48, 54]] = [
        *((110, 120), (130, 120), (170, 120), (190, 120), (150, 150), (125, 185), (175, 185))
    ]
    aligned = align_face(photo, landmarks, SIZE, margin=round(MARGIN * SIZE))
    moved = augment(dict(aligned._asdict()), np.random.default_rng(seed), SIZE)
    led = transform_points(moved["transform"], landmarks)
    flipped = np.linalg.det(moved["transform"][:, :2]) < 0
    np.testing.assert_allclose(led[MIRROR] if flipped else led, moved["landmarks"], atol=2e-3)


def test_what_a_rendering_hides_is_known_as_pasted():
    rng = np.random.default_rng(0)
    mask = np.zeros((48, 48), np.uint8)
    mask[:, 24:] = 255
    points = rng.uniform(5, 40, (68, 2)).astype(np.float32)
    image = rng.integers(0, 255, (48, 48, 3), np.uint8)
    record = {"image": image, "landmarks": points, "mask": mask}
    for whole in (0, 1):
        moved = augment({**record, "whole": np.uint8(whole)}, rng, 48, paste=1e-9)
        hidden = moved["mask"] < 128 if whole else np.zeros((48, 48), bool)
        np.testing.assert_array_equal(moved["pasted"] == 255, hidden)
