import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from scipy.special import sph_harm_y

from focus_jax.rendering import shading


def unit_normals(count=200):
    normals = np.random.default_rng(0).normal(size=(count, 3))
    return normals / np.linalg.norm(normals, axis=-1, keepdims=True)


def test_basis_is_that_of_scipy():
    """Real harmonics from scipy's complex ones, which carry the Condon-Shortley sign."""
    normals = unit_normals()
    theta, phi = np.arccos(normals[:, 2]), np.arctan2(normals[:, 1], normals[:, 0])
    expected = []
    for l in range(3):  # noqa: E741 (the order's usual letter)
        for m in range(-l, l + 1):
            complex_value = sph_harm_y(l, abs(m), theta, phi)
            part = complex_value.real if m >= 0 else complex_value.imag
            expected.append(part * (1 if m == 0 else np.sqrt(2)))
    found = shading.sh_basis(jnp.asarray(normals, jnp.float32))
    np.testing.assert_allclose(found, np.stack(expected, -1), atol=1e-5)


def test_basis_is_orthonormal():
    z, weights = np.polynomial.legendre.leggauss(8)
    phi = np.arange(16) * np.pi / 8
    z, phi = np.meshgrid(z, phi, indexing="ij")
    x, y = np.sqrt(1 - z**2) * np.cos(phi), np.sqrt(1 - z**2) * np.sin(phi)
    basis = shading.sh_basis(jnp.asarray(np.stack([x, y, z], -1), jnp.float32))
    gram = np.einsum("ijk,ijl,i->kl", basis, basis, weights) * np.pi / 8
    np.testing.assert_allclose(gram, np.eye(9), atol=1e-5)


@pytest.mark.parametrize("pole", [1.0, -1.0])
@pytest.mark.parametrize("length", [1.0, 0.98, 0.0])
def test_gradient_at_the_poles_is_finite(pole, length):
    normal = jnp.array([0.0, 0.0, pole * length])
    assert np.isfinite(shading.sh_basis(normal)).all()
    jacobian = jax.jacobian(shading.sh_basis)(normal)
    assert np.isfinite(jacobian).all()
    if length == 1:  # that of x, y, z as polynomials
        np.testing.assert_allclose(jacobian[3], [-0.4886025, 0, 0], atol=1e-5)


def test_constant_light_shows_the_albedo():
    albedo = jnp.asarray(np.random.default_rng(1).random((2, 200, 3)), jnp.float32)
    normals = jnp.broadcast_to(jnp.asarray(unit_normals(), jnp.float32), albedo.shape)
    light = np.zeros((2, 3, 9), np.float32)
    light[..., 0] = np.sqrt(4 * np.pi) * np.array([1, 2, 3])
    shaded = shading.shade(albedo, normals, jnp.asarray(light.reshape(2, 27)))
    np.testing.assert_allclose(shaded, albedo * jnp.array([1, 2, 3]), rtol=1e-5)


def test_against_the_reference():
    formation = reference.load("image_formation")
    rotation = formation["R_world_to_camera"].astype(np.float64)
    normals = jnp.asarray(rotation @ formation["vertex_normals"], jnp.float32).swapaxes(1, 2)
    basis = shading.sh_basis(normals)
    np.testing.assert_allclose(basis, formation["sh_basis"].swapaxes(1, 2), atol=1e-4)
    albedo = jnp.asarray(formation["albedo"]).swapaxes(1, 2)
    shaded = shading.shade(albedo, normals, jnp.asarray(formation["sh_coefficients"]))
    np.testing.assert_allclose(shaded, formation["shaded"].swapaxes(1, 2), atol=1e-4)


def test_the_gradient_is_that_of_the_basis():
    rng = np.random.default_rng(2)
    albedo, normals = (jnp.asarray(rng.random((2, 50, 3)), jnp.float32) for _ in range(2))
    light = jnp.asarray(rng.normal(size=(2, 27)), jnp.float32)

    def through_the_basis(albedo, normals, light):
        basis = shading.sh_basis(normals)
        return albedo * jnp.einsum("bvk,bck->bvc", basis, light.reshape(2, 3, 9))

    found, expected = (
        jax.grad(lambda *x: jnp.sum(jnp.sin(f(*x))), argnums=(0, 1, 2))(albedo, normals, light)  # noqa: B023
        for f in (shading.shade, through_the_basis)
    )
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("unchecked")
def test_normals_and_light_of_other_lengths_are_refused():
    ones = np.ones((1, 5, 4), np.float32)
    with pytest.raises(ValueError, match=r"normals must be .* \(1, 5, 4\)"):
        shading.shade(ones[..., :3], ones, np.ones((1, 27), np.float32))
    with pytest.raises(ValueError, match=r"albedo must be .* not \(1, 5, 1\)"):
        shading.shade(ones[..., :1], ones[..., :3], np.ones((1, 27), np.float32))
    with pytest.raises(ValueError, match=r"light must be .* \(1, 3, 9\)"):
        shading.shade(ones[..., :3], ones[..., :3], np.ones((1, 3, 9), np.float32))
    with pytest.raises(ValueError, match="normals must be an array, not list"):
        shading.shade(ones[..., :3], ones[..., :3].tolist(), np.ones((1, 27), np.float32))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("alone", range(3))
def test_one_of_a_batch_is_not_taken_for_all(alone):
    given = [np.ones((2, *shape), np.float32) for shape in ((5, 3), (5, 3), (27,))]
    shading.shade(*given)
    given[alone] = given[alone][:1]
    with pytest.raises(ValueError, match=r"must agree in their first axes: normals \(.*light \("):
        shading.shade(*given)
