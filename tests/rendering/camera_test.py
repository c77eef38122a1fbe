import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from focus_jax.rendering import camera, rasterize


@pytest.fixture(scope="module")
def formation():
    return reference.load("image_formation")


def random(*shape, seed=0, scale=1.0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape) * scale, jnp.float32)


def test_rotation_is_orthonormal_and_right_handed():
    rotation = camera.rotation_matrix(random(5, 4, 3))
    assert rotation.shape == (5, 4, 3, 3)
    product = rotation @ jnp.swapaxes(rotation, -1, -2)
    np.testing.assert_allclose(product, np.broadcast_to(np.eye(3), product.shape), atol=1e-6)
    np.testing.assert_allclose(jnp.linalg.det(rotation), 1.0, atol=1e-6)


def test_rotation_is_about_x_then_y_then_z():
    angles = random(3)
    one_at_a_time = [camera.rotation_matrix(jnp.eye(3)[i] * angles[i]) for i in range(3)]
    together = one_at_a_time[0] @ one_at_a_time[1] @ one_at_a_time[2]
    np.testing.assert_allclose(camera.rotation_matrix(angles), together, atol=1e-6)
    quarter = camera.rotation_matrix(jnp.array([jnp.pi / 2, 0, 0]))
    np.testing.assert_allclose(quarter @ jnp.array([0.0, 1, 0]), [0, 0, 1], atol=1e-6)


def test_face_at_rest_looks_into_the_camera():
    """y up becomes y down, +z comes closer, and the origin is 1000 away at the centre."""
    rotation, translation = camera.extrinsics(jnp.zeros(6))
    K = camera.intrinsics(224, 224)
    points = jnp.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10]])
    screen = camera.project(points, rotation, translation, K)
    shift = 9.06 * 112 * 10 / 1000
    expected = [[111.5, 111.5, 1000], [111.5 + shift, 111.5, 1000], [111.5, 111.5 - shift, 1000]]
    np.testing.assert_allclose(screen[:3], expected, rtol=1e-6)
    np.testing.assert_allclose(screen[3], [111.5, 111.5, 990], rtol=1e-6)


