import jax
import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax.rendering import morphable
from focus_jax.types import FaceModel


def face_model(vertices=70, i=4, e=3, a=2, seed=0):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    weights = rng.random((68, 3)).astype(np.float32)
    return FaceModel(
        shape_mean=normal(vertices, 3),
        identity_basis=normal(vertices, 3, i),
        expression_basis=normal(vertices, 3, e),
        albedo_mean=normal(vertices, 3),
        albedo_basis=normal(vertices, 3, a),
        triangles=jnp.asarray(rng.integers(0, vertices, (100, 3))),
        landmark_vertices=jnp.asarray(rng.integers(0, vertices, (68, 3))),
        landmark_weights=jnp.asarray(weights / weights.sum(-1, keepdims=True)),
        region=jnp.zeros(vertices, jnp.int32),
        uv=jnp.zeros((vertices, 2)),
    )


def test_mean_plus_modes():
    model = face_model()
    np.testing.assert_array_equal(
        morphable.vertices(model, jnp.zeros(4), jnp.zeros(3)), model.shape_mean
    )
    one = morphable.vertices(model, jnp.eye(4)[2], 2 * jnp.eye(3)[1])
    expected = model.shape_mean + model.identity_basis[..., 2] + 2 * model.expression_basis[..., 1]
    np.testing.assert_allclose(one, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        morphable.albedo(model, jnp.eye(2)[1]),
        model.albedo_mean + model.albedo_basis[..., 1],
        rtol=1e-5,
    )


def test_fewer_coefficients_weigh_the_first_modes():
    model = face_model()
    identity = jnp.arange(1.0, 5.0)
    short = morphable.vertices(model, identity[:2], jnp.zeros(0))
    padded = morphable.vertices(model, identity.at[2:].set(0), jnp.zeros(3))
    np.testing.assert_allclose(short, padded, rtol=1e-5, atol=1e-5)


def test_more_coefficients_than_modes_are_refused():
    model = face_model()
    with pytest.raises(ValueError, match=r"5 identity coefficients.* 4 modes"):
        morphable.vertices(model, jnp.zeros(5), jnp.zeros(3))
    with pytest.raises(ValueError, match="expression"):
        morphable.vertices(model, jnp.zeros(4), jnp.zeros(4))
    with pytest.raises(ValueError, match="albedo"):
        morphable.albedo(model, jnp.zeros(3))


def test_leading_axes_jit_and_gradient():
    model, rng = face_model(), np.random.default_rng(1)
    identity = jnp.asarray(rng.normal(size=(2, 5, 4)), jnp.float32)
    expression = jnp.asarray(rng.normal(size=(2, 5, 3)), jnp.float32)
    found = jax.jit(morphable.vertices)(model, identity, expression)
    assert found.shape == (2, 5, 70, 3)
    one = morphable.vertices(model, identity[1, 3], expression[1, 3])
    np.testing.assert_allclose(found[1, 3], one, rtol=1e-5, atol=1e-5)
    gradient = jax.grad(lambda c: morphable.vertices(model, c, expression[0, 0]).sum())
    expected = model.identity_basis.sum((0, 1))
    np.testing.assert_allclose(gradient(identity[0, 0]), expected, rtol=1e-4, atol=1e-4)


def test_landmarks_are_weighted_sums_of_three_vertices():
    model = face_model()
    vertices = jnp.asarray(np.random.default_rng(2).normal(size=(2, 70, 2)), jnp.float32)
    found = morphable.landmarks(model, vertices)
    corners = vertices[:, model.landmark_vertices]
    expected = sum(corners[:, :, k] * model.landmark_weights[:, k, None] for k in range(3))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_landmarks_of_another_mesh_are_refused():
    """The whole head's vertices with the cropped face's places would be points anywhere."""
    model = face_model()
    for count in (69, 71):
        with pytest.raises(ValueError, match=f"{count} vertices .* face model, which has 70"):
            morphable.landmarks(model, jnp.zeros((2, count, 3)))


@pytest.mark.usefixtures("unchecked")
def test_lists_are_refused():
    model = face_model()
    with pytest.raises(ValueError, match="albedo coefficients must be an array, not list"):
        morphable.albedo(model, [[0.0]])
    with pytest.raises(ValueError, match="vertices must be an array, not tuple"):
        morphable.landmarks(model, ((0.0, 0.0, 0.0),) * 70)
