import jax
import numpy as np
import pytest

from experiments.average_segmenters import between, main
from focus_jax.weights.run import load_trained


@pytest.fixture(scope="module")
def own():
    return load_trained("shipped").variables["segmenter"]


def test_the_average_with_itself_is_itself_but_for_the_bias(own):
    found = between("shipped", "shipped", 0.3, 0.25)
    np.testing.assert_allclose(
        found["params"]["smooth"]["bias"], own["params"]["smooth"]["bias"] + 0.25, atol=1e-2
    )
    found["params"]["smooth"]["bias"] = own["params"]["smooth"]["bias"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-6), found, own)


def test_what_is_wrong_is_said_in_a_sentence(tmp_path, capsys):
    assert main(["shipped", "shipped", str(tmp_path / "out"), "--share", "2"]) == 2
    assert "--share is a part from 0 to 1, not 2" in capsys.readouterr().err
    assert main(["shipped", str(tmp_path), str(tmp_path / "out")]) == 2
    assert "is not a trained model" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
