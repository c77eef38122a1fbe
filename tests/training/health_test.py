"""Counting of what goes wrong, and what is said of it."""

import logging

import jax
import numpy as np
import pytest

from focus_jax import losses
from focus_jax.training import health
from focus_jax.training.schedule import Phase

JOINT = Phase("joint", "autoencoder", 10, 0)
GOOD = {"finite": np.bool_(True), "mask": np.float32(0.7), "spread": np.float32(0.8)}


def after(steps, state=None, *, phase=JOINT, photos=4, **values):
    """The health after some steps of the same values, and all that was warned of."""
    state, told = state or health.Health(), []
    for number in range(1, steps + 1):
        step = health.Step(number, phase, np.arange(photos), {**GOOD, **values})
        state, warnings = health.watch(state, step)
        told += warnings
    return state, told


def test_a_training_that_works_is_left_alone():
    assert after(3 * health.PATIENCE) == (health.Health(), [])


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"mask": 0.985}, "mask collapse, all face"),
        ({"mask": 0.015}, "mask collapse, no face"),
        ({"spread": 0.001}, "mean-face collapse"),
    ],
)
def test_a_collapse_is_named_once_and_only_when_it_lasts(values, name, caplog):
    with caplog.at_level(logging.WARNING):
        state, told = after(health.PATIENCE - 1, **values)
        assert told == [] and not caplog.records
        interrupted, _ = after(1, state)
        assert interrupted == health.Health()
        state, told = after(2 * health.PATIENCE, state, **values)
    assert told == [name]
    (record,) = caplog.records
    assert name in record.getMessage() and "config." in record.getMessage()


def test_what_is_no_collapse():
    # The whole rendered face is the mask of the warm-up; a batch of one has no spread.
    assert after(600, phase=Phase("warm-up", "autoencoder", 0, 0), mask=1.0)[1] == []
    assert after(600, photos=1, spread=0.0)[1] == []
    # Steps of the segmenter say nothing of the encoder, and do not interrupt the count.
    state, _ = after(health.PATIENCE - 1, spread=0.0)
    segmenter = health.Step(
        1, JOINT._replace(network="segmenter"), np.arange(4), {"finite": True, "mask": 0.5}
    )
    state, _ = health.watch(state, segmenter)
    assert after(1, state, spread=0.0)[1] == ["mean-face collapse"]


def test_skipped_updates_are_counted_in_a_row_and_in_all():
    state, _ = after(3, finite=False, mask=np.nan)
    assert (state.skipped, state.skipped_in_all) == (3, 3)
    state, _ = after(1, state)
    state, _ = after(2, state, finite=False)
    assert (state.skipped, state.skipped_in_all) == (2, 5)


def test_the_error_names_numbers_step_photos_and_checkpoint():
    step = health.Step(
        7, JOINT, np.array([1, 0]), {**GOOD, "finite": False, "photometric": np.inf, "loss": np.nan}
    )
    records = [{"filename": "a.jpg"}, {}]
    error = health.too_many_skipped(step, records, health.Health(6, 6), "runs/em/checkpoints/5")
    for part in (
        "loss, photometric not finite at step 7",
        "record 1",
        "a.jpg",
        "checkpoints/5",
        "6",
    ):
        assert part in str(error)


def test_the_operation_that_gave_a_nan_is_named():
    step = health.Step(3, JOINT, np.array([0]))
    endless = np.full((1, 4), np.inf, np.float32)
    message = (
        r"nan\) encountered in \w+ in \w+ \(focus_jax/losses.py:\d+: `.+`\) at step 3 .*: a.jpg"
    )
    with (
        jax.debug_nans(True),
        pytest.raises(FloatingPointError, match=message),
        health.naming_operation(step, [{"filename": "a.jpg"}]),
    ):
        jax.jit(losses.cosine)(endless, endless)
