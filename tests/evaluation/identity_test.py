import numpy as np
import pytest

from focus_jax.evaluation import identity


def test_separable_people_are_told_apart():
    people = np.eye(5)
    noise = 0.05 * np.random.default_rng(0).standard_normal((5, 5))
    found = identity.tell_apart(people, people + noise)
    assert found.people == 5 and found.auc == 1 and found.first_rank == 1
    assert found.same > 0.95 and abs(found.different) < 0.1


def test_photos_of_nobody_in_particular_are_chance():
    rng = np.random.default_rng(0)
    found = identity.tell_apart(*rng.standard_normal((2, 200, 40)))
    assert found.auc == pytest.approx(0.5, abs=0.06) and found.first_rank < 0.04


def test_lengths_do_not_count():
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 6, 10))
    longer = identity.tell_apart(first * rng.uniform(1, 9, (6, 1)), 7 * second)
    np.testing.assert_allclose(longer, identity.tell_apart(first, second))


def test_the_area_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    high, low = rng.normal(1, 1, 20), rng.normal(0, 1, 30)
    counted = (high[:, None] > low).mean()
    assert identity.auc(high, low) == pytest.approx(counted)
    assert identity.auc(low, high) == pytest.approx(1 - counted)
    assert identity.auc(np.ones(3), np.ones(4)) == pytest.approx(0.5)  # ties count half


def test_what_tells_nobody_apart_is_refused():
    with pytest.raises(ValueError, match="all zero"):
        identity.tell_apart(np.zeros((3, 4)), np.ones((3, 4)))
    with pytest.raises(ValueError, match="two people"):
        identity.tell_apart(np.ones((1, 4)), np.ones((1, 4)))
