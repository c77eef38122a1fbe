import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from focus_jax.networks import segmenter


def pictures(height=32, width=32):
    return jax.random.uniform(jax.random.key(0), (2, 2, height, width, 3))


@pytest.fixture(scope="module", params=["authors", "space_to_depth"])
def network(request):
    """A narrow network of each stem, initialised."""
    module = segmenter.Segmenter(width=4, stem=request.param)
    # This generator compiles in a third of the time.
    key = jax.random.key(1, impl="unsafe_rbg")
    return module, jax.jit(module.init)(key, *pictures())


def test_starts_mostly_face(network):
    module, variables = network
    logits = jax.jit(module.apply)(variables, *pictures())
    mask = segmenter.mask_from_logits(logits)
    assert logits.shape == (2, 32, 32, 1)
    assert mask.min() > 0.5 and mask.max() < 0.9


def test_any_size(network):
    module, variables = network
    rendering, image = pictures(33, 40)
    apply = jax.jit(module.apply)
    logits = apply(variables, rendering, image)
    assert logits.shape == (2, 33, 40, 1)
    # Padding repeats the border: the photo padded by hand gives the same.
    multiple = 16 if module.stem == "authors" else 32
    padded = [segmenter.pad_to_multiple(x, multiple) for x in (rendering, image)]
    again = apply(variables, *padded)[:, :33, :40]
    np.testing.assert_allclose(logits, again, atol=1e-6)


def test_dropout_and_statistics_only_when_training(network):
    module, variables = network
    if module.stem == "authors":
        pytest.skip("one stem is enough: both have the same blocks")

    @jax.jit
    def train(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return module.apply(variables, *pictures(), train=True, mutable=["batch_stats"], rngs=rngs)

    a, updated = train(2)
    b, _ = train(3)
    assert not np.allclose(a, b)
    np.testing.assert_array_equal(a, train(2)[0])
    before, after = (x["batch_stats"]["down1"]["bn1"]["mean"] for x in (variables, updated))
    assert not np.allclose(before, after)


def test_learns_to_separate(network):
    # The occluder is where photo and rendering differ: a few steps must find that.
    module, variables = network
    if module.stem == "authors":
        pytest.skip("one stem is enough: compiling the gradient takes seconds")
    rendering = jnp.full((4, 32, 32, 3), 0.5)
    image = rendering.at[:, 8:24, 8:24].set(jnp.array([0.1, 0.2, 0.9]))
    face = jnp.all(image == rendering, axis=-1, keepdims=True)
    module = module.clone(dropout=0.0)

    def loss(params):
        logits, _ = module.apply(
            {**variables, "params": params}, rendering, image, train=True, mutable=["batch_stats"]
        )
        mask = segmenter.mask_from_logits(logits)
        return -jnp.mean(jnp.log(jnp.where(face, mask, 1 - mask) + 1e-6))

    optimizer = optax.adam(1e-2)  # plain descent at a useful rate goes astray by rounding alone

    @jax.jit
    def step(params, moments):
        value, gradient = jax.value_and_grad(loss)(params)
        steps, moments = optimizer.update(gradient, moments)
        return value, optax.apply_updates(params, steps), moments

    params, losses = variables["params"], []
    moments = optimizer.init(params)
    for _ in range(30):
        value, params, moments = step(params, moments)
        losses.append(value)
    assert losses[-1] < 0.1 * losses[0]


def test_size_of_the_authors_network():
    images = [jnp.zeros((1, 64, 64, 3))] * 2
    shapes = jax.eval_shape(segmenter.Segmenter().init, jax.random.key(0), *images)
    assert sum(x.size for x in jax.tree.leaves(shapes["params"])) == 34_528_769


def test_space_to_depth_and_back():
    x = jax.random.normal(jax.random.key(0), (2, 6, 8, 3))
    blocks = segmenter.space_to_depth(x)
    assert blocks.shape == (2, 3, 4, 12)
    np.testing.assert_array_equal(blocks[0, 1, 2], x[0, 2:4, 4:6].reshape(-1))
    np.testing.assert_array_equal(segmenter.depth_to_space(blocks), x)


def test_fine_channels_tell_pixels_of_a_block_apart():
    # What they add to the logits follows its picture by single pixels; the stem goes by two.
    module = segmenter.Segmenter(4, "space_to_depth", fine=3)
    drawn = jax.jit(module.init)(jax.random.key(1, impl="unsafe_rbg"), *pictures())

    @jax.jit
    def change(*seen):
        kernel = jnp.zeros((3, 3, 3, 1)).at[1, 1].set(1.0)  # of what is nothing at first
        given = {**drawn["params"], "head": jax.tree.map(jnp.zeros_like, drawn["params"]["head"])}
        for name, value in (("up2", 0.0), ("merge2", 0.0)):
            given[name] = jax.tree.map(lambda x, value=value: x * value, given[name])
        variables = {**drawn, "params": {**given, "change": {"kernel": kernel}}}
        return module.apply(variables, *seen)

    moved = change(*(jnp.roll(x, 1, axis=2) for x in pictures()))
    np.testing.assert_allclose(moved[:, :, 4:28], change(*pictures())[:, :, 3:27], atol=1e-5)
    assert np.ptp(moved) > 0.1


def test_refusals():
    rendering, image = pictures()
    with pytest.raises(ValueError, match="width that four divides"):
        segmenter.Segmenter(6, "space_to_depth", fine=3).init(jax.random.key(0), rendering, image)
    with pytest.raises(ValueError, match="stem"):
        segmenter.Segmenter(stem="other").init(jax.random.key(0), rendering, image)
    # A ValueError, or jaxtyping's error where its checks are switched on.
    with pytest.raises((ValueError, TypeError)):
        segmenter.Segmenter().init(jax.random.key(0), rendering[:, :16], image)
