import numpy as np
import pytest

from focus_jax.evaluation import landmarks


@pytest.fixture
def hand():
    """189 different points, some on smooth lines; the eyes are 200 pixels apart."""
    points = np.random.default_rng(0).uniform(0, 800, (landmarks.HAND, 2))
    for curves in landmarks.CURVES.values():
        for row, (curve, _) in enumerate(curves):
            turn = np.linspace(np.pi, 0, len(curve))
            bow = np.stack([100 * np.cos(turn), 30 * np.sin(turn)], axis=-1)
            points[list(curve)] = bow + np.array([300 + 200 * (row > 1), 300])
    points[18], points[27] = (200, 300), (400, 300)
    return points


def perfect(hand):
    found = np.full((68, 2), np.nan)
    for pairs in landmarks.POINTS.values():
        found[list(pairs)] = hand[list(pairs.values())]
    for curves in landmarks.CURVES.values():
        for curve, points in curves:
            found[list(points)] = hand[list(curve)][np.arange(len(points)) % len(curve)]
    return found


def test_a_perfect_prediction_scores_zero(hand):
    found = perfect(hand)
    scores = landmarks.errors(found, hand)
    assert set(scores) == {*landmarks.POINTS, "points", *landmarks.CURVES}
    assert max(scores.values()) < 1e-9
    assert landmarks.mouth_width(found, hand) == pytest.approx(1)


def test_errors_are_in_percent_of_the_outer_eyes(hand):
    found = perfect(hand)
    found[48] += (3, 4)  # 5 of 200 pixels, one of two corners of the mouth, one of 13 points
    scores = landmarks.errors(found, hand)
    assert scores["mouth corners"] == pytest.approx(1.25)
    assert scores["points"] == pytest.approx(2.5 / 13)
    assert scores["lips"] == pytest.approx(0, abs=1e-9)
    doubled = landmarks.errors(2 * found, 2 * hand)
    assert doubled["mouth corners"] == pytest.approx(1.25)


def test_no_point_is_named_twice():
    ibug = [i for pairs in landmarks.POINTS.values() for i in pairs]
    hands = [h for pairs in landmarks.POINTS.values() for h in pairs.values()]
    assert len(set(ibug)) == len(set(hands)) == len(ibug) == 13
    on_lines = [i for curves in landmarks.CURVES.values() for _, points in curves for i in points]
    assert not set(on_lines) & set(ibug) and len(set(on_lines)) == len(on_lines)


def test_the_distance_to_a_curve_is_that_of_a_circle():
    """Nine knots of a half circle: straight pieces would miss it by 2 of 100."""
    turn = np.linspace(0, np.pi, 9)
    knots = 100 * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    between = turn[3:6] + 0.2
    points = np.stack([np.cos(between), np.sin(between)], axis=-1)
    radii = np.array([100.0, 105.0, 93.0])
    found = landmarks.curve_distance(radii[:, None] * points, knots)
    np.testing.assert_allclose(found, [0, 5, 7], atol=0.05)
    beyond = landmarks.curve_distance(np.array([[100.0, -8.0]]), knots)
    np.testing.assert_allclose(beyond, [8])  # beyond its end the distance to the end


def test_a_curve_may_have_a_knot_twice():
    knots = np.array([[0, 0], [1, 0], [1, 0], [2, 0.0]])
    np.testing.assert_allclose(landmarks.curve_distance(np.array([[1.5, 1]]), knots), [1])


def test_the_mesh_is_measured_at_its_own_vertices(hand):
    mesh = np.full((478, 3), np.nan)
    mesh[468, :2], mesh[473, :2] = hand[0], hand[1] + (0, 4)
    for curves in landmarks.MESH_CURVES.values():
        for curve, vertices in curves:
            mesh[list(vertices), :2] = hand[list(curve)][np.arange(len(vertices)) % len(curve)]
    scores = landmarks.mesh_errors(mesh, hand)
    assert scores["pupils"] == pytest.approx(1)  # 4 of 200 at one of the two
    assert scores["lids"] < 1e-9 and scores["jaw"] < 1e-9


@pytest.mark.usefixtures("unchecked")
def test_hands_of_another_number_of_points_are_refused():
    with pytest.raises(ValueError, match="189 points"):
        landmarks.errors(np.zeros((68, 2)), np.zeros((83, 2)))
    with pytest.raises(ValueError, match="one point"):
        landmarks.errors(np.zeros((68, 2)), np.zeros((189, 2)))
