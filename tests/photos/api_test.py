"""Three lines of Python, on the astronaut: a path, an array, a list, and wrong input."""

import shutil
import sys
import types
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
import trimesh
import untrained
from PIL import Image

import focus_jax

pytest.importorskip("dlib")
OPTIONS = {"refine": 4, "batch_size": 2}
PHOTO = skimage.data.astronaut()[:300, 100:400]


@pytest.fixture(scope="module")
def model():
    """None: few modes, pixels and steps."""
    with pytest.MonkeyPatch.context() as patch:
        untrained.make_small(patch)
        patch.setattr("focus_jax.photos.api.keep_programs", lambda: None)
        yield focus_jax.load_model("none")


@pytest.fixture(scope="module")
def faces(model):
    """Of two photos: a lone face has programs of its own, which others here do without."""
    return focus_jax.reconstruct([PHOTO, PHOTO], model=model, **OPTIONS)[:1]


def test_a_face_has_the_photos_size_and_millimetres(faces, model):
    (face,) = faces
    assert face.mask.shape == face.occlusion.shape == PHOTO.shape[:2] and face.mask.dtype == bool
    assert face.mask.sum() > 2000 and not (face.mask & face.occlusion).any()
    assert face.vertices.shape == face.neutral.shape == np.shape(model.face_model.shape_mean)
    eyes = face.landmarks[36:48].mean(0)
    assert np.abs(eyes - (125, 101)).max() < 10  # read off the picture by eye
    camera = face.numbers["camera"]
    inside = focus_jax.camera.project(
        face.vertices, *(np.asarray(camera[k], np.float32) for k in ("R", "t", "K"))
    )
    ys, xs = np.nonzero(face.mask | face.occlusion)
    assert abs(float(inside[:, 0].min()) - xs.min()) < 3
    assert abs(float(inside[:, 1].max()) - ys.max()) < 3
    assert "hidden" in repr(face) and face.name == "0000"


def test_its_mesh_has_the_photos_colours(faces):
    mesh = faces[0].mesh()
    assert isinstance(mesh, trimesh.Trimesh) and len(mesh.vertices) == len(faces[0].vertices)
    mean = mesh.visual.vertex_colors[:, :3].mean(0)
    assert np.abs(mean - PHOTO[faces[0].mask].mean(0)).max() < 40
    np.testing.assert_allclose(faces[0].mesh(neutral=True).vertices, faces[0].neutral, atol=1e-4)


def test_its_expression_is_told_by_arkits_weights(faces):
    weights = faces[0].blendshapes()
    assert len(weights) == 52 and all(0 <= value <= 1 for value in weights.values())
    assert any(value > 1e-3 for value in weights.values()) and "jawOpen" in weights


