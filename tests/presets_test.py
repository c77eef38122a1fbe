"""Each point where the paper and its authors' code differ changes what it should, and only that.

Row numbers are those of `../shared/PAPER_VS_RELEASE.md`.
"""

import dataclasses
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from train_test import load_config

from experiments import ablation
from focus_jax import forward, presets, recognizer, updates
from focus_jax.encoder import small_encoder
from focus_jax.face_models import load_face_model
from focus_jax.optim import make_optimizer
from focus_jax.presets import PAPER, RELEASE
from focus_jax.schedule import Schedule, phase_at, terms_at
from focus_jax.segmenter import Segmenter
from focus_jax.train import fresh_optimizers, initial_state
from focus_jax.types import Batch

SIZE = 48
RATE = {"rate": 1.0, "decay": 1.0, "every": 1}
RATES = dict.fromkeys(("initialisation", "pretraining", "autoencoder", "segmenter"), RATE)
SCHEDULE = Schedule(warmup=0, initialisation=1, pretraining=1, joint=2, period=2, segmenter_steps=1)

# Field: its row, the other value, and the weighted terms that differ then.
ROWS = {
    "preserve": (1, 2.5, {"joint segmenter/preserve"}),
    "neighbour_window": (3, 3, {"joint segmenter/neighbour"}),
    "neighbour_search": (4, "rendering", {"joint segmenter/neighbour"}),
    "neighbour_squared": (5, True, {"joint segmenter/neighbour"}),
    "binary_squared": (6, True, {"joint segmenter/binary"}),
    "autoencoder_area": (8, 0.0, {"joint autoencoder/autoencoder_area"}),
    "photometric_squared": (9, True, {"joint autoencoder/photometric"}),
    "robust_deviations": (
        11,
        0.17**0.5 / 0.043,
        {"initialisation autoencoder/robust", "pre-training segmenter/pretraining"},
    ),
    "landmark_heavy": (
        12,
        20**0.5,
        {"initialisation autoencoder/landmark", "joint autoencoder/landmark"},
    ),
    "prior": (14, 0.1, {"initialisation autoencoder/prior", "joint autoencoder/prior"}),
    "prior_on_scene": (14, True, {"initialisation autoencoder/prior", "joint autoencoder/prior"}),
    "perceptual_features": (20, "shallow", {"joint autoencoder/perceptual"}),
    "normalize_width": (21, False, {"joint segmenter/distance", "joint segmenter/preserve"}),
    "double_sigmoid": (24, True, {"pre-training segmenter/pretraining"}),
}


@pytest.fixture(scope="module")
def face_model():
    return jax.tree.map(jnp.asarray, load_face_model("builtin", identity=4, expression=3, albedo=3))


@pytest.fixture(scope="module")
def method(face_model):
    return updates.Method(
        encoder=small_encoder(forward.widths(face_model).outputs),
        segmenter=Segmenter(width=2, stem="space_to_depth", dropout=0.0),
        encoder_optimizer=make_optimizer("adadelta"),
        segmenter_optimizer=make_optimizer("adadelta"),
        decoding=forward.Decoding(albedo_scale=1.0, depth_scale=30.0, translation_scale=10.0),
    )


@pytest.fixture(scope="module")
def scene(face_model, method):
    """A face, a photo of it with noise and a grey patch, and a segmenter."""
    sizes = forward.widths(face_model)
    raw = 0.3 * jax.random.normal(jax.random.key(1), (2, sizes.outputs))
    reconstruct = jax.jit(
        lambda raw, model: forward.reconstruct(
            forward.decode(raw, sizes, method.decoding), model, SIZE, SIZE
        )
    )
    face = reconstruct(raw, face_model)
    rng = np.random.default_rng(0)
    image = np.array(face.rendering.image) + rng.normal(0, 0.03, face.rendering.image.shape)
    image[:, 20:30, 14:34] += 0.15  # between the two thresholds of Eq. 10
    batch = Batch(
        image=jnp.asarray(image.clip(0, 1), jnp.float32),
        landmarks=face.landmarks + jnp.asarray(rng.normal(0, 1, (2, 68, 2)), jnp.float32),
        index=jnp.arange(2),
    )
    constants = updates.Constants(face_model, recognizer.load_recognizer("dlib"), jax.random.key(0))
    network = method.segmenter.init(jax.random.key(2), batch.image, batch.image)
    return face, batch, constants, network


def results(table, method, scene):
    """Weighted terms of every stage."""
    face, batch, constants, network = scene
    forms = {f.name: table[f.name] for f in dataclasses.fields(updates.LossForms)}
    method = dataclasses.replace(method, forms=updates.LossForms(**forms))
    found = {}
    mask, logits, _ = forward.segment(
        method.segmenter, network, face.rendering, batch.image, train=False
    )
    for step in range(SCHEDULE.total):
        phase, wanted = phase_at(step, SCHEDULE), terms_at(step, SCHEDULE, table, RATES)
        if phase.network == "autoencoder":
            terms, _ = updates.autoencoder_terms(method, constants, batch, face, network, wanted)
        else:
            terms = updates.segmenter_terms(
                method, constants, batch, face, mask, logits, wanted.weights
            )
        for name, weight in wanted.weights.items():
            found[f"{phase.stage} {phase.network}/{name}"] = weight * terms[name]
    return jax.device_get(found)


