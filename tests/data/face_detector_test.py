import cv2
import numpy as np
import pytest

from focus_jax.data import face_detector
from focus_jax.data.face_detector import (
    Square,
    anchors,
    detect,
    find_squares,
    look,
    merge_boxes,
)

WHOLE = Square(np.array([64.0, 64.0]), 128.0, 0.0)


def nothing(view):
    count = len(anchors(*view.shape[:2]))
    return np.zeros((count, 16)), np.full(count, -100.0)


def network_of(*spots, side=0.3):
    """A network that sees a face, upright, wherever a spot of one of these colours is in a view."""

    def see(view):
        values, logits = nothing(view)
        for number, colour in enumerate(spots):
            ys, xs = np.nonzero((np.abs(view.astype(int) - colour) < 40).all(-1))
            if len(xs):
                centre = np.array([xs.mean(), ys.mean()]) - anchors(*view.shape[:2])[number]
                right, left = centre - np.array([10, 8]), centre + np.array([10, -8])
                size = (128 * side, 128 * side)
                values[number] = [*centre, *size, *right, *left, *np.tile(centre, 4)]
                logits[number] = 2.0
        return values, logits

    return see


def spotted(width, height, *places, colour=(255, 0, 0), radius=4):
    photo = np.zeros((height, width, 3), np.uint8)
    for place in places:
        cv2.circle(photo, place, radius, colour, -1)
    return photo


def test_anchors_lie_inside_and_at_the_centres_of_their_cells():
    found = anchors(128, 128)
    assert found.shape == (896, 2) and found.min() > 0 and found.max() < 128
    np.testing.assert_allclose(found[[0, 1, 2, 512]], [(4, 4), (4, 4), (12, 4), (8, 8)])
    # Of a larger view: as many to a pixel, those of the last cells in the lower right corner.
    larger = anchors(64, 160)
    assert len(larger) == 896 * 64 * 160 / 128**2
    np.testing.assert_allclose(larger[[2 * 8 * 20 - 1, -1]], [(156, 60), (152, 56)])


@pytest.mark.parametrize("angle", [0.0, 0.4, -1.3])
def test_a_square_is_seen_upright(angle):
    """Its corners come to the picture's corners, whatever its turn."""
    square = Square(np.array([50.0, 40.0]), 30.0, angle)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = square.centre + 15 * np.array([(-1, -1), (1, -1), (1, 1)]) @ turn.T
    transform = face_detector.square_transform(square, 60)
    seen = corners @ transform[:, :2].T + transform[:, 2]
    np.testing.assert_allclose(seen, [(0, 0), (60, 0), (60, 60)], atol=1e-9)


@pytest.mark.parametrize("size", [300, 700, 1500, 2900])
def test_shrinking_first_moves_nothing(size):
    """A blurred spot stays where the transform sends its centre."""
    photo = np.zeros((size, size + 37, 3), np.float32)
    y, x = np.indices(photo.shape[:2])
    place = np.array([0.6 * size, 0.45 * size])
    photo += np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (0.05 * size) ** 2)[..., None]
    photo = (255 * photo).astype(np.uint8)
    square = Square(np.array([0.5 * size, 0.5 * size]), 0.9 * size, 0.3)
    view = look(photo, square, 128, cv2.BORDER_CONSTANT)[..., 0].astype(float)
    y, x = np.indices(view.shape)
    seen = np.array([(view * x).sum(), (view * y).sum()]) / view.sum()
    transform = face_detector.square_transform(square, 128)
    np.testing.assert_allclose(seen, transform[:, :2] @ place + transform[:, 2], atol=0.05)


def test_overlapping_boxes_become_their_mean():
    one = np.tile(np.array([0.5, 0.5]), (8, 1))
    one[1] = 0.2
    boxes = np.stack([one, one + 0.01, one + np.array([0.3, 0])])
    merged = merge_boxes(boxes, np.array([0.9, 0.6, 0.7]))
    assert [score for _, score in merged] == [0.9, 0.7]
    np.testing.assert_allclose(merged[0][0][0], 0.5 + 0.01 * 0.6 / 1.5)
    np.testing.assert_allclose(merged[1][0], boxes[2])
    assert merge_boxes(np.zeros((0, 8, 2)), np.zeros(0)) == []
    assert len(merge_boxes(np.zeros((2, 8, 2)), np.ones(2))) == 2  # without an area, and no loop


