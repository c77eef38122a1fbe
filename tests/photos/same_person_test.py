import errno
import gc
import json
import types
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest
import runs

from focus_jax.data.detect import landmark_source
from focus_jax.data.faces import Photo
from focus_jax.data.landmarks import Detection
from focus_jax.evaluation.scan_pictures import Scan
from focus_jax.face_models import load_face_model
from focus_jax.photos import measure_scans, same_person
from focus_jax.photos.trained import load_model
from focus_jax.rendering import morphable
from focus_jax.types import FaceCode


def like(*cosines):
    """Features of unit length at these cosines to the person's."""
    rng = np.random.default_rng(0)
    found = []
    for cosine in cosines:
        rest = rng.normal(size=7)
        rest *= np.sqrt(1 - cosine**2) / np.linalg.norm(rest)
        found.append([cosine, *rest])
    return np.array(found)


def test_in_each_photo_the_person_is_found_beside_others():
    """Somebody else is larger, so first, in one photo; another is in all but nobody's twin."""
    seen = [like(0.99), like(0.2, 0.98, 0.1), like(0.97, 0.3), like(0.96)]
    which, likeness = same_person.choose(seen)
    assert which.tolist() == [0, 1, 0, 0] and (likeness > 0.9).all()


def test_a_photo_of_somebody_else_is_told():
    seen = [like(0.99), like(0.98), like(0.3)]
    _, likeness = same_person.choose(seen)
    networks = types.SimpleNamespace(recognizer="dlib")
    model = types.SimpleNamespace(networks=networks)
    views = [same_person.View(None, None, None, value) for value in likeness]
    assert [same_person.unlike(view, model) for view in views] == [False, False, True]
    which, likeness = same_person.choose([like(0.5)])
    assert which.tolist() == [0] and likeness.tolist() == [1]


def test_identity_and_albedo_are_of_those_that_are_trusted():
    """From one side, of which all show the same: nearly one shape, no expression."""
    builtin = load_face_model("builtin", identity=8, expression=3, albedo=2)
    rng = np.random.default_rng(0)
    code = FaceCode(*(rng.normal(size=(3, n)).astype(np.float32) for n in (8, 3, 2, 6, 27)))
    code.pose[:] = code.expression[:] = 0
    code.identity[:] *= 0.1
    found = same_person.of_one(code, np.array([1.0, 0.0, 1.0]), builtin)
    weights = np.array([1.0, same_person.LEAST, 1.0])
    for name in ("identity", "albedo"):
        wanted = np.average(getattr(code, name), axis=0, weights=weights)
        np.testing.assert_allclose(getattr(found, name), np.tile(wanted, (3, 1)), atol=2e-3)
    for name in ("expression", "pose", "light"):
        np.testing.assert_array_equal(getattr(found, name), getattr(code, name))


def test_a_photo_says_what_it_shows():
    """Widths are the frontal photo's, depths that of a profile."""
    builtin = load_face_model("builtin", identity=40, expression=3, albedo=2)
    rng = np.random.default_rng(0)
    code = FaceCode(*(rng.normal(size=(2, n)).astype(np.float32) for n in (40, 3, 2, 6, 27)))
    code.pose[:] = 0
    code.pose[1, 1] = np.pi / 2
    found = same_person.of_one(code, np.ones(2), builtin).identity[:1]
    shapes = [
        morphable.vertices(builtin, i, i[:, :0]) for i in (found, *np.split(code.identity, 2))
    ]
    shape, front, profile = (np.asarray(shape[0]) for shape in shapes)
    apart = np.abs(front - profile).mean(0)
    assert np.abs(shape - front).mean(0)[0] < 0.45 * apart[0]
    assert np.abs(shape - profile).mean(0)[2] < 0.35 * apart[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(str(runs.untrained(tmp_path_factory.mktemp("run"))))


LANDMARKS = json.loads((Path(__file__).parents[1] / "astronaut_landmarks.json").read_text())


def photos_of(*names):
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 255, (300, 300, 3)).astype(np.uint8) for _ in names]
    return [Photo(Path(name), name, one) for name, one in zip(names, pixels, strict=True)]


def seen_by(image, path):
    """The same landmarks in all, but for one photo without a face."""
    if "empty" in path.name:
        return []
    marks = np.array(LANDMARKS, np.float32).reshape(68, 2)
    return [Detection(marks - marks.mean(0) + 150, 0.9, "test")]