@pytest.fixture(scope="module", autouse=True)
def compiled_recognizer():
    """The terms are computed without compiling them for each row, but not this large network."""
    with pytest.MonkeyPatch.context() as patch:
        compiled = jax.jit(recognizer.features, static_argnames=("kind", "shallow_only"))
        patch.setattr(recognizer, "features", compiled)
        yield


@pytest.fixture(scope="module")
def release(method, scene):
    return results(RELEASE, method, scene)


def differing(a, b):
    names = a.keys() | b.keys()
    zero = np.zeros(())
    return {
        n for n in names if not np.allclose(a.get(n, zero), b.get(n, zero), rtol=1e-3, atol=1e-9)
    }


def test_every_field_that_differs_has_a_row_below():
    fields = {name for name in RELEASE if PAPER[name] != RELEASE[name]}
    assert PAPER.keys() == RELEASE.keys()
    # Two are choices that neither preset takes: the later container's, and a mistake mended.
    extra = {"perceptual_features", "double_sigmoid"}
    # Row 8, the detached mask, changes no value but a gradient: tests/updates_test.py has it.
    assert set(ROWS) == (fields | extra) - {"detach_mask"}
    for name in fields - {"detach_mask"}:
        assert PAPER[name] == ROWS[name][1]


def test_the_release_computes_every_term(release):
    assert len(release) == 17
    for name, value in release.items():
        # The photometric terms of the initialisation have no weight there.
        unused = name.startswith("initialisation") and name.split("/")[1] in (
            "photometric",
            "autoencoder_area",
        )
        unused = unused or name == "joint autoencoder/robust"
        assert np.isfinite(value).all() and np.any(value) != unused, name


@pytest.mark.parametrize("field", ROWS)
def test_a_row_changes_its_terms_and_no_others(field, release, method, scene):
    _, value, expected = ROWS[field]
    assert RELEASE[field] != value
    assert differing(release, results({**RELEASE, field: value}, method, scene)) == expected


def test_the_numbers_of_the_rows():
    def threshold(table):
        return (table["robust_deviations"] * table["robust_sigma"]) ** 2

    np.testing.assert_allclose([threshold(RELEASE), threshold(PAPER)], [0.01664, 0.17], rtol=1e-3)
    heavy = [table["landmark_heavy"] ** 2 for table in (RELEASE, PAPER)]
    np.testing.assert_allclose(heavy, [400, 20])
    np.testing.assert_allclose([RELEASE["prior"] * 224, PAPER["prior"]], 0.1)
    for table in (RELEASE, PAPER):
        weights = [table[k] for k in ("neighbour", "distance", "area", "binary")]
        assert weights == [15, 3, 0.5, 10]  # row 2
        assert [table[k] for k in ("photometric", "perceptual", "landmark")] == [0.5, 0.25, 5e-4]


def test_rates_and_periods_of_the_two_readings():
    release, paper = load_config("celeba_bfm2017"), load_config("celeba_bfm2017", "paper")
    start = 330_000  # of the joint stage

    def rate(config, step):
        schedule = Schedule(**config.schedule)
        return terms_at(step, schedule, config.losses, config.rates).learning_rate

    # Row 30: the release goes on from a rate that has decayed, the paper begins anew.
    assert phase_at(start, Schedule(**release.schedule)).stage == "joint"
    np.testing.assert_allclose(rate(release, start + 6000), 0.1 * 0.99**60 * 0.8 * 0.99, rtol=1e-4)
    np.testing.assert_allclose(rate(paper, start + 6000), 0.1 * 0.99, rtol=1e-4)
    np.testing.assert_allclose(rate(release, start), 0.06 * 0.1 * 0.99**60 * 0.8, rtol=1e-3)
    np.testing.assert_allclose(rate(paper, start), 0.006, rtol=1e-4)
    # Row 31: the segmenter's decay of every 5000 steps.
    later = start + 30_000
    np.testing.assert_allclose(rate(release, later) / rate(release, start), 0.95**6, rtol=1e-4)
    np.testing.assert_allclose(rate(paper, later) / rate(paper, start), 0.99**6, rtol=1e-4)
    # Row 33: 5001 and 24,999, or 5000 and 25,000.
    for config, steps in ((release, 5001), (paper, 5000)):
        schedule = Schedule(**config.schedule)
        networks = [phase_at(start + i, schedule).network for i in (0, steps - 1, steps, 29_999)]
        assert networks == ["segmenter"] * 2 + ["autoencoder"] * 2


