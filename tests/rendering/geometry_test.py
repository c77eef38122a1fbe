import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from focus_jax.rendering import geometry


def tetrahedron():
    vertices = jnp.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    return vertices, jnp.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def random_mesh(seed=0):
    rng = np.random.default_rng(seed)
    return jnp.array(rng.normal(size=(3, 20, 3)), jnp.float32), jnp.array(
        rng.integers(0, 20, (50, 3))
    )


def autodiff(vertices, triangles):
    """`vertex_normals` in plain operations."""
    crosses, total = 0, jnp.zeros((*vertices.shape[:-1], 3))
    a, b, c = (vertices[..., triangles[:, k], :] for k in range(3))
    crosses = jnp.cross(b - a, c - a)
    squared = jnp.sum(crosses**2, -1, keepdims=True)
    length = jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)
    weight = jnp.zeros((*vertices.shape[:-1], 1))
    for k in range(3):
        total = total.at[..., triangles[:, k], :].add(crosses)
        weight = weight.at[..., triangles[:, k], :].add(length)
    return total / jnp.where(weight > 0, weight, 1)


def test_triangles_of_a_tetrahedron():
    normals, areas = geometry.triangle_normals(*tetrahedron())
    slanted = np.full(3, 3**-0.5)
    np.testing.assert_allclose(normals, [[0, 0, -1], [0, -1, 0], [-1, 0, 0], slanted], atol=1e-6)
    np.testing.assert_allclose(areas, [0.5, 0.5, 0.5, 3**0.5 / 2], rtol=1e-6)


def test_normals_turn_with_the_mesh():
    vertices, triangles = random_mesh()
    turn = jnp.linalg.qr(jnp.array(np.random.default_rng(1).normal(size=(3, 3)), jnp.float32))[0]
    turn = turn * jnp.linalg.det(turn)

    def turned(vectors):
        return jnp.matmul(vectors, turn.T, precision="highest")  # GPUs would multiply in TF32

    found = geometry.vertex_normals(turned(vertices), triangles)
    expected = turned(geometry.vertex_normals(vertices, triangles))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_vertex_normals_are_weighted_by_area_and_not_unit():
    vertices, triangles = tetrahedron()
    normals, areas = geometry.triangle_normals(vertices, triangles)
    around = np.array([[0, 1, 3], [0, 2, 3], [1, 2, 3]])  # triangles at vertices 1, 2, 3
    expected = (normals * areas[:, None])[around].sum(1) / areas[around].sum(1)[:, None]
    found = geometry.vertex_normals(vertices, triangles)
    np.testing.assert_allclose(found[1:], expected, atol=1e-6)
    assert np.all(np.linalg.norm(found, axis=-1) < 1)
    unit = geometry.vertex_normals(vertices, triangles, renormalize=True)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=-1), 1, rtol=1e-6)


def test_degenerate_triangles_and_lone_vertices_have_finite_gradients():
    vertices = jnp.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [5, 5, 5], [0, 1, 0]])
    triangles = jnp.array([[0, 1, 2], [0, 0, 1], [3, 3, 3]])
    for function in (geometry.vertex_normals, lambda v, t: geometry.triangle_normals(v, t)[0]):
        assert np.all(function(vertices, triangles) == 0)
        assert np.isfinite(jax.jit(jax.jacrev(function))(vertices, triangles)).all()


def test_gradient_is_that_of_plain_operations():
    vertices, triangles = random_mesh()
    cotangent = np.random.default_rng(2).normal(size=vertices.shape).astype(np.float32)

    def gradient(function):
        return jax.jit(jax.grad(lambda v: jnp.sum(function(v, triangles) * cotangent)))

    found, expected = gradient(geometry.vertex_normals)(vertices), gradient(autodiff)(vertices)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    mapped = jax.vmap(
        lambda v, g: jax.vjp(lambda v: geometry.vertex_normals(v, triangles), v)[1](g)
    )
    np.testing.assert_allclose(mapped(vertices, cotangent)[0], found, atol=1e-6)


def test_against_the_reference():
    formation = reference.load("image_formation")
    vertices = jnp.asarray(formation["vertices"]).swapaxes(1, 2)
    triangles = jnp.asarray(formation["triangles"].T)
    normals, areas = geometry.triangle_normals(vertices, triangles)
    np.testing.assert_allclose(normals, formation["face_normals"].swapaxes(1, 2), atol=1e-5)
    np.testing.assert_allclose(areas, formation["face_areas"][:, 0], rtol=1e-5)
    found = geometry.vertex_normals(vertices, triangles)
    np.testing.assert_allclose(found, formation["vertex_normals"].swapaxes(1, 2), atol=1e-5)


@pytest.mark.usefixtures("unchecked")
def test_triangles_that_name_no_vertex_are_refused_and_in_jit_count_for_nothing():
    vertices, triangles = random_mesh()
    wrong = jnp.concatenate([triangles, jnp.array([[0, 1, 20], [2, -1, 3], [20, 21, 22]])])
    for function in (geometry.vertex_normals, geometry.triangle_normals):
        with pytest.raises(ValueError, match=r"vertices -1\.\.22; there are 20"):
            function(vertices, wrong)
        with pytest.raises(ValueError, match="integers"):
            function(vertices, triangles.astype(float))
    found, pull = jax.vjp(lambda v: jax.jit(geometry.vertex_normals)(v, wrong), vertices)
    expected, expected_pull = jax.vjp(lambda v: geometry.vertex_normals(v, triangles), vertices)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(pull(found)[0], expected_pull(found)[0], atol=1e-5)
    normals, areas = jax.jit(geometry.triangle_normals)(vertices, wrong)
    np.testing.assert_array_equal(normals[:, -3:], 0)
    np.testing.assert_array_equal(areas[:, -3:], 0)


@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 0, 3), (0, 3)])
def test_no_vertices_have_no_normals(shape):
    vertices, triangles = jnp.zeros(shape), jnp.zeros((0, 3), jnp.int32)
    gradient = jax.grad(lambda v: jnp.sum(geometry.vertex_normals(v, triangles, True)))(vertices)
    assert gradient.shape == shape


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("dtype", [np.float16, np.uint8, np.int64, np.float64])
def test_normals_of_millimetres_in_any_type(dtype):
    """Squares of areas exceed float16, differences of bytes fall below 0."""
    _, triangles = random_mesh()
    vertices = np.random.default_rng(1).integers(0, 200, (2, 20, 3)).astype(np.float32)
    for function in (geometry.vertex_normals, geometry.triangle_normals):
        found, expected = function(vertices.astype(dtype), triangles), function(vertices, triangles)
        jax.tree.map(np.testing.assert_array_equal, found, expected)
        with pytest.raises(ValueError, match=r"vertices must be \[\.\.\. 3\], not \(2, 20, 2\)"):
            function(vertices[..., :2], triangles)
