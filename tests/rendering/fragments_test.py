import jax.numpy as jnp
import numpy as np
import pytest
import scenes

from focus_jax.rendering import fragments, rasterize


def two_squares(size=12):
    """A small square at depth 4 in front of a large one at depth 10, and a back face."""
    near = [[3, 3, 4], [7, 3, 4], [3, 7, 4], [7, 7, 4]]
    far = [[0, 0, 10], [size - 1, 0, 10], [0, size - 1, 10], [size - 1, size - 1, 10]]
    inner = [[5, 5, 10], [9, 9, 10]]  # of the far square: one hidden, one not
    screen = jnp.array([near + far + inner], jnp.float32)
    square = scenes.grid(2, 2)
    corners = np.array([[4, 8, 5], [4, 6, 8], [5, 8, 9], [5, 9, 7], [8, 6, 9], [9, 6, 7]])
    return screen, jnp.array(np.concatenate([square, corners]))


def test_depth_and_normal_maps():
    screen, triangles = two_squares()
    found = rasterize.rasterize(screen, triangles, 14, 14)
    depth = fragments.depth_map(found, screen, triangles)
    expected = np.zeros((14, 14))
    expected[:12, :12] = 10
    expected[3:8, 3:8] = 4
    np.testing.assert_allclose(depth[0], expected, rtol=1e-6)
    normals = jnp.broadcast_to(jnp.array([0, 0.3, -0.4]), screen.shape)
    map_ = fragments.normal_map(found, screen, triangles, normals)
    np.testing.assert_allclose(map_[0, 5, 5], [0, 0.6, -0.8], rtol=1e-6)
    assert np.all(map_[0, 13] == 0)


def test_depth_of_a_tilted_plane_in_perspective():
    # Depths 1 and 3: halfway on screen lies the harmonic mean.
    screen = jnp.array([[[0, 0, 1], [0, 8, 1], [8, 0, 3]]], jnp.float32)
    triangles = jnp.array([[0, 1, 2]])
    found = rasterize.rasterize(screen, triangles, 9, 9)
    assert fragments.depth_map(found, screen, triangles)[0, 0, 4] == 2
    depth = fragments.depth_map(found, screen, triangles, perspective=True)
    np.testing.assert_allclose(depth[0, 0, 4], 1.5, rtol=1e-6)


def test_visible_vertices():
    screen, triangles = two_squares()
    found = rasterize.rasterize(screen, triangles, 12, 12)
    visible = fragments.visible_vertices(found, screen, triangles)
    expected = np.ones(10, bool)
    expected[8] = False  # behind the near square
    np.testing.assert_array_equal(visible[0], expected)
    away = fragments.visible_vertices(found, screen, triangles[:, ::-1])
    assert not away.any()
    beside = screen.at[..., 0].add(100)
    found = rasterize.rasterize(beside, triangles, 12, 12)
    assert not fragments.visible_vertices(found, beside, triangles).any()
    with pytest.raises(ValueError, match=r"vertices .*10; there are 10"):
        fragments.visible_vertices(found, screen, triangles.at[0, 0].set(10))


def test_points_are_seen_where_most_of_their_vertices_are():
    screen, triangles = two_squares()
    found = rasterize.rasterize(screen, triangles, 12, 12)
    corners = jnp.array([[8, 9, 0], [8, 9, 0], [0, 1, 2]])  # of which 8 is hidden
    weights = jnp.array([[0.6, 0.4, 0.0], [0.4, 0.6, 0.0], [0.0, 0.0, 0.0]])
    seen = fragments.visible_points(found, screen, triangles, corners, weights)
    np.testing.assert_array_equal(seen, [[False, True, False]])
    with pytest.raises(ValueError, match=r"corners name vertices 0\.\.10; there are 10"):
        fragments.visible_points(found, screen, triangles, corners.at[0, 0].set(10), weights)


def test_all_of_a_flat_fine_mesh_is_visible():
    screen, triangles = scenes.scene("flat grid", 0, 3, 30, 30)
    screen[..., :2] = screen[..., :2] / 4 + 8  # several vertices a pixel
    found = rasterize.rasterize(screen, triangles, 30, 30)
    assert fragments.visible_vertices(found, screen, triangles).all()


def test_smooth_coverage_is_the_share_of_the_pixel():
    screen = jnp.array([[[-1, -1, 5], [-1, 4.0, 5], [2.0, -1, 5], [2.0, 4.0, 5]]], jnp.float32)
    triangles = jnp.array([[0, 1, 2], [1, 3, 2]])
    coverage = fragments.smooth_coverage(screen, triangles, 6, 6, samples=8)[0, ..., 0]
    np.testing.assert_allclose(coverage[2], [1, 1, 0.5, 0, 0, 0])
    np.testing.assert_allclose(coverage[:, 1], [1, 1, 1, 1, 0.5, 0])
    with pytest.raises(ValueError, match="samples"):
        fragments.smooth_coverage(screen, triangles, 6, 6, samples=0)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_smooth_coverage_does_not_depend_on_the_type_of_positions(dtype):
    corners = [[-1, -1, 5], [-1, 300.25, 5], [300.25, -1, 5]]
    screen, triangles = np.array([corners], np.float32), np.array([[0, 1, 2]])
    expected = fragments.smooth_coverage(screen, triangles, 300, 300, samples=8)
    found = fragments.smooth_coverage(screen.astype(dtype), triangles, 300, 300, samples=8)
    np.testing.assert_array_equal(found, expected)
