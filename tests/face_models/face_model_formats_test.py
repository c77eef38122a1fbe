"""Every format, written small in its real layout: the rest of the project notices no difference."""

import dataclasses
import pickle

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import short_recognizer
from face_model_files import (
    chosen,
    face,
    flame_embedding,
    write_bfm,
    write_crop,
    write_flame,
    write_flame_albedo,
    write_ict,
    write_ict_npz,
    write_merged_2009,
    write_original_2009,
)
from scipy.spatial import KDTree

from focus_jax import forward
from focus_jax.commands.face_model import main as face_models_main
from focus_jax.face_models import fitting, load_face_model, npz
from focus_jax.networks.encoder import Encoder
from focus_jax.networks.segmenter import Segmenter
from focus_jax.training import updates
from focus_jax.training.schedule import Schedule, terms_at
from focus_jax.training.train import initial_state, make_method, train
from focus_jax.types import REGIONS, Batch
from focus_jax.weights import recognizer
from tests.training.train_test import load_config, one_device

__all__ = ["one_device"]  # a fixture that every test here uses


def focus_jax_npz(folder):
    triangles = chosen()[1]
    builtin = load_face_model("builtin", identity=6, expression=5, albedo=4)
    # The head's vertices are the built-in face's, but for what the tests add at its border.
    kept = np.asarray(KDTree(builtin.shape_mean).query(face().vertices)[1])
    fields = ("shape_mean", "identity_basis", "expression_basis", "albedo_mean", "albedo_basis")
    model = dataclasses.replace(
        builtin, **{f: getattr(builtin, f)[kept] for f in (*fields, "region", "uv")},
        triangles=triangles,
        landmark_vertices=np.repeat(face().landmarks[:, None], 3, axis=1),
        landmark_weights=np.tile(np.array([1, 0, 0], np.float32), (68, 1)),
        dense_landmark_vertices=None,
        dense_landmark_weights=None,
    )  # fmt: skip
    npz.write(folder / "model.npz", model)
    return folder / "model.npz"


def bfm(folder):
    write_bfm(folder / "model2017-1_bfm_nomouth.h5")
    return folder / "model2017-1_bfm_nomouth.h5"


def bfm_with_the_authors_crop(folder):
    write_crop(folder / "idxes_crop.pkl")
    return bfm(folder)


def bfm_2009_merged(folder):
    write_merged_2009(folder / "BFM_model_front.mat")
    return folder / "BFM_model_front.mat"


def bfm_2009(folder):
    write_original_2009(folder / "01_MorphableModel.mat")
    return folder / "01_MorphableModel.mat"


def flame(folder):
    write_flame(folder / "generic_model.pkl")
    return folder / "generic_model.pkl"


def flame_with_companions(folder):
    write_flame_albedo(folder)
    embedding = pickle.dumps(flame_embedding())
    (folder / "flame_static_embedding_68.pkl").write_bytes(embedding)
    write_flame(folder / "flame2023.npz")
    return folder / "flame2023.npz"


def ict_folder(folder):
    write_ict(folder / "FaceXModel")
    return folder


def ict_npz(folder):
    write_ict_npz(folder / "ict_facekit.npz")
    return folder / "ict_facekit.npz"


FORMATS = (
    focus_jax_npz,
    bfm,
    bfm_with_the_authors_crop,
    bfm_2009_merged,
    bfm_2009,
    flame,
    flame_with_companions,
    ict_folder,
    ict_npz,
)


@pytest.fixture(scope="module", params=FORMATS, ids=lambda write: write.__name__)
def path(request, tmp_path_factory):
    return request.param(tmp_path_factory.mktemp(request.param.__name__))


@pytest.fixture(scope="module")
def model(path):
    return load_face_model(path, identity=4, expression=3, albedo=3)


