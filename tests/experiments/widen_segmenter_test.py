"""A wider segmenter of the same masks."""

import jax
import numpy as np
import pytest

from experiments import widen_segmenter
from focus_jax.networks.segmenter import Segmenter
from focus_jax.weights.run import load_trained


@pytest.mark.parametrize("stem", ["authors", "space_to_depth"])
def test_the_function_is_the_same(stem):
    rng = np.random.default_rng(0)
    pictures = rng.random((2, 1, 32, 32, 3), np.float32)
    narrow = Segmenter(2, stem, 0.0)
    variables = jax.jit(narrow.init)(jax.random.key(0), *pictures)
    # Statistics as training leaves them, not those of the start.
    variables = jax.tree.map(lambda x: x + 0.1 * rng.random(x.shape, np.float32), variables)
    made = widen_segmenter.widened(variables, 3, rng)
    masks = [
        jax.jit(network.apply)(given, *pictures)
        for network, given in ((narrow, variables), (Segmenter(6, stem, 0.0), made))
    ]
    np.testing.assert_allclose(*masks, rtol=1e-4, atol=1e-4)
    kernel = made["params"]["down2"]["conv1"]["kernel"]
    assert np.ptp(kernel[:, :, :3], axis=2).min() > 0  # or copies would learn the same


def test_an_export_says_its_width(tmp_path, capsys):
    assert widen_segmenter.main(["shipped", str(tmp_path / "wide")]) == 0
    told = int(capsys.readouterr().out.rpartition("=")[2])
    assert load_trained(str(tmp_path / "wide")).config.segmenter.width == told
    assert widen_segmenter.main(["shipped", str(tmp_path / "wide")]) == 2
    assert "exists" in capsys.readouterr().err
    assert widen_segmenter.main(["shipped", str(tmp_path / "other"), "--times=1"]) == 2
    assert "at least 2" in capsys.readouterr().err
