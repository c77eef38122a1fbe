import numpy as np
import pytest

from focus_jax.face_models import arkit


@pytest.fixture(scope="module")
def units():
    """Units that move each a vertex of its own, and modes that mix them."""
    rng = np.random.default_rng(0)
    shapes = np.zeros((60, 3, 52), np.float32)
    shapes[np.arange(52), 1, np.arange(52)] = rng.uniform(1, 5, 52)
    return arkit.Units(shapes, np.abs(rng.normal(0, 0.1, (52, 52))).astype(np.float32))


def test_no_coefficients_are_the_neutral_face(units):
    np.testing.assert_allclose(arkit.weights(units, np.zeros(52)), 0, atol=1e-6)
    np.testing.assert_allclose(arkit.expression(units, np.zeros(52)), 0, atol=1e-6)


def test_weights_come_back(units):
    given = np.random.default_rng(1).uniform(0, 1, 52)
    code = arkit.expression(units, given, ridge=0)
    np.testing.assert_allclose(arkit.weights(units, code), given, atol=1e-3)


def test_weights_stay_between_nothing_and_all(units):
    found = arkit.weights(units, 100 * np.random.default_rng(2).normal(size=52))
    assert found.min() >= 0 and found.max() <= 1


def test_many_faces_have_the_weights_of_each(units):
    codes = np.random.default_rng(3).normal(size=(2, 3, 20))
    found = arkit.weights(units, codes)
    assert found.shape == (2, 3, 52)
    np.testing.assert_array_equal(found[1, 2], arkit.weights(units, codes[1, 2]))


def test_a_file_without_units_is_refused(tmp_path):
    np.savez(tmp_path / "plain.npz", format="focus_jax 1")
    with pytest.raises(ValueError, match="no ARKit units"):
        arkit.load_units(tmp_path / "plain.npz")


def test_no_faces_have_no_weights_and_other_numbers_are_refused(units, unchecked):
    assert arkit.weights(units, np.zeros((0, 20))).shape == (0, 52)
    modes = units.mixture.shape[1]
    with pytest.raises(ValueError, match=f"{modes + 1} expression .* have {modes} modes"):
        arkit.weights(units, np.zeros(modes + 1))
    with pytest.raises(ValueError, match=r"52 ARKit weights are needed, not \(51,\)"):
        arkit.expression(units, np.zeros(51))
