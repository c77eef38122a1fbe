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
    keys = jax.random.split(jax.random.key(0))
    return jax.random.uniform(keys[0], (2, 64, 64, 3)), jax.random.normal(keys[1], (2, 50))


@pytest.mark.parametrize("size", [16, 32, 33, 112])
def test_resized_as_jax_does(size):
    image = jax.random.uniform(jax.random.key(size), (2, size, size + 3, 3))
    expected = jax.image.resize(image, (2, 32, 32, 3), "linear")
    np.testing.assert_allclose(encoder._resized(image, 32), expected, atol=1e-6)


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
    # This generator compiles in a third of the time.
    key = jax.random.key(1, impl="unsafe_rbg")
    variables = jax.jit(module.init)(key, image, features)
    np.testing.assert_array_equal(module.apply(variables, image, features), np.zeros((2, OUTPUTS)))

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
    params = jax.tree.map(lambda p, g: p - 0.01 * g, variables["params"], first)
    second, _ = gradients(params)
    still = [jax.tree_util.keystr(k) for k, g in jax.tree.leaves_with_path(second) if not g.any()]
    assert not still


def test_resnet50_is_torchvisions(batch):
    module = encoder.make_encoder("resnet50", 1000)
    shapes = jax.eval_shape(module.init, jax.random.key(0), batch[0])
    assert count(shapes) == 25_557_032  # of torchvision.models.resnet50


def test_sizes():
    image = jnp.zeros((1, 64, 64, 3))
    for kind, detail, largest in (
        ("small", False, 2e6),
        ("recognizer", False, 3e6),
        ("recognizer", True, 5e6),
    ):
        module = encoder.make_encoder(kind, 107, detail=detail)
        features = jnp.zeros((1, 7296 if detail else 4224))
        shapes = jax.eval_shape(module.init, jax.random.key(0), image, features)
        assert 1e6 < count(shapes) < largest


def test_detail_sees_what_the_small_picture_of_the_other_branch_does_not():
    # Rows in turn brighter and darker than a plain picture's, most in the middle: means are alike.
    plain, rows = jnp.full((1, 64, 64, 3), 0.5), jnp.arange(64)
    contrast = 0.3 * jnp.sin(jnp.pi * (rows + 0.5) / 64) ** 2
    image = plain + (contrast * (-1.0) ** rows)[:, None, None]
    features = jnp.ones((1, 50))
    for detail in (False, True):
        module = encoder.make_encoder("recognizer", OUTPUTS, detail=detail)
        variables = jax.jit(module.init)(jax.random.key(0), image, features)
        kernel = variables["params"]["fc"]["kernel"]
        variables["params"]["fc"]["kernel"] = jnp.ones_like(kernel)
        seen, expected = (np.asarray(module.apply(variables, x, features)) for x in (image, plain))
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
    keys = jax.random.split(jax.random.key(3), 2)
    frozen, x = jax.random.normal(keys[0], (4, 7)), jax.random.normal(keys[1], (4, 5))
    ours, theirs = encoder.JoinedDense(3), nn.Dense(3)
    both = jnp.concatenate([frozen, x], -1)
    variables = theirs.init(jax.random.key(0), both)
    # The same parameters from the same key, so that checkpoints and runs stay what they were.
    jax.tree.map(np.testing.assert_array_equal, ours.init(jax.random.key(0), frozen, x), variables)

    def side_by_side(variables, x):
        return theirs.apply(variables, jnp.concatenate([frozen, x], -1))

    def loss(function):
        return lambda variables, x: jnp.sum(jnp.sin(function(variables, x)))

    found = jax.value_and_grad(loss(lambda v, x: ours.apply(v, frozen, x)), (0, 1))(variables, x)
    expected = jax.value_and_grad(loss(side_by_side), (0, 1))(variables, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected)