def test_it_is_saved_as_the_command_writes_it(faces, tmp_path):
    where = faces[0].save(tmp_path)
    assert where == tmp_path / "0000" / "0"
    written = {p.name for p in where.iterdir()}
    assert {"face.json", "mask.png", "fitted.glb", "overlay.jpg"} <= written
    mask = cv2.imread(str(where / "mask.png"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(mask > 0, faces[0].mask)


def test_a_photo_turned_by_a_quarter_shows_the_same_face(model, faces):
    """Its mask and its mesh are the upright photo's, turned."""
    photo = np.rot90(PHOTO, -1).copy()
    turned, _ = focus_jax.reconstruct(np.stack([photo, photo]), model=model, **OPTIONS)
    (upright,) = faces
    mask = np.rot90(upright.mask, -1)
    # Of 32 pixels: the detector's points are not quite the same.
    assert (mask & turned.mask).sum() > 0.92 * (mask | turned.mask).sum()
    # Clockwise by a quarter: what lay above, at y down 0, lies to the right.
    places = np.stack([PHOTO.shape[0] - 1 - upright.landmarks[:, 1], upright.landmarks[:, 0]], -1)
    assert np.linalg.norm(turned.landmarks - places, axis=1).mean() < 2
    mesh, before = turned.mesh(), upright.mesh()
    expected = np.stack([before.vertices[:, 1], -before.vertices[:, 0]], -1)
    assert np.linalg.norm(mesh.vertices[:, :2] - expected, axis=1).mean() < 2  # of 1000 mm away


def test_several_photos_and_one_without_a_face(model, faces, tmp_path):
    path = tmp_path / "a.b.png"
    cv2.imwrite(str(path), PHOTO[..., ::-1])
    empty = np.zeros((40, 60, 3), np.uint8)
    options = {"model": model, "refine": 4, "batch_size": 2}
    found = focus_jax.reconstruct([str(path), empty, PHOTO], **options)
    assert [(f.photo, f.name) for f in found] == [(0, "a.b.png"), (2, "0002")]
    np.testing.assert_allclose(found[1].vertices, faces[0].vertices, atol=1e-3)
    masks = focus_jax.segment([str(path), empty, PHOTO], **options)
    np.testing.assert_array_equal(masks[0], found[0].mask)
    assert masks[1].shape == (40, 60) and not masks[1].any()
    each = focus_jax.segment([path, empty, PHOTO], per_face=True, **options)
    assert [len(m) for m in each] == [1, 0, 1]


def test_photos_of_one_name_are_saved_apart(model, faces, tmp_path):
    paths = [tmp_path / folder / "1.png" for folder in ("anna", "bob")]
    for path in paths:
        path.parent.mkdir()
        cv2.imwrite(str(path), PHOTO[..., ::-1])
    found = focus_jax.reconstruct(paths, model=model, **OPTIONS)
    assert [face.name for face in found] == ["0000/1.png", "0001/1.png"]
    where = [face.save(tmp_path / "out", write="mask") for face in found]
    assert where == [tmp_path / "out" / face.name / "0" for face in found]
    assert all((folder / "face.json").is_file() for folder in where)


def test_a_face_that_is_kept_holds_nothing_of_its_batch(faces):
    for array in jax.tree.leaves((faces[0].code, faces[0]._inference)):
        assert getattr(array, "base", None) is None


class Tensor:
    """An array of some library that hands over DLPack."""

    def __init__(self, array, fails=False):
        self.array, self.ndim, self.fails = array, array.ndim, fails

    def __dlpack__(self, **options):
        if self.fails:
            raise BufferError("on another device")
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_arrays_of_any_library_are_photos(model, faces):
    """Also several in one, with landmarks of one's own; JAX's arrays give JAX's masks. A lone face
    has the mask that it has beside another."""
    landmarks = np.stack([faces[0].numbers["detection"]["landmarks"]] * 2).astype(np.float32)
    both = np.stack([PHOTO, PHOTO])
    options = {"model": model, **OPTIONS}
    masks = focus_jax.segment(jnp.asarray(both), landmarks=jnp.asarray(landmarks), **options)
    assert all(isinstance(mask, jax.Array) and mask.dtype == bool for mask in masks)
    for mask in masks:
        same = (faces[0].mask & np.asarray(mask)).sum() / (faces[0].mask | np.asarray(mask)).sum()
        assert same > 0.97  # the detector's dense landmarks are not given
    landmarks[1] = np.nan
    (mask, none) = focus_jax.segment(both, landmarks=landmarks, **options)
    np.testing.assert_array_equal(mask, masks[0])
    assert isinstance(mask, np.ndarray) and not none.any()
    (tensor,) = focus_jax.segment(Tensor(PHOTO), landmarks=landmarks[:1], **options)
    np.testing.assert_array_equal(tensor, mask)


def test_masks_of_pytorchs_arrays_are_such_arrays(model, monkeypatch):
    torch = types.SimpleNamespace(from_numpy=lambda mask: ("of torch", mask))
    monkeypatch.setitem(sys.modules, "torch", torch)
    kind = type("Tensor", (Tensor,), {"__module__": "torch"})
    (each,) = focus_jax.segment(kind(np.zeros((40, 60, 3), np.uint8)), model=model)
    assert each[0] == "of torch" and each[1].shape == (40, 60)


def test_what_cannot_be_read_is_said(model, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_text("no photo")
    with pytest.raises(ValueError, match=r"bad\.jpg \("):
        focus_jax.reconstruct(bad, model=model)
    with pytest.warns(UserWarning, match=r"1 of 2 photos left out: bad\.jpg"):
        masks = focus_jax.segment([bad, np.zeros((40, 40, 3), np.uint8)], model=model)
    assert masks[0] is None and masks[1].shape == (40, 40)


def test_kinds_of_files_may_be_listed_or_have_commas_between(faces, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert faces[0].save("~/out", write="numbers") == tmp_path / "out" / "0000" / "0"
    for write in ("mask,numbers", ["mask", "numbers"]):
        where = faces[0].save(tmp_path, write=write)
        assert (where / "mask.png").is_file() and not (where / "fitted.glb").exists()
        shutil.rmtree(where)
    with pytest.raises(ValueError, match="there is no 'masks' to write"):
        faces[0].save(tmp_path, write="masks")


@pytest.mark.parametrize(
    ("photos", "options", "said"),
    [
        ("no.jpg", {}, "there is no photo no.jpg"),
        (np.zeros((4, 4)), {}, r"photo 0 is an array"),
        (np.zeros((4, 4, 3), np.float32), {}, r"float32 \(4, 4, 3\); give uint8"),
        (np.array(3), {}, "an array without axes; give uint8"),
        (Tensor(PHOTO, fails=True), {}, "photo 0 is an array that NumPy cannot read; give it on"),
        (PHOTO, {"landmarks": np.zeros((2, 68, 2))}, r"landmarks are \(2, 68, 2\); of 1 photos"),
        (["a.jpg"] * 2, {"landmarks": np.zeros((2, 68, 2))}, "there is no photo a.jpg"),
        (None, {}, "the photo is of the type NoneType; give a path or an array uint8"),
        (b"a.jpg", {}, "the photo is of the type bytes"),
        ({"a": PHOTO}, {}, "the photo is of the type dict"),
        (PHOTO.tolist(), {}, "photo 0 is of the type list"),
        ([Image.fromarray(PHOTO)], {}, r"photo 0 is .* Image; .*np\.asarray\(image\.convert"),
        (Image.fromarray(PHOTO), {}, r"the photo is .* Image; .*np\.asarray\(image\.convert"),
        (PHOTO, {"landmarks": None}, r"landmarks are \(\); of 1 photos \(1, 68, 2\)"),
        (np.array(["no.jpg", "b.jpg"]), {}, "there is no photo no.jpg"),
        (np.array([Path("no.jpg")]), {}, "there is no photo no.jpg"),
        (PHOTO[0, :, 0], {}, "photo 0 is of the type uint8"),
        (PHOTO, {"landmarks": Path("no.csv")}, "no.csv"),
        (PHOTO, {"landmarks": [["x"]]}, "landmarks are a name, or numbers"),
        (PHOTO, {"landmarks": np.zeros((1, 68, 2)).tolist()}, "within 4 pixels"),
        (PHOTO, {"landmarks": np.full((1, 68, 2), 900)}, "landmarks outside the 300 x 300 photo"),
        (PHOTO, {"refine": 1.5}, "refine=1.5 must be an integer"),
        (PHOTO, {"refine": "2"}, "refine='2' must be an integer"),
        (PHOTO, {"batch_size": 1.5}, "batch_size=1.5 one from 1 to 4096"),
        (PHOTO, {"batch_size": 10**20}, f"batch_size={10**20} one from 1 to 4096"),
        (PHOTO, {"refine": -1}, "refine=-1"),
        (PHOTO, {"batch_size": 0}, "batch_size=0"),
        (PHOTO, {"landmarks": "eyes"}, "'eyes'"),
        (PHOTO, {"model": "nowhere"}, "nowhere is not a trained model"),
    ],
)
def test_wrong_arguments_are_one_sentence(model, photos, options, said):
    with pytest.raises(ValueError, match=said):
        focus_jax.reconstruct(photos, **{"model": model, **options})
