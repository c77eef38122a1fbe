"""Each point where the paper and its authors' code differ changes what it should, and only that.

Row numbers are those of `../shared/PAPER_VS_RELEASE.md`.
"""

import dataclasses
import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import ablation
from focus_jax import forward
from focus_jax.face_models import load_face_model
from focus_jax.networks.encoder import Encoder
from focus_jax.networks.segmenter import Segmenter
from focus_jax.rendering.render import Drawing
from focus_jax.training import presets, updates
from focus_jax.training.optim import make_optimizer
from focus_jax.training.presets import PAPER, RELEASE
from focus_jax.training.schedule import Schedule, phase_at, terms_at
from focus_jax.training.train import fresh_optimizers, initial_state
from focus_jax.types import Batch
from focus_jax.weights import recognizer

SIZE = 48
RATE = {"rate": 1.0, "decay": 1.0, "every": 1}
RATES = dict.fromkeys(("initialisation", "pretraining", "autoencoder", "segmenter"), RATE)
SCHEDULE = Schedule(warmup=0, initialisation=1, pretraining=1, joint=2, period=2, segmenter_steps=1)

SEGMENTATION = ("neighbour", "distance", "area", "preserve", "binary")

# Field: its row, the other value, and the weighted terms that differ then.
ROWS = {
    "initial_photometric": (10, 0.5, {"initialisation autoencoder/photometric"}),
    "robust": (10, 0.0, {"initialisation autoencoder/robust"}),
    "initial_perceptual": (10, 0.0, {"initialisation autoencoder/perceptual"}),
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
    "perceptual_features": (
        20,
        "shallow",
        {"initialisation autoencoder/perceptual", "joint autoencoder/perceptual"},
    ),
    "normalize_width": (21, False, {"joint segmenter/distance", "joint segmenter/preserve"}),
    "composited": (
        23,
        True,
        {
            "pre-training segmenter/pretraining",
            *(f"joint segmenter/{n}" for n in SEGMENTATION),
            "initialisation autoencoder/perceptual",
            *(f"joint autoencoder/{n}" for n in ("photometric", "perceptual", "autoencoder_area")),
        },
    ),
    "double_sigmoid": (24, True, {"pre-training segmenter/pretraining"}),
    "pretraining_bgr": (25, True, {"pre-training segmenter/pretraining"}),
}


@pytest.fixture(scope="module")
def face_model():
    return jax.tree.map(jnp.asarray, load_face_model("builtin", identity=4, expression=3, albedo=3))


@pytest.fixture(scope="module")
def method(face_model):
    return updates.Method(
        forward.Networks(
            encoder=Encoder(
                forward.widths(face_model).outputs,
                stage_sizes=(1,),
                width=4,
                bottleneck=False,
                large_stem=False,
            ),
            segmenter=Segmenter(width=2, stem="space_to_depth", dropout=0.0),
            decoding=forward.Decoding(albedo_scale=1.0, depth_scale=30.0, translation_scale=10.0),
        ),
        encoder_optimizer=make_optimizer("adadelta"),
        segmenter_optimizer=make_optimizer("adadelta"),
    )


