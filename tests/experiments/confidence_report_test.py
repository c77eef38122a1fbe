import numpy as np
import pytest

from experiments.confidence_report import area


def test_the_area_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    values, wrong = rng.integers(0, 9, 60).astype(float), rng.uniform(size=60) < 0.3
    pairs = values[wrong][:, None] - values[~wrong]
    expected = ((pairs < 0) + 0.5 * (pairs == 0)).mean()  # equal ones count half
    assert area(values, wrong) == pytest.approx(expected)
    assert area(-1.0 * wrong, wrong) == 1 and area(1.0 * wrong, wrong) == 0
    assert area(np.ones(60), wrong) == 0.5
