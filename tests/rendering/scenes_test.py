import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax.rendering import camera, rasterize, scenes

SIZE, FOCAL = 64, 256.0
FACE, HAIR, OCCLUDER = 1, 2, 3
DARK = scenes.Light(
    np.float32([[0.5] * 3, *[[0] * 3] * 3]), np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0)
)


def plate(x=0.0, y=0.0, z=1000.0, half=60.0, label=FACE, grey=0.5, opacity=1.0):
    """A square that faces the camera, of 2 x 8 x 8 triangles."""
    side = np.linspace(-half, half, 9)
    places = np.stack([*np.meshgrid(side + x, side + y), np.full((9, 9), z)], -1).reshape(-1, 3)
    n = np.arange(81).reshape(9, 9)
    a, b, c, d = n[:-1, :-1], n[:-1, 1:], n[1:, :-1], n[1:, 1:]
    triangles = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, d, b), (a, c, d))])
    colours = np.float32([[grey, grey, grey, opacity]] * 81)
    none = np.zeros(2, np.float32)
    return scenes.Mesh(
        places.astype(np.float32), triangles.astype(np.int32), colours, label, none, True
    )


def lamp(*towards):
    direction = np.float32([towards]) / np.linalg.norm(towards)
    return DARK._replace(towards=direction, colours=np.ones((1, 3)), softness=np.float32([2]))


@pytest.fixture
def backdrop():
    return np.full((SIZE, SIZE, 3), 0.1, np.float32)


def test_places_fall_where_the_camera_of_jax_sees_them():
    places = np.random.default_rng(0).normal([0, 0, 900], 50, (20, 3)).astype(np.float32)
    focal = camera.FOCAL * SIZE / 2
    expected = camera.project(places, jnp.eye(3), jnp.zeros(3), camera.intrinsics(SIZE, SIZE))
    np.testing.assert_allclose(scenes.project(places, focal, SIZE, SIZE), expected, atol=1e-3)


def test_the_nearest_triangle_is_that_of_the_rasterizer():
    mesh = plate()
    bent = mesh.places + np.random.default_rng(0).normal(0, 5, mesh.places.shape)
    screen = scenes.project(bent.astype(np.float32), FOCAL, SIZE, SIZE)
    found, depth = scenes.nearest(screen, mesh.triangles, SIZE, SIZE)
    expected = rasterize.rasterize(screen[None], mesh.triangles, SIZE, SIZE, perspective=True)
    np.testing.assert_array_equal(found, expected.triangle_id[0])
    assert (depth[found < 0] == scenes.NOTHING).all() and (depth[found >= 0] < 1100).all()


def test_normals_are_unit_vectors_that_look_out():
    mesh = plate()
    np.testing.assert_allclose(scenes.normals(mesh.places, mesh.triangles), [[0, 0, -1]] * 81)


def test_what_is_nearer_hides_what_is_behind(backdrop):
    near = plate(x=60, z=950, label=OCCLUDER)
    for meshes in ([plate(), near], [near, plate()]):
        drawn = scenes.draw(meshes, DARK, backdrop, FOCAL)
        assert drawn.shares[32, 50].argmax() == OCCLUDER
        assert drawn.shares[32, 20].argmax() == FACE
        assert drawn.shares[2, 2].argmax() == 0
        np.testing.assert_array_equal(drawn.picture[2, 2], backdrop[2, 2])


def test_labels_share_each_pixel(backdrop):
    glass = plate(z=950, half=20, label=OCCLUDER, opacity=0.3)
    drawn = scenes.draw([plate(), glass], DARK, backdrop, FOCAL)
    np.testing.assert_allclose(drawn.shares.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(drawn.shares[32, 32], [0, 0.7, 0, 0.3], atol=1e-5)


def test_glass_is_laid_over_from_behind_whatever_the_order(backdrop):
    first = plate(z=900, half=20, label=HAIR, grey=0, opacity=0.5)
    second = plate(z=950, half=20, label=OCCLUDER, grey=1, opacity=0.5)
    one, other = (
        scenes.draw([plate(grey=0), *glass], DARK, backdrop, FOCAL)
        for glass in ([first, second], [second, first])
    )
    np.testing.assert_allclose(one.picture, other.picture, atol=1e-6)
    np.testing.assert_allclose(one.shares[32, 32], [0, 0.25, 0.5, 0.25], atol=1e-5)


def test_a_shadow_darkens_what_stays_what_it_is(backdrop):
    wall, thing = plate(), plate(z=960, half=10, label=OCCLUDER)
    light = lamp(-1, 0, -1)
    bare = scenes.draw([wall], light, backdrop, FOCAL)
    drawn = scenes.draw([wall, thing], light, backdrop, FOCAL)
    # The lamp stands to the left, so that the shadow falls 40 mm to the right.
    x = round(31.5 + 40 * FOCAL / 1000)
    assert drawn.picture[32, x, 0] < 0.6 * bare.picture[32, x, 0]
    assert drawn.shares[32, x].argmax() == FACE
    np.testing.assert_allclose(drawn.picture[32, 20], bare.picture[32, 20], rtol=1e-3)


def test_what_is_held_before_the_backdrop_takes_shadows_and_nothing_else(backdrop):
    backdrop += np.random.default_rng(0).uniform(0, 0.5, backdrop.shape).astype(np.float32)
    wall = plate(label=-FACE)
    alone = scenes.draw([wall], lamp(-1, 0, -1), backdrop, FOCAL)
    np.testing.assert_allclose(alone.picture, backdrop, rtol=1e-3)
    thing = plate(z=960, half=10, label=OCCLUDER)
    drawn = scenes.draw([wall, thing], lamp(-1, 0, -1), backdrop, FOCAL)
    x = round(31.5 + 40 * FOCAL / 1000)
    assert (drawn.picture[32, x] < 0.7 * backdrop[32, x]).all()
    assert drawn.shares[32, x].argmax() == FACE


def test_a_texture_colours_and_cuts_out(backdrop):
    mesh = plate(label=HAIR, grey=1)
    uv = (mesh.places[:, :2] / 120 + 0.5).astype(np.float32)
    texture = np.full((2, 2, 4), 255, np.uint8)
    texture[:, 1, 3], texture[:, 0, 1:3] = 0, 0  # red to the left, nothing to the right
    mesh = mesh._replace(uv=uv, texture=texture)
    drawn = scenes.draw([mesh], DARK, backdrop, FOCAL)
    assert drawn.picture[32, 20, 0] > 0.3 and drawn.picture[32, 20, 1] < 0.05
    np.testing.assert_allclose(drawn.picture[32, 46], backdrop[32, 46], atol=1e-4)
    seen = scenes.coverage([plate(z=1100), mesh], FOCAL, SIZE)
    assert seen[32, 20] == HAIR and seen[32, 40] == FACE


def test_highlights_are_mirrored_light(backdrop):
    dull = plate(half=120)
    glossy = dull._replace(shine=np.float32([0.5, 50]))
    plain, shining = (
        scenes.draw([mesh], lamp(0, 0, -1), backdrop, FOCAL).picture for mesh in (dull, glossy)
    )
    extra = (shining - plain)[..., 0]
    assert extra[32, 32] > 0.3 and (extra >= 0).all()
    assert extra[32, 8] < 0.96 * extra[32, 32]
