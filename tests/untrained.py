"""How the tests fit faces without a trained model: all alike, so that they share programs."""

import pytest
import short_recognizer

from focus_jax.photos import inference, trained


def make_small(patch: pytest.MonkeyPatch) -> None:
    """Few modes, pixels, steps and layers for the model `none`. Batches are of 2."""
    short_recognizer.shorten(patch)
    patch.setattr(trained, "UNTRAINED_MODES", {"identity": 3, "expression": 2, "albedo": 2})
    patch.setattr(trained, "UNTRAINED_SIZE", 32)
    patch.setattr(inference, "START_STEPS", 10)
