import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from focus_jax import checkpoint
from focus_jax.metrics import MetricWriter
from focus_jax.optim import make_optimizer
from focus_jax.types import TrainState


def small_state(step, seed):
    parameters = {"params": {"kernel": jax.random.normal(jax.random.key(seed), (3, 2))}}
    moments = make_optimizer("adadelta").init(parameters["params"])
    return TrainState(
        step=jnp.int32(step),
        encoder=parameters,
        segmenter=parameters,
        encoder_optimizer=moments,
        segmenter_optimizer=moments,
        albedo_mean=jnp.ones((4, 3)),
    )


def test_a_state_comes_back_bit_for_bit(tmp_path):
    state = small_state(7, seed=1)
    manager = checkpoint.open_checkpoints(tmp_path)
    assert checkpoint.restore(manager, state) is None
    checkpoint.save(manager, state, {"position": 3})
    manager.wait_until_finished()
    manager.close()
    manager = checkpoint.open_checkpoints(tmp_path)
    restored = checkpoint.restore(manager, small_state(0, seed=2))
    assert restored is not None
    found, data = restored
    assert data == {"position": 3}
    jax.tree.map(np.testing.assert_array_equal, found, state)
    manager.close()


def test_a_workdir_belongs_to_one_config(tmp_path):
    config = ConfigDict({"seed": 0, "data": {"size": 64}})
    checkpoint.claim_workdir(tmp_path, config)
    config.data.size = 64 // 2
    checkpoint.claim_workdir(tmp_path, config)  # nothing was saved yet
    config.data.size = 64
    checkpoint.claim_workdir(tmp_path, config)
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    checkpoint.claim_workdir(tmp_path, config)
    config.data.size = 112
    with pytest.raises(ValueError, match=r"data.size \(was 64, now 112\)"):
        checkpoint.claim_workdir(tmp_path, config)


def test_metrics_after_the_resumed_step_are_dropped(tmp_path):
    writer = MetricWriter(tmp_path, 0)
    for step in (10, 20, 30):
        writer.write(step, "train", {"loss": float(step)})
    writer.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 31, "lo')  # a crash in the middle of a line
    writer = MetricWriter(tmp_path, 20)
    writer.write(30, "train", {"loss": 31.0})
    writer.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(10, 10.0), (20, 20.0), (30, 31.0)]
