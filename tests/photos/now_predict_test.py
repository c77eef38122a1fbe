"""Prediction folders, from photos whose shapes are given instead of predicted."""

import csv
import dataclasses
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from jax import numpy as jnp

from focus_jax.evaluation import now
from focus_jax.evaluation.scans import check_landmarks
from focus_jax.face_models import load_face_model
from focus_jax.photos import now_predict
from focus_jax.photos.trained import load_model
from focus_jax.types import FaceCode

# Read off the picture by eye: enough for a crop.
EYES, MOUTH = ((203, 101), (247, 102)), ((206, 141), (243, 141))


@pytest.fixture
def model(monkeypatch):
    """A model that predicts the mean face, wider photo by photo, at a yaw of 20 degrees."""
    found = load_model("none")
    face_model = load_face_model("builtin", identity=2, expression=2, albedo=2)
    # Its one mode that is used makes faces wider.
    wider = np.zeros_like(face_model.identity_basis)
    wider[..., 0, 0] = face_model.shape_mean[:, 0]
    face_model = dataclasses.replace(face_model, identity_basis=wider)

    def find_codes(model, batch):
        count = len(batch.index)
        identity = np.zeros((count, 2), np.float32)
        identity[:, 0] = 0.1 * np.arange(count)
        pose = np.zeros((count, 6), np.float32)
        pose[:, 1] = np.deg2rad(20)
        none = jnp.zeros((count, 2))
        code = FaceCode(jnp.asarray(identity), none, none, pose, jnp.zeros((count, 27)))
        return code, None, None

    monkeypatch.setattr(now_predict, "find_codes", find_codes)
    return found._replace(face_model=face_model)


