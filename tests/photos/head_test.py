import types

import numpy as np
import pytest
import trimesh
from face_model_files import write_bfm, write_crop

from focus_jax.face_models import load_face_model, npz
from focus_jax.photos import head, results, trained
from focus_jax.rendering import morphable
from focus_jax.rendering.camera import rotation_matrix
from focus_jax.types import FaceCode


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """What `load_model` gives for a file with a whole head, without networks."""
    path = tmp_path_factory.mktemp("bfm") / "model2017-1_bfm_nomouth.h5"
    write_bfm(path)
    with pytest.MonkeyPatch.context() as patch:
        modes = {"identity": 3, "expression": 2, "albedo": 2}
        patch.setattr(trained, "UNTRAINED_MODES", modes)
        patch.setattr(trained.recognizer, "load_recognizer", lambda kind: {})
        return trained.load_model("none", str(path))


@pytest.fixture(scope="module")
def found():
    """The parts of an `Inference` that a head needs."""
    rng = np.random.default_rng(0)
    identity, expression, albedo = (rng.normal(size=n).astype(np.float32) for n in (3, 2, 2))
    light = np.zeros(27, np.float32)
    light[[0, 9, 18]] = 3.5
    code = FaceCode(identity, expression, albedo, np.zeros(6, np.float32), light)
    rotation = np.asarray(rotation_matrix(np.array([0.1, 0.4, 0.0], np.float32)))
    return types.SimpleNamespace(code=code, rotation=rotation)


def test_the_head_holds_the_face_and_more(model, found):
    whole = head.whole_head(model)
    assert len(whole.face_model.shape_mean) > len(model.face_model.shape_mean) == len(whole.vertex)
    shapes = [
        np.asarray(morphable.vertices(m, found.code.identity, found.code.expression))
        for m in (whole.face_model, model.face_model)
    ]
    np.testing.assert_allclose(shapes[0][whole.vertex], shapes[1], atol=1e-3)


def test_its_files(model, found, tmp_path):
    whole = head.whole_head(model)
    colours = np.random.default_rng(1).uniform(0.2, 0.8, (len(whole.vertex), 3)).astype("f4")
    head.write_head(tmp_path, whole, found, colours, found.rotation)
    neutral = trimesh.load_mesh(tmp_path / "head_neutral.ply", process=False)
    fitted = trimesh.load_mesh(tmp_path / "head.ply", process=False)
    plain = morphable.vertices(whole.face_model, found.code.identity, found.code.expression[:0])
    np.testing.assert_allclose(neutral.vertices, plain, atol=1e-2)
    turned = morphable.vertices(whole.face_model, found.code.identity, found.code.expression)
    in_camera = fitted.vertices * [1, -1, -1]
    np.testing.assert_allclose(in_camera, turned @ found.rotation.T, atol=1e-2)
    for mesh in (fitted, neutral):
        np.testing.assert_array_equal(mesh.faces, whole.face_model.triangles)
        shown = mesh.visual.vertex_colors[:, :3] / 255
        np.testing.assert_allclose(shown[whole.vertex], colours, atol=0.003)


def test_the_photos_tone_is_carried_on_over_the_head(model, found):
    """A face that the photo shows redder than the model has a head that is redder, without seam."""
    whole = head.whole_head(model)
    face = np.full((len(whole.vertex), 3), 0.5, np.float32)
    plain, red = (
        head.paint(whole, found, face + np.float32([shift, 0, 0])) for shift in (0.0, 0.1)
    )
    rest = np.setdiff1d(np.arange(len(plain)), whole.vertex)
    shift = (red - plain)[rest]
    inside = (plain[rest, 0] > 0) & (red[rest, 0] < 1)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(shift[inside, 0], 0.1, atol=1e-3)
    np.testing.assert_allclose(shift[:, 1:], 0, atol=1e-5)


def test_a_face_that_is_all_there_is_has_no_other_head(model, tmp_path):
    assert head.whole_head(model._replace(face_model_file="builtin")) is None
    # The prior is of the face's vertices.
    assert head.whole_head(model._replace(misfit=np.zeros((3, 3)))) is None
    converted = tmp_path / "face.npz"
    npz.write(converted, load_face_model(model.face_model_file, identity=3))
    assert head.whole_head(model._replace(face_model_file=str(converted))) is None


def test_another_file_is_noticed(model, tmp_path):
    path = tmp_path / "model2017-1_bfm_nomouth.h5"
    write_bfm(path)
    moved = model.face_model.shape_mean + 1.0
    other = model._replace(face_model=model.face_model.replace(shape_mean=moved))
    with pytest.raises(ValueError, match="is not the file that the model was trained with"):
        head.whole_head(other)


def test_the_authors_crop_belongs_to_the_head(model, tmp_path):
    path = tmp_path / "model2017-1_bfm_nomouth.h5"
    write_bfm(path)
    write_crop(tmp_path / "idxes_crop.pkl")
    cropped = load_face_model(path, identity=3, expression=2, albedo=2)
    whole = head.whole_head(model._replace(face_model=cropped, face_model_file=str(path)))
    assert len(whole.vertex) == len(cropped.shape_mean)


def test_a_face_is_written_with_its_head(model, found, tmp_path, monkeypatch):
    """Of all that is written of a face, the head: the rest is in reconstruct_test.py."""
    shared = results.share(model, ["meshes", "ply"])
    count = len(model.face_model.shape_mean)
    given = types.SimpleNamespace(
        code=found.code,
        rotation=found.rotation,
        vertices=np.asarray(model.face_model.shape_mean),
        neutral=np.asarray(model.face_model.shape_mean),
        colours=np.full((count, 3), 0.5, np.float32),
        mask=np.ones((8, 8, 1), np.float32),
        screen=None,
        facing=None,
        depth=None,
    )
    about = {
        "crop": {"inverse": np.eye(2, 3).tolist()},
        "camera": {"R": found.rotation.tolist()},
    }
    monkeypatch.setattr(results, "describe", lambda *_: about)
    texture = np.zeros((8, 8, 3), np.uint8)
    monkeypatch.setattr(results.texture, "paint", lambda *_: (texture, given.colours))
    photo = np.zeros((9, 9, 3), np.uint8)
    results.write_face(tmp_path, "a.png", photo, None, given, shared)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"head.ply", "head_neutral.ply", "fitted.ply", "face.json"} <= names
