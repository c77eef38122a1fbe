import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from focus_jax.system import sharding
from focus_jax.training.gradients import differentiate
from focus_jax.types import Batch

LAYERS = 6


def objective(parameters, statistics, batch, key):
    del key
    maps = batch.image
    for weights in parameters.values():
        maps = jnp.tanh(maps @ weights)
    return jnp.mean(maps**2), (statistics, {"highest": jnp.max(maps)})


def test_parts_give_the_gradient_of_the_whole_in_less_memory():
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.random((8, 32, 32, 16), np.float32))
    batch = Batch(image=image, landmarks=jnp.zeros((8, 68, 2)), index=jnp.arange(8))
    weights = {
        str(n): jnp.asarray(rng.normal(0, 0.2, (16, 16)), jnp.float32) for n in range(LAYERS)
    }
    found, memory = {}, {}
    for parts in (1, 4):
        whole = functools.partial(differentiate, objective, parts=parts)
        program = jax.jit(whole).lower({"params": weights}, batch, jax.random.key(0)).compile()
        found[parts] = program({"params": weights}, batch, jax.random.key(0))
        account = program.memory_analysis()
        assert account is not None
        memory[parts] = account.temp_size_in_bytes
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-8),
        (found[1][0], found[1][3]),
        (found[4][0], found[4][3]),
    )
    # Of a map after each layer; in parts a quarter of each, and a copy of the photos.
    assert memory[4] < 0.6 * memory[1]


def test_each_part_of_a_batch_divides_among_the_devices():
    """Said before the data are made: 8 photos in 4 parts of 2 were on 4 devices at once."""
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
    sharding.check_batch_size(16, mesh, 4)
    with pytest.raises(ValueError, match=r"among 4 devices in config.compute.parts=4; .* of 16$"):
        sharding.check_batch_size(8, mesh, 4)
    with pytest.raises(ValueError, match=r"among 4 devices; choose a multiple of 4$"):
        sharding.check_batch_size(6, mesh)