def test_the_settings_that_both_readings_share():
    for arguments in ("", "paper"):
        config = load_config("celeba_bfm2017", arguments)
        # Rows 27 to 29: iterations counted, not epochs. Row 35: whole batches of twelve.
        schedule = Schedule(**config.schedule)
        assert (schedule.initialisation, schedule.pretraining) == (300_000, 30_000)
        assert (schedule.joint, schedule.period, schedule.warmup) == (200_000, 30_000, 0)
        assert config.data.batch_size == 12 and config.data.size == 224

        def rate(step, schedule=schedule, config=config):
            return terms_at(step, schedule, config.losses, config.rates).learning_rate

        steps = (0, 4_999, 5_000, 300_000, 329_999)
        expected = [0.1, 0.1, 0.099, 0.03, 0.03]  # row 27: the pre-training's does not decay
        np.testing.assert_allclose([rate(step) for step in steps], expected, rtol=1e-5)
        # Row 15: 80 + 64 + 80 coefficients, 6 of pose, 27 of light, and their scales.
        sizes = forward.Widths(**config.face_model.modes)
        assert sizes.outputs == 257
        assert forward.Decoding(**config.decoding) == forward.Decoding(3.0, 0.3, 0.005, 1.0)
        # Row 22; row 16 has no field: the encoder's last layer begins at zero, and its input is
        # the image in [0, 1] (tests/encoder_test.py, parity in tests/weights_torch_test.py).
        assert config.encoder.kind == "resnet50"
        assert dict(config.segmenter) == {"width": 64, "stem": "authors", "dropout": 0.5}
        # Row 32, without clipping or decay; rows 18, 20 and 49.
        for network in ("autoencoder", "segmenter"):
            assert dict(config.optimizer[network]) == {
                "name": "adadelta", "clip": 0.0, "weight_decay": 0.0
            }  # fmt: skip
        assert not config.rasterizer.renormalize_normals and config.recognizer.align_corners
        assert config.losses.perceptual_features == "deep"
        assert config.data.augment and not config.data.paste  # row 42


def test_each_stage_begins_with_new_moments(face_model, method, scene):
    """Row 32: the first step of a stage is that of an optimizer that has seen nothing."""
    _, batch, _, _ = scene
    state = initial_state(method, face_model, batch, 0)
    used = jax.tree.map(lambda x: x + 1, (state.encoder_optimizer, state.segmenter_optimizer))
    changed = dataclasses.replace(
        state, encoder_optimizer=used[0], segmenter_optimizer=used[1], step=state.step + 7
    )
    fresh = fresh_optimizers(changed, method)
    jax.tree.map(np.testing.assert_array_equal, fresh.encoder_optimizer, state.encoder_optimizer)
    jax.tree.map(
        np.testing.assert_array_equal, fresh.segmenter_optimizer, state.segmenter_optimizer
    )
    assert int(fresh.step) == 7 and fresh.encoder is changed.encoder


def test_the_chips_corners_are_a_choice(method, scene):
    """Row 49, which is ArcFace's alone: what its network sees moves by half a pixel."""
    face, batch, constants, _ = scene
    seen = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recognizer, "features", lambda variables, chips, **_: chips)
        for aligned in (True, False):
            changed = dataclasses.replace(
                method, recognizer="arcface_r50", chip_size=-1, chip_align_corners=aligned
            )
            seen[aligned] = updates._recognize(
                changed, constants, batch.image, face.landmarks, shallow=True
            )
    assert seen[True].shape == (2, 112, 112, 3)
    assert 1e-3 < jnp.abs(seen[True] - seen[False]).mean() < 0.1


@pytest.mark.parametrize(
    ("variant", "left"),
    [
        ("full", {"neighbour", "distance", "area", "preserve", "binary"}),
        ("perceptual", {"distance", "area", "preserve", "binary"}),
        ("neighbour", {"neighbour", "area", "binary"}),
        ("baseline", {"neighbour", "area", "binary"}),
    ],
)
def test_the_ablations_segmentation_losses(variant, left, release, method, scene):
    """Row 51: every variant of the paper's Table 5 is a setting of named fields."""
    (chosen,) = [v for v in ablation.LEARNT if v.name == variant]
    fields = {name.removeprefix("losses."): value for name, value in chosen.fields}
    found = results(RELEASE | fields, method, scene)
    joint = {n.split("/")[1] for n in found if n.startswith("joint segmenter/")}
    assert joint == left
    same = "joint segmenter/neighbour" not in differing(found, release)
    assert same == (variant in ("full", "neighbour"))


def test_normals_can_be_renormalized(scene):
    face, _, constants, _ = scene  # row 18
    short = face.rendering
    unit = jax.jit(
        lambda code, model: (
            forward.reconstruct(code, model, SIZE, SIZE, renormalize_normals=True).rendering
        )
    )(face.code, constants.face_model)
    np.testing.assert_array_equal(short.coverage, unit.coverage)
    assert jnp.abs(short.image - unit.image).max() > 1e-3


def test_a_preset_is_named_and_the_papers_threshold_warned_of(caplog):
    with caplog.at_level(logging.WARNING):
        assert dict(presets.losses("release")) == RELEASE and not caplog.records
        assert dict(presets.losses("paper")) == PAPER
    assert "misprint" in caplog.text
    with pytest.raises(ValueError, match="preset must be one of"):
        presets.losses("docker")
