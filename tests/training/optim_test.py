import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from focus_jax.training.optim import clip_by_norm, global_norm, make_optimizer


def torch_adadelta(gradients, rate=0.1, rho=0.9, epsilon=1e-6):
    """Parameters after steps of torch.optim.Adadelta, from its documentation."""
    x, square, accumulated = 0.0, 0.0, 0.0
    for g in gradients:
        square = rho * square + (1 - rho) * g * g
        delta = np.sqrt(accumulated + epsilon) / np.sqrt(square + epsilon) * g
        accumulated = rho * accumulated + (1 - rho) * delta * delta
        x -= rate * delta
    return x


def test_adadelta_takes_torchs_steps():
    optimizer = make_optimizer("adadelta")
    x = jnp.zeros(())
    moments = optimizer.init(x)
    gradients = [0.3, -0.1, 0.7, 0.2]
    for g in gradients:
        steps, moments = optimizer.update(jnp.float32(g), moments, x)
        x = x - 0.1 * steps
    np.testing.assert_allclose(x, torch_adadelta(gradients), rtol=1e-5)


@pytest.mark.parametrize("name", ["adadelta", "adam"])
def test_each_optimizer_descends(name):
    optimizer = make_optimizer(name, clip=1.0, weight_decay=1e-4)
    x = jnp.array([3.0, -2.0])
    moments = optimizer.init(x)
    for _ in range(200):
        steps, moments = optimizer.update(jax.grad(lambda y: jnp.sum(y**2))(x), moments, x)
        x = x - 0.05 * steps * (100 if name == "adadelta" else 1)
    assert jnp.abs(x).max() < 0.5


def test_clipping_is_optaxs():
    rng = np.random.default_rng(0)
    tree = {"a": rng.normal(size=(3, 4)).astype(np.float32), "b": np.float32(2.0)}
    theirs = optax.clip_by_global_norm(1.0)
    ours = make_optimizer("adam", clip=1.0)
    assert jax.tree.structure(ours.init(tree)[0]) == jax.tree.structure(theirs.init(tree))
    np.testing.assert_allclose(global_norm(tree), optax.tree.norm(tree), rtol=1e-6)
    for factor in (0.1, 10.0, 0.0, np.nan):  # shorter, longer, nothing, broken
        gradients = jax.tree.map(lambda x, f=factor: np.float32(f) * x, tree)
        expected, _ = theirs.update(gradients, theirs.init(tree))
        found, _ = clip_by_norm(1.0).update(gradients, optax.EmptyState())
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)


def test_an_unknown_optimizer_is_named():
    with pytest.raises(ValueError, match=r"adadelta.*sgd"):
        make_optimizer("sgd")
