"""A segmenter of more channels and the same masks."""

import jax
import numpy as np
import pytest

from experiments import widen_segmenter
from focus_jax.networks.segmenter import Segmenter
from focus_jax.weights.run import load_trained
from tests.runs import untrained


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


def test_fine_channels_say_nothing_at_first():
    rng = np.random.default_rng(0)
    pictures = rng.random((2, 1, 32, 32, 3), np.float32)
    settings = {"width": 4, "stem": "space_to_depth"}
    variables = jax.jit(Segmenter(**settings).init)(jax.random.key(0), *pictures)
    made = widen_segmenter.finer(variables, settings | {"fine": 3}, 0)
    masks = [
        jax.jit(network.apply)(given, *pictures)
        for network, given in (
            (Segmenter(**settings), variables),
            (Segmenter(**settings, fine=3), made),
        )
    ]
    np.testing.assert_array_equal(*masks)
    assert np.ptp(made["params"]["fine"]["conv1"]["kernel"]) > 0  # or they could never learn


def test_an_export_says_its_channels(tmp_path, capsys):
    model, wide = str(untrained(tmp_path / "model")), str(tmp_path / "wide")
    given = ["--times=2", "--fine=3"]
    assert widen_segmenter.main([model, wide, *given]) == 0
    told = capsys.readouterr().out
    made = load_trained(wide).config.segmenter  # which fits its arrays, or it would be refused
    assert "--config.segmenter.width=4 --config.segmenter.fine=3" in told
    assert (made.width, made.fine) == (4, 3)
    for arguments, why in (
        ([model, wide, *given], "exists"),
        ([model, str(tmp_path / "other")], "at least 2"),
        ([wide, str(tmp_path / "other"), "--times=2"], "cannot be multiplied"),
    ):
        assert widen_segmenter.main(arguments) == 2
        assert why in capsys.readouterr().err