@pytest.fixture(scope="module")
def scene(face_model, method):
    """A face, a photo of it with noise and a grey patch, and a segmenter."""
    sizes = forward.widths(face_model)
    raw = 0.3 * jax.random.normal(jax.random.key(1), (2, sizes.outputs))
    reconstruct = jax.jit(
        lambda raw, model: forward.reconstruct(
            forward.decode(raw, sizes, method.networks.decoding), model, SIZE, SIZE
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
    network = jax.jit(method.networks.segmenter.init)(jax.random.key(2), batch.image, batch.image)
    head = network["params"]["head"]  # as if it had learnt: what it sees decides
    head["kernel"] = 500 * head["kernel"]
    return face, batch, constants, network


# Choices among formulas that concern what a finished model does, too.
OF_NETWORKS = ("composited", "robust_sigma", "robust_deviations")


def results(table, method, scene):
    """Weighted terms of every stage."""
    face, batch, constants, network = scene
    forms = {f.name: table[f.name] for f in dataclasses.fields(updates.LossForms)}
    networks = dataclasses.replace(method.networks, **{name: table[name] for name in OF_NETWORKS})
    method = dataclasses.replace(method, networks=networks, forms=updates.LossForms(**forms))
    found = {}
    for step in range(SCHEDULE.total):
        phase, wanted = phase_at(step, SCHEDULE), terms_at(step, SCHEDULE, table, RATES)
        if phase.network == "autoencoder":
            terms, _ = updates.autoencoder_terms(method, constants, batch, face, network, wanted)
        else:
            pictures = updates.shown(
                method,
                face.rendering,
                batch.image,
                pretraining=phase.stage == "pre-training",
            )
            mask, logits, _ = forward.segment(
                method.networks.segmenter, network, *pictures, train=False
            )
            terms = updates.segmenter_terms(
                method, constants, batch, face, mask, logits, wanted.weights
            )
        for name, weight in wanted.weights.items():
            found[f"{phase.stage} {phase.network}/{name}"] = weight * terms[name]
    return jax.device_get(found)


@pytest.fixture(scope="module", autouse=True)
def compiled_networks():
    """The terms are computed without compiling them for each row, but not the large networks."""
    with pytest.MonkeyPatch.context() as patch:
        compiled = jax.jit(recognizer.features, static_argnames=("kind", "shallow_only"))
        patch.setattr(updates.recognizer, "features", compiled)
        compiled = jax.jit(forward.segment, static_argnames=("segmenter", "train", "dtype"))
        patch.setattr(forward, "segment", compiled)
        yield


@pytest.fixture(scope="module")
def release(method, scene):
    return results(RELEASE, method, scene)


def differing(a, b):
    names = a.keys() | b.keys()
    zero = np.zeros(())
    return {
        n for n in names if not np.allclose(a.get(n, zero), b.get(n, zero), rtol=2e-5, atol=1e-9)
    }


def test_every_field_that_differs_has_a_row_below():
    fields = {name for name in RELEASE if PAPER[name] != RELEASE[name]}
    assert PAPER.keys() == RELEASE.keys()
    # Choices that neither preset takes: the later container's, mistakes mended, and a costly term.
    extra = {"perceptual_features", "composited", "double_sigmoid", "pretraining_bgr"}
    extra |= {"initial_perceptual"}
    # Row 8, the detached mask, changes no value but a gradient: updates_test.py has it.
    assert set(ROWS) == (fields | extra) - {"detach_mask"}
    for name in fields - {"detach_mask"}:
        assert PAPER[name] == ROWS[name][1]


def test_the_release_computes_every_term(release):
    assert len(release) == 18
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


def test_each_stage_begins_with_new_moments(face_model, method, scene):
    """Row 32: the first step of a stage is that of an optimizer that has seen nothing."""
    _, batch, _, _ = scene
    state = initial_state(method, face_model, batch, 0)
    used = jax.tree.map(
        lambda x: np.asarray(x) + 1, (state.encoder_optimizer, state.segmenter_optimizer)
    )
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
        patch.setattr(updates.recognizer, "features", lambda variables, chips, **_: chips)
        for aligned in (True, False):
            networks = dataclasses.replace(method.networks, recognizer="arcface_r50")
            changed = dataclasses.replace(
                method, networks=networks, chip_size=-1, chip_align_corners=aligned
            )
            look = jax.jit(functools.partial(updates._recognize, changed, constants, shallow=True))
            seen[aligned] = look(batch.image, face.landmarks)
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


@pytest.mark.parametrize(
    ("drawing", "difference"),
    [
        (Drawing(renormalize_normals=True), 1e-2),  # row 18
        (Drawing(perspective=True), 1e-5),  # row 19; triangles are small and far away
        (Drawing(samples=3), 1e-2),
    ],
)
def test_faces_can_be_drawn_otherwise(drawing, difference, scene):
    face, _, constants, _ = scene
    before = face.rendering
    after = jax.jit(
        lambda code, model: forward.reconstruct(code, model, SIZE, SIZE, drawing=drawing).rendering
    )(face.code, constants.face_model)
    inside = (before.coverage == 1) & (after.coverage == 1)
    assert np.abs(np.where(inside, after.image - before.image, 0)).max() > difference
    hard = np.isin(after.coverage, [0, 1])
    if drawing.samples == 1:
        np.testing.assert_array_equal(after.coverage, before.coverage)
    else:  # only at the edges, which a small face has many of
        assert 0.01 < np.mean(~hard) < 0.2
        np.testing.assert_array_equal(hard & (after.coverage != before.coverage), False)


def test_each_pictures_chip_is_cut_by_its_own_landmarks(method, scene):
    """As in the release: the photo's by the given ones, the rendering's by the face's."""
    face, batch, constants, network = scene
    method = dataclasses.replace(method, chip_size=32)
    cut = []

    def warp(image, landmarks, **_):
        cut.append(np.asarray(landmarks))
        return image

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(updates.recognizer, "warp_face", warp)
        wanted = terms_at(3, SCHEDULE, RELEASE, RATES)
        updates.autoencoder_terms(method, constants, batch, face, network, wanted)
        np.testing.assert_array_equal(cut, [batch.landmarks, face.landmarks])
        cut.clear()
        mask, weights = face.rendering.coverage, terms_at(2, SCHEDULE, RELEASE, RATES).weights
        updates.segmenter_terms(method, constants, batch, face, mask, mask, weights)
        assert [len(points) for points in cut] == [4, 2]
        np.testing.assert_array_equal(cut[0], np.concatenate([batch.landmarks, face.landmarks]))
        np.testing.assert_array_equal(cut[1], batch.landmarks)


def test_the_prior_on_the_scene_is_of_the_codes_own_light(face_model):
    sizes = forward.widths(face_model)
    raw = np.zeros((1, sizes.outputs), np.float32)
    raw[0, -27:] = np.arange(27)
    code = forward.decode(jnp.asarray(raw), sizes, forward.Decoding())
    np.testing.assert_allclose(forward.without_ambient(code.light), raw[:, -27:], atol=1e-5)
    assert jnp.abs(code.light - raw[:, -27:]).max() > 4


def test_a_preset_is_named_and_the_papers_threshold_warned_of(caplog):
    with caplog.at_level(logging.WARNING):
        assert dict(presets.losses("release")) == RELEASE and not caplog.records
        assert dict(presets.losses("paper")) == PAPER
    assert "misprint" in caplog.text
    with pytest.raises(ValueError, match="preset must be one of"):
        presets.losses("docker")
