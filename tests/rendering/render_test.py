import functools
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from focus_jax.rendering import fragments
from focus_jax.rendering.render import render_mesh

BACKENDS = ["warp", "jnp"]


@functools.cache
def formation(dtype="float32"):
    """Vertices, albedo, pose and light of the reference, its triangles, and the rest."""
    arrays = reference.load("image_formation")
    inputs = [arrays[name].swapaxes(1, 2) for name in ("vertices", "albedo")]
    inputs += [arrays["camera_params"], arrays["sh_coefficients"]]
    return [x.astype(dtype) for x in inputs], arrays["triangles"].T, arrays


@pytest.mark.parametrize("backend", BACKENDS)
def test_picture_of_the_reference(backend):
    (vertices, albedo, pose, light), triangles, arrays = formation()
    rendering = render_mesh(vertices, albedo, triangles, pose, light, 96, 96, backend)
    same = np.asarray(rendering.coverage[..., 0]) == arrays["mask"]
    assert np.mean(~same) <= 5e-4
    difference = np.abs(rendering.image - reference.images(arrays["image"])).max(-1)
    assert difference[same].max() < 1e-4
    np.testing.assert_allclose(
        rendering.screen_vertices, arrays["projected"].swapaxes(1, 2), rtol=1e-5, atol=1e-3
    )


@pytest.mark.parametrize(
    "backend, dtype", [("warp", "float32"), ("jnp", "float32"), ("jnp", "float64")]
)
def test_gradients_of_the_reference(backend, dtype):
    """1e-3 in norm; the release's own float32 is further from its float64 than that."""
    inputs, triangles, arrays = formation(dtype)
    cotangent = reference.images(arrays["cotangent"])

    @functools.partial(jax.grad, argnums=(0, 1, 2, 3))
    def gradient(vertices, albedo, pose, light):
        rendering = render_mesh(vertices, albedo, triangles, pose, light, 96, 96, backend)
        return jnp.sum(rendering.image * cotangent)

    with jax.enable_x64(dtype == "float64"):
        found = jax.jit(gradient)(*inputs)
    names = "grad_vertices", "grad_albedo", "grad_camera", "grad_sh"
    for name, value in zip(names, found, strict=True):
        expected = arrays[name] if arrays[name].ndim == 2 else arrays[name].swapaxes(1, 2)
        error = np.linalg.norm(np.asarray(value) - expected)
        assert error <= 1e-3 * np.linalg.norm(expected), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_sharded_pictures_need_no_communication(backend):
    inputs, triangles, _ = formation()
    inputs = [jnp.asarray(np.repeat(x, 2, 0)) for x in inputs]

    @functools.partial(jax.value_and_grad, argnums=(0, 1, 2, 3), has_aux=True)
    def loss(vertices, albedo, pose, light, weights):
        rendering = render_mesh(vertices, albedo, triangles, pose, light, 96, 96, backend)
        # Each picture's own number, so that even the loss needs no sum over devices.
        return jnp.sum(rendering.image * weights), rendering.image

    # The emitters that users have, and not those of conftest.py, whose rounding varies more.
    older = version("jaxlib").startswith("0.10.")  # of which conftest.py chooses others
    loss = jax.jit(loss, compiler_options={"xla_cpu_use_fusion_emitters": True} if older else None)
    weights = jnp.ones((4, 1, 1, 1))
    (_, image), gradients = loss(*inputs, weights)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    with jax.set_mesh(mesh):
        sharding = jax.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
        arguments = jax.device_put([*inputs, weights], sharding)
        compiled = loss.lower(*arguments).compile()
        text = compiled.as_text()
        assert not any(word in text for word in ("all-gather", "all-to-all", "permute"))
        (_, sharded_image), sharded_gradients = compiled(*arguments)
    # The rasterizer is equal bit for bit (rasterize_test); XLA's loops around it vary with their
    # length in the last one.
    np.testing.assert_allclose(sharded_image, image, atol=1e-6)
    for a, b in zip(sharded_gradients, gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())


@pytest.mark.parametrize("backend", BACKENDS)
def test_soft_edges(backend):
    """Coverage becomes a share; colour stays that of the face, not of the black around it."""
    (vertices, albedo, pose, light), triangles, _ = formation()
    albedo, ambient = np.full_like(albedo, 0.5), np.zeros_like(light)
    ambient[:, [0, 9, 18]] = 3.0  # the same in every direction

    def draw(samples):
        return render_mesh(
            vertices, albedo, triangles, pose, ambient, 48, 48, backend, samples=samples
        )

    hard, soft = draw(1), draw(4)
    share = fragments.smooth_coverage(hard.screen_vertices, triangles, 48, 48, backend, samples=4)
    np.testing.assert_allclose(soft.coverage, share, atol=1e-6)
    edge = (soft.coverage > 0) & (soft.coverage < 1)
    assert 0.02 < edge.mean() < 0.2
    colour = np.asarray(hard.image).max()
    np.testing.assert_allclose(soft.image, colour * (soft.coverage > 0) * np.ones(3), rtol=1e-4)
    with pytest.raises(ValueError, match="samples must be at least 1, not 0"):
        draw(0)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_drawn_in_single(dtype):
    """Places have digits enough, and gradients come back in the types that were given."""
    (vertices, albedo, pose, light), triangles, _ = formation()

    def loss(vertices, pose):
        drawn = render_mesh(vertices, albedo, triangles, pose, light, 32, 32)
        return jnp.sum(drawn.image), drawn.screen_vertices

    half = jnp.asarray(vertices, dtype), jnp.asarray(pose, dtype)
    (_, screen), found = jax.value_and_grad(loss, (0, 1), has_aux=True)(*half)
    _, exact = loss(*(x.astype(jnp.float32) for x in half))
    np.testing.assert_array_equal(screen, exact)
    assert all(x.dtype == dtype for x in found)


def test_lost_faces_give_empty_pictures_and_finite_gradients():
    (vertices, albedo, pose, light), triangles, _ = formation()

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1))
    def loss(vertices, pose):
        return jnp.sum(render_mesh(vertices, albedo, triangles, pose, light, 32, 32).image)

    for shift in ([0, 0, -1000.0], [0, 0, -5000.0], [9e5, 0, 0]):
        moved = pose + np.array([0, 0, 0, *shift], np.float32)
        value, gradients = loss(vertices, moved)
        assert all(np.isfinite(x).all() for x in (value, *gradients))
        if shift[2] != -1000.0:
            assert value == 0
