"""A mesh deformed onto points, where it is known what that gives."""

import numpy as np
from scipy.spatial.transform import Rotation

from focus_jax.evaluation.nonrigid import Stage, deform

SIDE = 15
GRID = np.stack([*np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")], -1).reshape(-1, 2)
FLAT = np.concatenate([GRID, np.zeros((SIDE**2, 1))], axis=1).astype(float)
CORNERS = np.arange(SIDE**2).reshape(SIDE, SIDE)
TRIANGLES = np.concatenate(
    [
        np.stack([CORNERS[:-1, :-1], CORNERS[1:, :-1], CORNERS[1:, 1:]], -1).reshape(-1, 3),
        np.stack([CORNERS[:-1, :-1], CORNERS[1:, 1:], CORNERS[:-1, 1:]], -1).reshape(-1, 3),
    ]
)


def test_a_mesh_on_its_points_stays():
    found = deform(FLAT, TRIANGLES, FLAT, [Stage(50.0, 1e-6, most=3)])
    np.testing.assert_allclose(found, FLAT, atol=1e-5)


def test_a_soft_mesh_reaches_a_bump_and_a_stiff_one_does_not():
    bump = FLAT.copy()
    bump[:, 2] = 1.5 * np.exp(-((FLAT[:, :2] - SIDE / 2) ** 2).sum(1) / 8)
    left = {
        stiffness: np.abs(
            deform(FLAT, TRIANGLES, bump, [Stage(stiffness, 1e-3, most=20)])[:, 2] - bump[:, 2]
        ).mean()
        for stiffness in (0.1, 1000.0)
    }
    assert left[0.1] < 0.02 < 0.15 < left[1000.0]


def test_places_alone_move_a_stiff_mesh_as_a_whole():
    turn = Rotation.from_euler("xyz", [10, -5, 20], degrees=True).as_matrix()
    numbers = np.array([0, SIDE - 1, SIDE**2 - 1, 40, 101])
    aims = FLAT @ turn.T + [3.0, -2, 4]
    stage = Stage(150.0, 2.0, most=1, nearest=False, place=50.0)
    found = deform(FLAT, TRIANGLES, FLAT, [stage], numbers, aims[numbers])
    np.testing.assert_allclose(found, aims, atol=1e-3)


def test_points_that_are_far_do_not_count():
    """One of the points has flown away; its neighbours do not follow it."""
    points = FLAT.copy()
    points[112] += [0, 0, 30.0]
    found = deform(FLAT, TRIANGLES, points, [Stage(1.0, 1e-6, most=5)])
    assert np.abs(found[:, 2]).max() < 0.2


def test_a_vertex_that_nothing_holds_stays_finite():
    vertices = np.concatenate([FLAT, [[99.0, 99, 99]]])
    found = deform(vertices, TRIANGLES, FLAT, [Stage(10.0, 1e-6, most=2)])
    np.testing.assert_allclose(found[-1], vertices[-1], atol=1e-6)
