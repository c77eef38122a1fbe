import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from focus_jax.evaluation import scans
from focus_jax.evaluation.scans import SEVEN, Surface
from focus_jax.face_models import load_face_model
from focus_jax.face_models.fitting import Similarity


@pytest.fixture(scope="module")
def face():
    """Vertices, triangles and the seven landmarks of the built-in mean face."""
    model = load_face_model("builtin")
    vertices = np.asarray(model.shape_mean, np.float64)
    corners = vertices[np.asarray(model.landmark_vertices)]
    points = np.einsum("lk,lkc->lc", np.asarray(model.landmark_weights), corners)
    return vertices, np.asarray(model.triangles), points[list(SEVEN)]


@pytest.fixture
def motion():
    rotation = Rotation.from_euler("xyz", [20, -30, 15], degrees=True).as_matrix()
    return Similarity(0.013, rotation, np.array([3.0, -2.0, 5.0]))


def test_crop_is_the_benchmarks_ball():
    landmarks = np.zeros((7, 3))
    landmarks[0, 0], landmarks[3, 0] = -45.0, 45.0
    landmarks[1], landmarks[2] = (-15, 40, 0), (15, 40, 0)
    # Centre 0.3 of 40 above the nose's bottom, radius 1.4 (90 + 40) / 2 = 91.
    scan = np.array([[0, 12 + 90.9, 0], [0, 12 + 91.1, 0], [0, 12, 90.9], [0, 12 - 91.1, 0]])
    np.testing.assert_array_equal(scans.crop(scan, landmarks), scan[[0, 2]])


def test_distances_are_to_the_surface_not_to_vertices():
    surface = Surface(np.array([[0, 0, 0], [10, 0, 0], [0, 10, 0.0]]), np.array([[0, 1, 2]]))
    still = Similarity(1.0, np.eye(3), np.zeros(3))
    points = np.array([[3, 3, 2.0], [-3, 0, 4], [3, 3, -1]])
    np.testing.assert_allclose(scans.distances(points, surface, still), [2, 5, 1])


def test_triangles_without_area_are_removed():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [2, 0, 0.0]])
    kept = scans.clean(vertices, np.array([[0, 1, 2], [0, 0, 1], [0, 1, 3]]))
    np.testing.assert_array_equal(kept, [[0, 1, 2]])
    with pytest.raises(ValueError, match="no triangle"):
        Surface(vertices, np.array([[0, 1, 3]]))


def test_a_moved_and_scaled_mesh_has_no_error(face, motion):
    vertices, triangles, points = face
    noise = np.random.default_rng(0).normal(0, 0.013, (7, 3))  # 1 mm: the refinement has work
    errors = scans.scan_errors(
        vertices, points, motion(vertices), triangles, motion(points) + noise
    )
    assert len(errors) > 500 and errors.max() < 1e-3


def test_the_refinement_finds_the_minimum(face):
    """No small motion of the result lowers the sum of squares, whatever the scan's error."""
    vertices, triangles, _ = face
    rng = np.random.default_rng(1)
    scan = vertices[::3] + rng.normal(0, 1.0, vertices[::3].shape)
    surface = Surface(vertices, triangles)
    start = Similarity(1.03, Rotation.from_rotvec([0.05, -0.04, 0.03]).as_matrix(), np.ones(3))
    found = scans.refine(scan, surface, start)

    def cost(motion):
        return (scans.distances(scan, surface, motion) ** 2).sum()

    least, centre = cost(found), scan.mean(axis=0)
    assert least < cost(start)
    for axis in range(7):
        for sign in (-1, 1):
            step = np.zeros(7)
            step[axis] = sign * (2e-2 if 3 <= axis < 6 else 2e-4)
            assert cost(scans._moved(found, step, centre)) > least * (1 - 1e-7)


def test_noise_along_the_normals_is_the_error(face):
    """A scan lying off a dense mesh by known distances: mean error is what was put in."""
    vertices, triangles, points = face
    rng = np.random.default_rng(2)
    surface = Surface(vertices, triangles)
    chosen = rng.choice(len(surface.triangles), 4000)
    middle = vertices[surface.triangles[chosen]].mean(axis=1)
    offset = rng.normal(0, 0.2, 4000)
    scan = middle + offset[:, None] * surface.normals(chosen)
    errors = scans.scan_errors(scan, points, vertices, triangles, points)
    kept = scans.crop(scan, points)
    put_in = np.abs(offset[np.isin(scan[:, 0], kept[:, 0])])
    assert errors.mean() == pytest.approx(put_in.mean(), rel=0.03)
    assert np.median(errors) == pytest.approx(np.median(put_in), rel=0.05)


def test_the_metrical_variant_sees_a_wrong_size(face):
    vertices, triangles, points = face
    arguments = (vertices, points, 1.05 * vertices, triangles, 1.05 * points)
    assert scans.scan_errors(*arguments).mean() < 1e-3
    assert scans.scan_errors(*arguments, unit=1.0).mean() > 0.3
    metres = (vertices, points, vertices / 1000, triangles, points / 1000)
    assert scans.scan_errors(*metres, unit=1000.0).mean() < 1e-3


def test_the_scale_of_a_scaled_mesh_is_found(face):
    vertices, triangles, points = face
    found = scans.compare(vertices, points, vertices / 1.13, triangles, points / 1.13)
    assert found.scale == pytest.approx(1.13, abs=1e-6)
    assert found.distance.max() < 1e-6 and len(found.points) == len(found.vertex)
    np.testing.assert_array_equal(found.points, scans.crop(vertices, points))


def test_the_sign_tells_a_scan_outside_from_one_inside(face):
    """A bump of the scan at the nose, 2 mm outwards, is positive and met by nothing else."""
    vertices, triangles, points = face
    nose = np.linalg.norm(vertices - points[4], axis=1) < 12
    for height in (2.0, -2.0):
        scan = vertices + np.where(nose, height, 0)[:, None] * [0, 0, 1]
        found = scans.compare(scan, points, vertices, triangles, points)
        bump = np.linalg.norm(found.points - [0, 0, height] - points[4], axis=1) < 10
        assert np.sign(np.median(found.signed[bump])) == np.sign(height)
        np.testing.assert_allclose(np.abs(found.signed), found.distance)


def test_other_orders_of_landmarks_are_refused(face):
    vertices, triangles, points = face
    with pytest.raises(ValueError, match=r"a\.obj: .*left and right exchanged"):
        scans.scan_errors(
            vertices, points, vertices, triangles, points[list(scans.MIRRORED)], name="a.obj"
        )
    with pytest.raises(ValueError, match="their order is"):
        scans.check_landmarks(points[[6, 0, 1, 4, 3, 2, 5]], points, "a.obj")


@pytest.mark.slow
def test_a_large_scan_takes_less_than_ten_seconds(face):
    import time

    vertices, triangles, points = face
    for _ in range(2):  # four triangles from each, about 55,000 vertices
        import trimesh

        vertices, triangles = trimesh.remesh.subdivide(vertices, triangles)
    rng = np.random.default_rng(0)
    scan = np.repeat(vertices, 3, axis=0)[:120_000] + rng.normal(0, 0.3, (120_000, 3))
    begin = time.monotonic()
    scans.scan_errors(scan, points, vertices, triangles, points)
    assert time.monotonic() - begin < 10