@pytest.fixture
def photos(tmp_path):
    """Three photos of the astronaut and a broken one, with a csv of landmarks for two."""
    rows = []
    landmarks = np.tile([223.0, 124.0], (68, 1))  # the nose
    landmarks[36:42], landmarks[42:48] = EYES
    landmarks[48], landmarks[54] = MOUTH
    for name in ("A/selfie/1.jpg", "A/selfie/2.jpg", "B/selfie/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / name), skimage.data.astronaut()[..., ::-1])
        rows.append([name, *landmarks.reshape(-1)])
    (tmp_path / "B/selfie/2.jpg").write_text("no photo")
    with (tmp_path / "landmarks.csv").open("w") as file:
        csv.writer(file).writerows([*rows[:2], ["B/selfie/2.jpg", *landmarks.reshape(-1)]])
    return tmp_path


def test_what_is_written_is_what_the_benchmark_reads(model, photos, tmp_path):
    images = ["A/selfie/1.jpg", "A/selfie/2.jpg", "B/selfie/1.jpg", "B/selfie/2.jpg"]
    find = now_predict.from_csv(photos / "landmarks.csv")
    out = tmp_path / "out"
    skipped = now_predict.predict(model, images, photos, out, find=find)
    assert len(skipped) == 2
    assert "B/selfie/1.jpg: no landmarks" in skipped and "2.jpg" in skipped[1]
    face_model = model.face_model
    for name, factor in (("A/selfie/1", 1.0), ("A/selfie/2", 1.1)):
        vertices, triangles = now.read_mesh(out / f"{name}.obj")
        expected = np.asarray(face_model.shape_mean) * [factor, 1, 1]
        np.testing.assert_allclose(vertices, expected, atol=1e-4)
        np.testing.assert_array_equal(triangles, face_model.triangles)
        points = now.read_landmarks(out / f"{name}.npy")
        check_landmarks(points, now_predict.seven_landmarks(face_model, expected), name)
        # The order: right is the subject's, at negative x; eyes above the nose above the mouth.
        assert points[0, 0] < points[1, 0] < 0 < points[2, 0] < points[3, 0]
        assert points[:4, 1].min() > points[4, 1] > points[5:, 1].max()
    yaws = now.read_yaws(out / "poses.csv")
    assert yaws == {"A/selfie/1.jpg": 20.0, "A/selfie/2.jpg": 20.0}


def test_a_row_outside_its_photo_leaves_out_that_photo_alone(model, photos, tmp_path):
    names = ["A/selfie/1.jpg", "A/selfie/2.jpg"]
    bad, good = (photos / "landmarks.csv").read_text().splitlines()[:2]
    (photos / "bad.csv").write_text(f"{bad.replace('223.0', '9223.0')}\n{good}\n")
    find, out = now_predict.from_csv(photos / "bad.csv"), tmp_path / "out"
    whole = now_predict.from_csv(photos / "landmarks.csv")
    assert now_predict.predict(model, names, photos, out, find=whole) == []
    (skipped,) = now_predict.predict(model, names, photos, out, find=find)
    assert skipped.startswith("A/selfie/1.jpg: ")
    # Nothing of the run before is left to be scored as this one's.
    assert sorted(p.name for p in (out / "A/selfie").iterdir()) == ["2.npy", "2.obj"]
    assert list(now.read_yaws(out / "poses.csv")) == names[1:]


def test_yaws_are_in_utf8_whatever_the_system_writes(model, photos, tmp_path, monkeypatch):
    (photos / "A/selfie/1.jpg").rename(photos / "A/selfie/\u00e9.jpg")
    text = (photos / "landmarks.csv").read_text().replace("A/selfie/1.jpg", "A/selfie/\u00e9.jpg")
    (photos / "landmarks.csv").write_bytes(text.encode())
    find, out = now_predict.from_csv(photos / "landmarks.csv"), tmp_path / "out"
    monkeypatch.setattr(io, "text_encoding", lambda encoding, *_: encoding or "ascii")
    assert now_predict.predict(model, ["A/selfie/\u00e9.jpg"], photos, out, find=find) == []
    assert now.read_yaws(out / "poses.csv") == {"A/selfie/\u00e9.jpg": 20.0}


def test_photos_whose_names_have_dots_have_predictions_of_their_own(model, photos, tmp_path):
    names = [f"A/selfie/bareteeth.00000{k}.jpg" for k in (1, 2)]
    line = (photos / "landmarks.csv").read_text().splitlines()[0].partition(",")[2]
    (photos / "dots.csv").write_text("".join(f"{name},{line}\n" for name in names))
    for name in names:
        cv2.imwrite(str(photos / name), skimage.data.astronaut()[..., ::-1])
    find, out = now_predict.from_csv(photos / "dots.csv"), tmp_path / "out"
    assert now_predict.predict(model, names, photos, out, find=find) == []
    for name, factor in zip(names, (1.0, 1.1), strict=True):
        path = now._first(out / "A/selfie", now.bare(Path(name)).name, (".obj",))
        expected = np.asarray(model.face_model.shape_mean) * [factor, 1, 1]
        np.testing.assert_allclose(now.read_mesh(path)[0], expected, atol=1e-4)
    with pytest.raises(ValueError, match=r"of a/1\.jpg and a/1\.png would have one name"):
        now_predict.predict(model, ["a/1.jpg", "a/1.png"], photos, out, find=find)


def test_a_misfit_prior_is_subtracted(model, photos, tmp_path):
    find = now_predict.from_csv(photos / "landmarks.csv")
    face_model = model.face_model
    prior = np.full_like(face_model.shape_mean, 2.0)
    now_predict.predict(model, ["A/selfie/1.jpg"], photos, tmp_path / "out", find=find, prior=prior)
    vertices, _ = now.read_mesh(tmp_path / "out/A/selfie/1.obj")
    np.testing.assert_allclose(vertices, face_model.shape_mean - 2.0, atol=1e-4)


@pytest.mark.parametrize("kept", [False, True])
def test_neutral_is_without_the_mean_expression_unless_told(model, photos, tmp_path, kept):
    """As in the authors' release, for face models that have one."""
    face_model = model.face_model
    smile = np.sin(np.asarray(face_model.shape_mean))
    face_model = dataclasses.replace(face_model, expression_mean=smile)
    model = model._replace(face_model=face_model)
    find, out = now_predict.from_csv(photos / "landmarks.csv"), tmp_path / "out"
    now_predict.predict(model, ["A/selfie/1.jpg"], photos, out, find=find, mean_expression=kept)
    vertices, _ = now.read_mesh(out / "A/selfie/1.obj")
    expected = face_model.shape_mean if kept else face_model.shape_mean - smile
    np.testing.assert_allclose(vertices, expected, atol=1e-4)


def test_the_whole_mesh_is_written_with_the_same_coefficients(model, photos, tmp_path):
    face_model = model.face_model
    extra = np.float32(50) + 9 * np.eye(3, dtype=np.float32)
    neck = np.arange(3)[None] + len(face_model.shape_mean)
    whole = dataclasses.replace(
        face_model,
        shape_mean=np.concatenate([face_model.shape_mean, extra]),
        triangles=np.concatenate([face_model.triangles, neck]).astype(np.int32),
        identity_basis=np.pad(face_model.identity_basis, ((0, 3), (0, 0), (0, 0))),
        expression_basis=np.pad(face_model.expression_basis, ((0, 3), (0, 0), (0, 0))),
    )
    find, out = now_predict.from_csv(photos / "landmarks.csv"), tmp_path / "out"
    now_predict.predict(model, ["A/selfie/1.jpg"], photos, out, find=find, whole=whole)
    vertices, triangles = now.read_mesh(out / "A/selfie/1.obj")
    np.testing.assert_allclose(vertices, whole.shape_mean, atol=1e-4)  # its code is zero
    assert len(triangles) == len(whole.triangles)
    with pytest.raises(ValueError, match="leave the whole one out"):
        now_predict.predict(model, [], photos, out, find=find, prior=extra, whole=whole)


def test_the_single_view_benchmark_gets_a_neutral_and_a_posed_mesh(model, photos, tmp_path):
    name = "017/EMO-1-shout+laugh_6_221501007/rgb.png"
    line = (photos / "landmarks.csv").read_text().splitlines()[0].partition(",")[2]
    (photos / "svfr.csv").write_text(f"{name},{line}\n")
    (photos / name).parent.mkdir(parents=True)
    cv2.imwrite(str(photos / name), skimage.data.astronaut()[..., ::-1])
    find, out = now_predict.from_csv(photos / "svfr.csv"), tmp_path / "out"
    prior = np.full_like(model.face_model.shape_mean, 2.0)
    given = model, [name], photos, out
    assert now_predict.predict(*given, find=find, prior=prior, svfr=True) == []
    folder = out / "017/EMO-1-shout+laugh_006_221501007"
    files = [f"{kind}_{task}" for kind in ("landmarks", "mesh") for task in ("neutral", "posed")]
    assert [path.stem for path in sorted(out.rglob("*.*"))] == files
    for task in ("neutral", "posed"):
        vertices, _ = now.read_mesh(folder / f"mesh_{task}.ply")
        np.testing.assert_allclose(vertices, model.face_model.shape_mean - 2.0, atol=1e-4)
        points = now.read_landmarks(folder / f"landmarks_{task}.npy")
        np.testing.assert_allclose(
            points, now_predict.seven_landmarks(model.face_model, vertices), atol=1e-4
        )
    assert len(now_predict.predict(*given, find=lambda name, photo: None, svfr=True)) == 1
    assert not list(out.rglob("*.*"))
    with pytest.raises(ValueError, match="is not PERSON/SEQUENCE_TIMESTEP_SERIAL"):
        now_predict.predict(model, ["A/selfie/1.jpg"], photos, out, find=find, svfr=True)


def test_the_astronaut_is_found():
    photo = skimage.data.astronaut()
    find = now_predict.from_photos()
    landmarks = find("astronaut", photo)
    assert np.abs(landmarks[36:48].mean(0) - np.mean(EYES, axis=0)).max() < 4
    assert find("nobody", np.zeros_like(photo)) is None