def test_against_the_reference(formation):
    rotation, translation = camera.extrinsics(jnp.asarray(formation["camera_params"]))
    np.testing.assert_allclose(rotation, formation["R_world_to_camera"], atol=1e-6)
    np.testing.assert_allclose(translation, formation["T_world_to_camera"][..., 0], rtol=1e-6)
    back, origin = camera.inverse(rotation, translation)
    np.testing.assert_allclose(back, formation["R_camera_to_world"], atol=1e-6)
    np.testing.assert_allclose(origin, formation["T_camera_to_world"][..., 0], rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(camera.intrinsics(96, 96), formation["intrinsics"], rtol=1e-6)
    vertices = jnp.asarray(formation["vertices"]).swapaxes(1, 2)
    screen = camera.project(vertices, rotation, translation, camera.intrinsics(96, 96))
    expected = formation["projected"].swapaxes(1, 2)
    # 1e-5 of the image's size: positions next to 0 have no relative precision.
    np.testing.assert_allclose(screen, expected, rtol=1e-5, atol=1e-5 * 96)


def test_unproject_undoes_project():
    rotation, translation = camera.extrinsics(random(3, 6, scale=0.3))
    K = jnp.array([[900.0, 30, 100], [0, 800, 90], [0, 0, 1]])
    vertices = random(3, 50, 3, scale=60)
    screen = camera.project(vertices, rotation, translation, K)
    found = camera.unproject(screen, rotation, translation, K)
    np.testing.assert_allclose(found, vertices, atol=1e-3)


def test_project_takes_any_leading_axes_and_jits():
    pose, vertices = random(2, 3, 6, scale=0.1), random(2, 3, 7, 3)
    K = camera.intrinsics(20, 30)
    all_at_once = jax.jit(lambda p, v: camera.project(v, *camera.extrinsics(p), K))(pose, vertices)
    one = camera.project(vertices[1, 2], *camera.extrinsics(pose[1, 2]), K)
    np.testing.assert_allclose(all_at_once[1, 2], one, rtol=1e-5)


@pytest.mark.parametrize("z", [1000.0, 1000.5, 2000.0])
def test_points_behind_the_camera_stay_finite(z):
    point = jnp.array([[3.0, 4.0, z]])  # the camera is at z = 1000 in the world

    def screen(point):
        return camera.project(point, *camera.extrinsics(jnp.zeros(6)), camera.intrinsics(96, 96))

    assert screen(point)[0, 2] <= 0
    assert np.isfinite(screen(point)).all()
    assert np.isfinite(jax.jacobian(screen)(point)).all()


@pytest.mark.parametrize("leading", [(), (4,)])  # one rotation for all, or one for each
def test_rotate_and_its_gradient_are_those_of_the_product(leading):
    rotation, points = random(*leading, 3, 3), random(4, 20, 3, seed=1)

    def product(rotation, points):
        return jnp.einsum("...ij,...vj->...vi", rotation, points, precision="highest")

    np.testing.assert_allclose(
        camera.rotate(rotation, points), product(rotation, points), atol=1e-5
    )
    found, expected = (
        jax.grad(lambda *x: jnp.sum(jnp.sin(f(*x))), argnums=(0, 1))(rotation, points)  # noqa: B023
        for f in (camera.rotate, product)
    )
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


SIZE = 24
# The camera is 10 above a floor of one square and looks along it, so that it lies on both sides.
FLOOR = np.array([[-900, 10, -500], [900, 10, -500], [900, 10, 2000], [-900, 10, 2000.0]])
STRAIGHT = jnp.eye(3)[None], jnp.zeros((1, 3))


def floor_seen(backend, corners=FLOOR, pose=STRAIGHT, colours=FLOOR):
    """Where on the floor each pixel looks, and whether it sees it."""
    corners, colours = (jnp.asarray(x, jnp.float32)[None] for x in (corners, colours))
    triangles = jnp.array([[0, 1, 2], [0, 2, 3]])
    clipped = camera.clip_near(corners, triangles, colours, *pose, near=1.0)
    screen = camera.project(clipped[0], *pose, camera.intrinsics(SIZE, SIZE))
    image, index = rasterize.render(
        screen, clipped[1], clipped[2], SIZE, SIZE, backend, perspective=True
    )
    return image[0], index[0]


@pytest.mark.parametrize("backend", ["jnp", "warp"])
def test_a_floor_that_reaches_behind_the_camera_is_seen(backend):
    image, index = jax.jit(floor_seen, static_argnums=0)(backend)
    y, x = np.indices((SIZE, SIZE)) - (SIZE - 1) / 2
    focal = camera.FOCAL * SIZE / 2
    # The ray (x, y, focal) meets the floor at a height of 10: so far away, and before its end.
    away = 10 * focal / np.where(y > 0, y, np.nan)
    seen = away <= 2000
    np.testing.assert_array_equal(np.asarray(index) >= 0, seen)
    expected = np.stack([x * away / focal, np.full_like(x, 10), away], -1)
    np.testing.assert_allclose(np.asarray(image)[seen], expected[seen], rtol=1e-3, atol=1e-2)


def test_the_gradient_goes_through_the_cut():
    """Of a corner behind the camera, too: it moves what is seen of the floor."""

    def mean(corners, pose, colours):
        return jnp.mean(floor_seen("jnp", corners, pose, colours)[0] * jnp.array([0.1, 1, 0.01]))

    arguments = jnp.asarray(FLOOR, jnp.float32), STRAIGHT, jnp.asarray(FLOOR, jnp.float32)
    found = jax.jit(jax.grad(mean, argnums=(0, 2)))(*arguments)
    assert np.isfinite(found[0]).all() and np.isfinite(found[1]).all()
    value = jax.jit(mean)
    for which, corner, axis, step in ((0, 0, 1, 0.02), (0, 2, 1, 0.02), (2, 0, 2, 10.0)):
        change = jnp.zeros((4, 3)).at[corner, axis].set(step)
        moved = [
            value(*(a + s * change if i == which else a for i, a in enumerate(arguments)))
            for s in (1, -1)
        ]
        expected = (moved[0] - moved[1]) / (2 * step)
        number = (0, None, 1)[which]
        np.testing.assert_allclose(found[number][corner, axis], expected, rtol=0.03)


def test_clipping_leaves_alone_what_is_in_front():
    vertices = random(2, 30, 3, seed=1) * 20 + jnp.array([0, 0, 200.0])
    triangles = jnp.asarray(np.random.default_rng(2).integers(0, 30, (40, 3)))
    colours = random(2, 30, 2, seed=3)
    pose = jnp.eye(3)[None].repeat(2, 0), jnp.zeros((2, 3))
    found = camera.clip_near(vertices, triangles, colours, *pose, near=1.0)
    np.testing.assert_array_equal(found[0][:, found[1][:40]], vertices[:, triangles])
    np.testing.assert_array_equal(found[2][:, found[1][:40]], colours[:, triangles])
    rest = np.asarray(found[0][:, found[1][40:]])
    assert (rest[:, :, 1] == rest[:, :, 2]).all()  # no area
    behind = camera.clip_near(-vertices, triangles, colours, *pose, near=1.0)[0]
    assert (np.ptp(np.asarray(behind).reshape(2, 40, 4, 3), axis=2) == 0).all()
    with pytest.raises(ValueError, match="near must be positive, not 0"):
        camera.clip_near(vertices, triangles, colours, *pose, near=0)
    with pytest.raises(ValueError, match=r"vertices .*30; there are 30"):
        camera.clip_near(vertices, triangles.at[0, 0].set(30), colours, *pose, near=1.0)


def test_neighbours_have_the_same_cut():
    vertices = jnp.array([[[0, 0, -3], [1, 0, 7], [0, 1, 5], [1, 1, -2.0]]]) * 1.1
    triangles = jnp.array([[0, 1, 2], [1, 3, 2]])
    pose = jnp.eye(3)[None], jnp.zeros((1, 3))
    found = camera.clip_near(vertices, triangles, vertices[..., :0], *pose, near=0.7)[0][0]
    one, other = (set(map(tuple, np.asarray(part).tolist())) for part in (found[:4], found[4:]))
    assert len(one & other) == 2 and (np.asarray(found)[:, 2] >= 0.7 - 1e-6).all()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_poses_of_any_type_give_the_same_camera(dtype):
    pose = np.array([[0, 1, 0, 10, -20, 30]], np.float32)
    expected = camera.extrinsics(pose)
    for found, wanted in zip(camera.extrinsics(pose.astype(dtype)), expected, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.usefixtures("unchecked")
def test_one_of_a_batch_is_not_taken_for_all():
    rotation, translation = camera.extrinsics(np.zeros((2, 6), np.float32))
    lens, points = camera.intrinsics(8, 8), np.ones((2, 5, 3), np.float32)
    for function in (camera.project, camera.unproject):
        for wrong in (
            (points[:1], rotation, translation),
            (points, rotation[:1], translation),
            (points, rotation, translation[:1]),
            (points[0], rotation, translation),
        ):
            with pytest.raises(ValueError, match=r"must agree in their first axes: .*\(2, 3"):
                function(*wrong, lens)
    with pytest.raises(ValueError, match=r"rotation \(2, 3, 3\), translation \(1, 3\)"):
        camera.inverse(rotation, translation[:1])
    with pytest.raises(ValueError, match=r"vertices must be \[\.\.\. v 3\], not \(3,\)"):
        camera.project(points[0, 0], rotation[0], translation[0], lens)


@pytest.mark.usefixtures("unchecked")
def test_a_cut_of_no_meshes_is_none():
    empty = np.zeros((0, 5, 3), np.float32)
    pose = camera.extrinsics(np.zeros((0, 6), np.float32))
    points, triangles, _ = camera.clip_near(empty, np.array([[0, 1, 2]]), empty, *pose, near=1.0)
    assert points.shape == (0, 4, 3) and triangles.shape == (2, 3)


@pytest.mark.usefixtures("unchecked")
def test_other_shapes_are_refused_and_not_read_in_part():
    rotation, translation = camera.extrinsics(np.zeros(6, np.float32))
    lens, points = camera.intrinsics(8, 8), np.ones((5, 4), np.float32)
    for function in (camera.project, camera.unproject):
        with pytest.raises(ValueError, match=r"must be \[\.\.\. 3\], not \(5, 4\)"):
            function(points, rotation, translation, lens)
        with pytest.raises(ValueError, match=r"intrinsics must be \[3 3\].*\(4, 4\)"):
            function(points[:, :3], rotation, translation, np.eye(4, dtype=np.float32))
    with pytest.raises(ValueError, match=r"rotation must be"):
        camera.project(points[:, :3], np.eye(4, dtype=np.float32), translation, lens)
    with pytest.raises(ValueError, match=r"translation must be \[\.\.\. 3\], not \(1,\)"):
        camera.project(points[:, :3], rotation, translation[:1], lens)
    with pytest.raises(ValueError, match=r"pose must be \[\.\.\. 6\], not \(7,\)"):
        camera.extrinsics(np.zeros(7, np.float32))
    with pytest.raises(ValueError, match=r"vertices must be \[b v 3\]"):
        camera.clip_near(
            points[:, :3], np.zeros((1, 3), int), points, rotation, translation, near=1
        )