def test_it_is_a_face_where_all_faces_are(model):
    builtin = load_face_model("builtin")
    gap = fitting.landmark_points(model) - fitting.landmark_points(builtin)
    gap = np.linalg.norm(gap, axis=1)  # millimetres
    assert gap.mean() < 2.0 and gap.max() < 6.0
    a, b, c = (model.shape_mean[model.triangles[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    assert normals[:, 2].sum() > 0.4 * np.linalg.norm(normals, axis=1).sum()


def test_everything_has_its_shape_type_and_range(model):
    v = len(model.shape_mean)
    shapes = {
        "identity_basis": (v, 3, 4), "expression_basis": (v, 3, 3), "albedo_mean": (v, 3),
        "albedo_basis": (v, 3, 3), "landmark_vertices": (68, 3), "landmark_weights": (68, 3),
        "region": (v,), "uv": (v, 2),
    }  # fmt: skip
    for field, shape in shapes.items():
        assert getattr(model, field).shape == shape, field
        kind = np.int32 if field in ("landmark_vertices", "region") else np.float32
        assert getattr(model, field).dtype == kind, field
    assert model.shape_mean.dtype == np.float32 and model.triangles.dtype == np.int32
    np.testing.assert_array_equal(np.unique(model.triangles), np.arange(v))
    for field in ("albedo_mean", "uv"):
        assert getattr(model, field).min() >= 0 and getattr(model, field).max() <= 1, field
    assert model.name and model.licence and model.units == "mm"


def test_the_whole_mesh_holds_the_face_and_coefficients_mean_the_same(path, model):
    whole = load_face_model(path, identity=4, expression=3, albedo=3, mesh="full")
    distance, vertex = KDTree(whole.shape_mean).query(model.shape_mean)
    assert np.max(distance) < 1e-3
    for field in ("shape_mean", "identity_basis", "expression_basis"):
        one, other = getattr(whole, field)[vertex], getattr(model, field)
        np.testing.assert_allclose(one, other, atol=1e-3, err_msg=field)


def test_regions_lie_where_their_names_say(model):
    points = fitting.landmark_points(model)
    for name, rows in (("eyes", slice(36, 48)), ("lips", slice(48, 68)), ("nose", slice(29, 36))):
        centre = model.shape_mean[model.region == REGIONS.index(name)].mean(axis=0)
        assert np.linalg.norm(centre - points[rows].mean(axis=0)) < 15.0, name


SIZE, COUNT = 32, 4
PADDED = 12_000, 24_000  # vertices and triangles, more than any of the formats has
SCHEDULE = Schedule(warmup=1, initialisation=1, pretraining=1, joint=4, period=4, segmenter_steps=2)


@pytest.fixture(scope="module")
def training():
    """What training needs beside the face model: the config's formulas on small networks."""
    config = load_config("em", "smoke")
    config.losses.coefficients = 0.0
    config.encoder.kind = "small"  # needs no features of a recognizer's large pictures
    model = load_face_model("builtin", identity=4, expression=3, albedo=3)
    method = make_method(config, model)
    networks = dataclasses.replace(
        method.networks,
        encoder=Encoder(
            forward.widths(model).outputs,
            stage_sizes=(1,),
            width=8,
            bottleneck=False,
            large_stem=False,
        ),
        segmenter=Segmenter(width=4, stem="space_to_depth"),
    )
    method = dataclasses.replace(method, networks=networks)
    with pytest.MonkeyPatch.context() as patch:
        short_recognizer.shorten(patch)
        yield config, method, *_begun(method, model), recognizer.load_recognizer("dlib")


def _begun(method, model):
    """A batch, and the state that training begins with."""
    rng = np.random.default_rng(0)
    points = SIZE * (0.5 + fitting.landmark_points(model)[None, :, :2] * [1, -1] / 200)
    batch = Batch(
        image=rng.random((COUNT, SIZE, SIZE, 3), np.float32),
        landmarks=np.repeat(points, COUNT, axis=0).astype(np.float32),
        index=np.arange(COUNT, dtype=np.int32),
    )
    return batch, jax.device_get(initial_state(method, model, batch, 0))


def padded(model):
    """The model with vertices that no triangle has, and triangles that cover nothing."""
    more, rest = (
        n - len(x) for n, x in zip(PADDED, (model.shape_mean, model.triangles), strict=True)
    )
    fields = ("shape_mean", "identity_basis", "expression_basis", "albedo_mean", "albedo_basis")
    grown = {
        f: np.concatenate([getattr(model, f), np.repeat(getattr(model, f)[-1:], more, axis=0)])
        for f in (*fields, "region", "uv")
    }
    flat = np.zeros((rest, 3), model.triangles.dtype)
    return dataclasses.replace(model, **grown, triangles=np.concatenate([model.triangles, flat]))


def test_training_takes_its_steps(model, training):
    config, method, batch, state, recognition = training
    # Names and sizes are part of what is compiled; with equal ones, one compilation serves all.
    same = dataclasses.replace(padded(model), name="", licence="", expression_mean=None)
    placed = jax.tree.map(jnp.asarray, same)
    constants = updates.Constants(placed, recognition, jax.random.key(0))
    state = dataclasses.replace(
        jax.tree.map(jnp.asarray, state), albedo_mean=jnp.copy(placed.albedo_mean)
    )
    for number, update in ((2, "segmenter"), (5, "autoencoder")):
        terms = terms_at(number, SCHEDULE, config.losses, config.rates)
        step = getattr(updates, f"update_{update}")
        state, values = step(state, batch, constants, terms, method=method)
        assert all(np.isfinite(value) for value in values.values()), number
    assert int(state.step) == 2


@pytest.mark.slow
@pytest.mark.parametrize("write", FORMATS)
def test_the_default_job_runs_on_it(write, tmp_path):
    config = load_config("em", "smoke")
    config.face_model.name = str(write(tmp_path))
    config.data.cache = str(tmp_path / "cache")
    config.schedule.update(warmup=1, initialisation=1, pretraining=1, joint=3, period=3)
    config.schedule.segmenter_steps = 1
    scores = train(config, tmp_path / "run")
    assert np.isfinite([v for s in scores["joint"].values() for v in s.values()]).all()


def test_converted_it_is_the_same(tmp_path, capsys):
    path = bfm(tmp_path)
    out = tmp_path / "out.npz"
    assert face_models_main(["convert", str(path), str(out)]) == 0
    assert "its licence stays" in capsys.readouterr().out
    one, other = load_face_model(path), load_face_model(out)
    for field in (*npz.SHAPES, *npz.OPTIONAL):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=field)
    assert (one.name, one.units, one.licence) == (other.name, other.units, other.licence)
    assert face_models_main(["convert", "--full", "--identity=2", str(path), str(out)]) == 0
    whole = load_face_model(out)
    assert len(whole.shape_mean) > len(one.shape_mean) and whole.identity_basis.shape[-1] == 2


def test_show_says_what_a_model_has_and_draws_it(tmp_path, capsys):
    path, picture = bfm_2009(tmp_path), tmp_path / "picture.png"
    assert face_models_main(["show", str(path), str(picture)]) == 0
    text = capsys.readouterr().out
    for words in ("9,478 vertices", "whole mesh 10,180", "identity: 6 modes", "units: mm", "Basel"):
        assert words in text
    drawn = cv2.imread(str(picture)).astype(float)[..., ::-1]
    side = drawn.shape[0] // 4
    assert drawn.shape[:2] == (4 * side, 6 * side)
    # The second picture has landmarks on the first.
    first, second = drawn[:side, :side], drawn[:side, side : 2 * side]
    assert 0.005 < (np.abs(first - second).max(axis=-1) > 40).mean() < 0.1
    # Two deviations to both sides differ.
    left, right = drawn[side : 2 * side, :side], drawn[side : 2 * side, side : 2 * side]
    assert (np.abs(left - right).max(axis=-1) > 20).mean() > 0.01


def test_the_command_says_what_is_wrong_in_one_sentence(tmp_path, capsys):
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"v_template": slice(3)}))
    assert face_models_main(["show", str(tmp_path / "model.pkl")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "'v_template' is slice, from which no array can be read" in line
