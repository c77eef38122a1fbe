import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax.networks import encoder

OUTPUTS = 37


def count(variables):
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return rng.random((2, 64, 64, 3), np.float32), rng.standard_normal((2, 50), np.float32)


def first_variables(module, *inputs):
    # This generator compiles in a third of the time.
    return jax.jit(module.init)(jax.random.key(1, impl="unsafe_rbg"), *inputs)


@pytest.mark.parametrize("size", [16, 32, 33, 112])
def test_resized_as_jax_does(size):
    image = np.random.default_rng(size).random((2, size, size + 3, 3), np.float32)

    @jax.jit
    def both(image):
        return encoder._resized(image, 32), jax.image.resize(image, (2, 32, 32, 3), "linear")

    np.testing.assert_allclose(*both(image), atol=1e-6)


# The small encoder with fewer channels and stages, to compile sooner.
NARROW = {
    "small": encoder.Encoder(OUTPUTS, (1, 1), 4, bottleneck=False, large_stem=False, pool=4),
    "recognizer": encoder.make_encoder("recognizer", OUTPUTS),
    "detail": encoder.make_encoder("recognizer", OUTPUTS, detail=True),
}


@pytest.mark.parametrize("kind", NARROW)
def test_starts_at_the_mean_face_and_learns(kind, batch):
    image, features = batch
    module = NARROW[kind]
    variables = first_variables(module, image, features)
    found = jax.jit(module.apply)(variables, image, features)
    np.testing.assert_array_equal(found, np.zeros((2, OUTPUTS)))

    @jax.jit
    def gradients(params):
        def loss(params):
            output, updated = module.apply(
                {**variables, "params": params},
                image,
                features,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(2)},
            )
            return jnp.sum((output - 1) ** 2), updated

        return jax.grad(loss, has_aux=True)(params)

    first, updated = gradients(variables["params"])
    assert jax.tree.structure(updated.get("batch_stats", {})) == jax.tree.structure(
        variables.get("batch_stats", {})
    )
    # Only the last layer moves at first; after one step of it, everything does.
    before, by = jax.device_get((variables["params"], first))
    second, _ = jax.device_get(gradients(jax.tree.map(lambda p, g: p - 0.01 * g, before, by)))
    still = [jax.tree_util.keystr(k) for k, g in jax.tree.leaves_with_path(second) if not g.any()]
    assert not still


def test_resnet50_is_torchvisions(batch):
    module = encoder.make_encoder("resnet50", 1000)
    shapes = jax.eval_shape(module.init, jax.random.key(0), batch[0])
    assert count(shapes) == 25_557_032  # of torchvision.models.resnet50


def test_sizes():
    image = np.zeros((1, 64, 64, 3), np.float32)
    for kind, detail, largest in (
        ("small", False, 2e6),
        ("recognizer", False, 3e6),
        ("recognizer", True, 5e6),
    ):
        module = encoder.make_encoder(kind, 107, detail=detail)
        features = np.zeros((1, 7296 if detail else 4224), np.float32)
        shapes = jax.eval_shape(module.init, jax.random.key(0), image, features)
        assert 1e6 < count(shapes) < largest


def test_detail_sees_what_the_small_picture_of_the_other_branch_does_not():
    # Rows in turn brighter and darker than a plain picture's, most in the middle: means are alike.
    plain, rows = np.full((1, 64, 64, 3), 0.5, np.float32), np.arange(64)
    contrast = 0.3 * np.sin(np.pi * (rows + 0.5) / 64) ** 2
    image = plain + np.float32(contrast * (-1.0) ** rows)[:, None, None]
    features = np.ones((1, 50), np.float32)
    for detail in (False, True):
        module = encoder.make_encoder("recognizer", OUTPUTS, detail=detail)
        variables = first_variables(module, image, features)
        kernel = variables["params"]["fc"]["kernel"]
        variables["params"]["fc"]["kernel"] = np.ones(kernel.shape, kernel.dtype)
        look = jax.jit(module.apply)
        seen, expected = (np.asarray(look(variables, x, features)) for x in (image, plain))
        apart = np.abs(seen - expected).max()
        assert (apart > 0.1) == detail, apart


def test_refusals(batch):
    with pytest.raises(ValueError, match="resnet50, small, recognizer, not 'vgg'"):
        encoder.make_encoder("vgg", OUTPUTS)
    with pytest.raises(ValueError, match="detail goes with the kind recognizer, not small"):
        encoder.make_encoder("small", OUTPUTS, detail=True)
    with pytest.raises(ValueError, match="needs Batch"):
        encoder.make_encoder("recognizer", OUTPUTS).init(jax.random.key(0), batch[0])


def test_the_joined_layer_is_that_of_both_inputs_side_by_side():
    rng = np.random.default_rng(3)
    frozen, x = (rng.standard_normal((4, n), np.float32) for n in (7, 5))
    ours, theirs = encoder.JoinedDense(3), nn.Dense(3)
    both, key = np.concatenate([frozen, x], -1), jax.random.key(0)
    variables = jax.jit(theirs.init)(key, both)
    # The same parameters from the same key, so that checkpoints and runs stay what they were.
    jax.tree.map(np.testing.assert_array_equal, jax.jit(ours.init)(key, frozen, x), variables)

    def side_by_side(variables, x):
        return theirs.apply(variables, jnp.concatenate([frozen, x], -1))

    def loss(function):
        return lambda variables, x: jnp.sum(jnp.sin(function(variables, x)))

    both_ways = (lambda v, x: ours.apply(v, frozen, x)), side_by_side
    ways = (jax.jit(jax.value_and_grad(loss(way), (0, 1))) for way in both_ways)
    found, expected = (way(variables, x) for way in ways)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected)


def test_no_photos_have_no_code():
    module, image = encoder.small_encoder(7), jnp.zeros((1, 32, 32, 3))
    variables = first_variables(module, image)
    assert module.apply(variables, image[:0]).shape == (0, 7)