def test_photos_of_a_folder_have_one_identity(model):
    written, people = {}, {}
    summary = same_person.process_people(
        photos_of("anna/1.png", "anna/2.png", "anna/empty.png", "ben/1.png"),
        model,
        seen_by,
        lambda photo, image, pairs: written.update({photo.name: pairs}),
        batch_size=2,
        progress=False,
        person=lambda name, views: people.update({name: views}),
    )
    assert sorted(written) == ["anna/1.png", "anna/2.png", "ben/1.png"]
    assert {name: len(views) for name, views in people.items()} == {"anna": 2, "ben": 1}
    assert (summary.photos, summary.faces) == (4, 3)
    assert summary.skipped == ["anna/empty.png (no face found)"]
    one, two, other = (written[name][0][1] for name in sorted(written))
    for name in ("identity", "albedo"):
        np.testing.assert_array_equal(getattr(one.code, name), getattr(two.code, name))
    np.testing.assert_array_equal(one.neutral, two.neutral)
    assert one.coverage.any() and other.coverage.any()
    again = same_person.process_people(
        photos_of("anna/1.png"), model, seen_by, None, done=lambda photo: True, progress=False
    )
    assert again.before == 1 and again.faces == 0


def test_too_many_photos_and_no_model_are_refused(model):
    many = photos_of(*(f"{k}.png" for k in range(same_person.MOST + 1)))
    with pytest.raises(ValueError, match="65 photos of one person; at most 64 are refined as one"):
        same_person.process_people(many, model, seen_by, None, steps=1)
    with pytest.raises(ValueError, match="--model none is not one"):
        same_person.process_people(many, model._replace(networks=None), seen_by, None)


def test_photos_are_not_held_and_one_program_serves_any_number(model, monkeypatch):
    pixels = [photo.pixels for photo in photos_of("1.png", "2.png", "3.png")]
    files = [cv2.imencode(".png", one[..., ::-1])[1].tobytes() for one in pixels]
    photos = [
        Photo(Path(f"{k}.png"), f"{k}.png", encoded=lambda file=file: file)
        for k, file in enumerate(files)
    ]
    read, sizes, written = [], [], {}

    def source(image, path):
        read.append(weakref.ref(image))
        return seen_by(image, path)

    def lit(model, batch, code):
        sizes.append(len(batch.image))
        return relight(model, batch, code)

    def person(name, views):
        gc.collect()
        assert len(read) == 3 and not any(image() is not None for image in read)

    relight = same_person.relight
    monkeypatch.setattr(same_person, "relight", lit)
    summary = same_person.process_people(
        photos,
        model,
        source,
        lambda photo, image, pairs: written.update({int(photo.path.stem): image}),
        batch_size=2,
        progress=False,
        person=person,
    )
    assert sizes == [2, 2] and not summary.skipped
    for k, one in enumerate(pixels):
        np.testing.assert_array_equal(written[k], one)


def test_too_many_photos_are_refused_before_anything_is_done(model):
    many = photos_of(*(f"ben/{k}.png" for k in range(same_person.MOST + 1)))
    seen = []

    def source(image, path):
        seen.append(path)
        return []

    with pytest.raises(ValueError, match="65 photos of one person"):
        same_person.process_people(
            photos_of("anna/1.png") + many, model, source, None, steps=1, progress=False
        )
    assert not seen


def test_a_photo_and_a_person_that_fail_do_not_end_the_run(model):
    """What the system refuses to all of them does."""
    written = []

    def write(photo, image, pairs):
        if photo.name == "anna/1.png":
            raise OSError(errno.ENAMETOOLONG, "File name too long")
        written.append(photo.name)

    def person(name, views):
        written.append(name)
        if name == "anna":
            raise ValueError("no texture (at all)")

    def full(photo, image, pairs):
        raise OSError(errno.ENOSPC, "No space left on device")

    names, options = ("anna/1.png", "anna/2.png", "ben/1.png"), {"batch_size": 2, "progress": False}
    summary = same_person.process_people(
        photos_of(*names), model, seen_by, write, person=person, **options
    )
    assert written == ["anna", "anna/2.png", "ben", "ben/1.png"]
    assert (summary.photos, summary.faces) == (3, 2)
    assert summary.skipped == [
        "anna/person.glb (cannot be drawn: no texture [at all])",
        "anna/1.png (cannot be written: File name too long)",
    ]
    with pytest.raises(OSError, match="No space left"):
        same_person.process_people(photos_of("ben/1.png"), model, seen_by, full, **options)


def test_a_head_from_several_sides_is_one_person(model, monkeypatch):
    """An encoder that knows only the mean face makes nothing else of pictures of the mean face."""
    builtin = load_face_model("builtin")
    vertices = np.asarray(builtin.shape_mean, np.float64)
    mean = measure_scans.mesh_of(vertices, builtin)
    head = Scan("mean", vertices, mean.triangles, np.asarray(builtin.albedo_mean), mean.landmarks)
    monkeypatch.setattr(measure_scans, "SIDES", (0, 20))
    heads, found = measure_scans._from_sides(
        model, landmark_source("mediapipe"), [head], [], batch_size=2
    )
    assert list(found) == ["from yaw 0 alone", "from yaw 20 alone", "all as one"]
    for label, meshes in found.items():
        (one,) = measure_scans._compare(heads, meshes).values()
        assert np.median(one.distance) < 0.5, label  # mm, some of it the detector's