def test_a_face_is_where_the_network_sees_it():
    photo = spotted(400, 200, (250, 90))
    whole = Square(np.array([200.0, 100.0]), 400.0, 0.0)
    (face,) = detect(network_of((255, 0, 0)), photo, whole, 0.5)
    np.testing.assert_allclose(face.centre, (250, 90), atol=2)
    assert face.side == pytest.approx(0.3 * 400) and face.angle == pytest.approx(0)
    (turned,) = detect(network_of((255, 0, 0)), photo, whole._replace(angle=np.pi / 2), 0.5)
    np.testing.assert_allclose(turned.centre, (250, 90), atol=2)
    assert turned.angle == pytest.approx(np.pi / 2)
    assert detect(network_of((255, 0, 0)), photo, whole, 0.95) == []


def test_a_small_face_is_found_once_where_the_photo_is_shown_larger():
    """A network blind to spots of under four of its pixels sees this one in no larger view."""
    seen = []

    def see(view):
        spot = (view[..., 0] > 128).sum()
        seen.append(spot)
        return network_of((255, 0, 0))(view) if spot > 12 else nothing(view)

    (face,) = find_squares(see, spotted(1000, 800, (700, 200), radius=6))
    np.testing.assert_allclose(face.centre, (700, 200), atol=3)
    assert len(seen) == 8  # whole, turned, with a border; larger, twice; closer


def test_a_photo_with_one_large_face_is_looked_at_once():
    views = []

    def see(view):
        views.append(view)
        values, logits = network_of((255, 0, 0))(view)
        return values, 2 * logits

    assert len(find_squares(see, spotted(400, 400, (200, 200), radius=12))) == 1
    assert len(views) == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (640, 480), (3000, 40)])
def test_nothing_is_found_in_the_dark(shape):
    assert find_squares(nothing, np.zeros((*shape, 3), np.uint8)) == []


@pytest.mark.parametrize("place", [(20, 13), (613, 201), (1170, 880)])
def test_a_photo_shown_larger_is_not_moved(place):
    """Its size is no multiple of the network's strides."""
    photo = spotted(1203, 911, place, radius=10)
    (face,) = face_detector._shown(network_of((255, 0, 0), side=0.2), photo, 0.4)
    np.testing.assert_allclose(face.centre, place, atol=1.5)
    assert face.side == pytest.approx(0.2 * 128 / 0.4, rel=0.01)


def test_a_frame_without_a_face_costs_few_evaluations():
    """At 1280 x 720: pixels that the network sees, in views of those it was made for."""
    views = []

    def see(view):
        views.append(view.shape[0] * view.shape[1] / face_detector.SIDE**2)
        return nothing(view)

    assert find_squares(see, np.zeros((720, 1280, 3), np.uint8)) == []
    assert len(views) == 7 and sum(views) < 17


def test_a_pattern_beside_a_large_face_is_no_reason_to_look_further():
    """A small one that scores less than faces do; there is one larger view in either case."""
    views = []

    def see(view):
        views.append(view)
        values, logits = network_of((255, 0, 0), (0, 255, 0), side=0.2)(view)
        values[1, 2:4] *= 0.4
        return values, np.where(np.arange(len(logits)) == 1, 0.2, logits) if logits[
            1
        ] > 0 else logits

    photo = spotted(800, 800, (200, 400), radius=15)
    cv2.circle(photo, (600, 400), 15, (0, 255, 0), -1)
    assert len(find_squares(see, photo)) == 2
    assert max(view.shape[0] for view in views) <= 256


def test_what_lies_on_its_side_in_a_view_is_no_face(monkeypatch):
    def see(view):
        values, logits = network_of((255, 0, 0))(view)
        values[:, 4:8] = values[:, [4, 5, 4, 5]] + np.array([0, 0, 2, 10])
        closer = (view[..., 0] > 128).sum() > 100
        return values, logits if closer else logits - 2.2

    photo = spotted(1000, 800, (700, 200), radius=20)
    assert find_squares(see, photo) == []
    monkeypatch.setattr(face_detector, "TILTED", np.pi)
    assert len(find_squares(see, photo)) == 1
