import dataclasses

import numpy as np
import pytest

from focus_jax.training.presets import PAPER, RELEASE
from focus_jax.training.schedule import Schedule, phase_at, terms_at

PUBLISHED = Schedule(
    warmup=0,
    initialisation=300_000,
    pretraining=30_000,
    joint=200_000,
    period=30_000,
    segmenter_steps=5_001,
)
SMALL = Schedule(warmup=3, initialisation=4, pretraining=2, joint=10, period=5, segmenter_steps=2)
RATES = {
    name: {"rate": 0.1, "decay": 0.5, "every": 2}
    for name in ("initialisation", "pretraining", "autoencoder", "segmenter")
}


def test_renderings_come_first_and_move_the_rest():
    later = dataclasses.replace(SMALL, renderings=3)
    told = {**RELEASE, "coefficients": 2.0}
    assert later.total == SMALL.total + 3
    for step in range(later.total):
        phase, terms = phase_at(step, later), terms_at(step, later, told, RATES)
        if step < 3:
            assert phase[:3] == ("renderings", "autoencoder", 0)
            assert terms.weights == {"coefficients": 2.0}
        else:
            before = phase_at(step - 3, SMALL)
            assert phase == before._replace(start=before.start + 3)
            assert terms == terms_at(step - 3, SMALL, told, RATES)
    assert later.without_masks().renderings == 3


def test_every_stage_has_its_length_and_its_network():
    phases = [phase_at(step, SMALL) for step in range(SMALL.total)]
    assert [p.stage for p in phases] == (
        ["warm-up"] * 3 + ["initialisation"] * 4 + ["pre-training"] * 2 + ["joint"] * 10
    )
    networks = "".join(p.network[0] for p in phases)
    assert networks == "aaa" + "aaaa" + "ss" + "ssaaa" * 2
    assert [p.round for p in phases[-10:]] == [0] * 5 + [1] * 5
    assert phase_at(SMALL.total, SMALL).stage == "done"


@pytest.mark.parametrize(
    ("step", "network"),
    [(0, "segmenter"), (5_000, "segmenter"), (5_001, "autoencoder"), (30_000, "segmenter")],
)
def test_the_published_periods_begin_with_the_segmenter(step, network):
    assert phase_at(330_000 + step, PUBLISHED).network == network


def test_without_masks_keeps_the_autoencoder_steps():
    plain = SMALL.without_masks()
    steps = [phase_at(step, plain).network for step in range(plain.total)]
    assert steps == ["autoencoder"] * (3 + 4 + 6)


def test_terms_name_what_counts():
    warm = terms_at(0, SMALL, RELEASE, RATES)
    assert warm.weights["photometric"] > 0 == warm.weights["robust"]
    assert warm.robust == 0 and not warm.segmenter_mask
    cheap = {**RELEASE, "initial_perceptual": 0.0}
    initial = terms_at(3, SMALL, cheap, RATES)
    assert initial.weights["robust"] > 0 == initial.weights["photometric"]
    assert initial.robust == 1 and not initial.segmenter_mask
    # Costly terms are absent, so that their programs do not hold them.
    assert warm.weights.keys() == initial.weights.keys() and "perceptual" not in warm.weights
    assert terms_at(7, SMALL, RELEASE, RATES).weights["pretraining"] == 1
    joint = terms_at(9, SMALL, RELEASE, RATES)
    assert {k: float(v) for k, v in joint.weights.items()} == pytest.approx(
        {
            "neighbour": 15,
            "distance": 3,
            "area": 0.5,
            "preserve": 0.25,
            "binary": 10,
        }
    )
    fitting = terms_at(11, SMALL, RELEASE, RATES)
    assert fitting.segmenter_mask and fitting.weights["perceptual"] > 0
    # The release looks through the recognizer in the initialisation, too; the text has Eq. 5 there.
    published = terms_at(3, SMALL, RELEASE, RATES).weights
    assert published["perceptual"] == 0.25 and published["robust"] == 0.5
    text = terms_at(3, SMALL, PAPER, RATES)
    assert text.robust == 1 and text.weights["robust"] == 0 and text.weights["photometric"] == 0.5
    unmasked = terms_at(3, SMALL, RELEASE, RATES, masks=False)
    assert unmasked.weights["photometric"] > 0 == unmasked.weights["robust"]
    assert unmasked.robust == 0
    assert not terms_at(11, SMALL, RELEASE, RATES, masks=False).segmenter_mask


def test_known_coefficients_count_wherever_the_autoencoder_learns():
    told = {**RELEASE, "coefficients": 2.0}
    for step in range(SMALL.total):
        learns = phase_at(step, SMALL).network == "autoencoder"
        weights = terms_at(step, SMALL, told, RATES).weights
        assert weights.get("coefficients", 0) == (2.0 if learns else 0)
        # Without a weight there is no term, so that no renderings are asked for.
        assert "coefficients" not in terms_at(step, SMALL, RELEASE, RATES).weights


def test_rates_decay_in_steps_of_their_stage():
    rates = [float(terms_at(s, SMALL, RELEASE, RATES).learning_rate) for s in range(SMALL.total)]
    np.testing.assert_allclose(rates[:7], [0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.0125])
    np.testing.assert_allclose(rates[7:9], 0.1)
    np.testing.assert_allclose(rates[9:13], [0.1, 0.1, 0.05, 0.05])


def test_true_masks_are_used_in_every_stage_and_no_others():
    schedule = Schedule(2, 2, 0, 4, 4, 0)
    rate = {"rate": 1.0, "decay": 1.0, "every": 10}
    rates = dict.fromkeys(("initialisation", "pretraining", "autoencoder", "segmenter"), rate)
    for step in range(schedule.total):
        terms = terms_at(step, schedule, RELEASE, rates, true_masks=True)
        assert terms.true_mask and not terms.segmenter_mask and terms.robust == 0
        assert terms.weights["photometric"] > 0 and terms.weights["robust"] == 0
    assert not terms_at(0, schedule, RELEASE, rates).true_mask
