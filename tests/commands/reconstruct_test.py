"""The commands as a new user meets them, without a trained model, on the astronaut photo."""

import argparse
import json
import re
import shutil
import subprocess
import tarfile

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
import trimesh
import untrained

from focus_jax.commands import arguments as common
from focus_jax.commands import reconstruct, segment
from focus_jax.face_models import load_face_model
from focus_jax.photos import maps, process, results
from focus_jax.photos import trained as trained_module
from focus_jax.photos.reconstruct import clear_all
from focus_jax.rendering import camera, morphable
from tests.photos.video_files_test import write as write_clip

ALL = ["--write", ",".join(results.KINDS)]


@pytest.fixture(scope="module", autouse=True)
def small():
    """Few modes, pixels and steps."""
    with pytest.MonkeyPatch.context() as patch:
        untrained.make_small(patch)
        patch.setattr(trained_module, "UNTRAINED_STEPS", 10)
        # A test's cache of compiled programs would outlive it.
        patch.setattr(common, "keep_programs", lambda: None)
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    face = skimage.data.astronaut()[:300, 100:400, ::-1]
    cv2.imwrite(str(folder / "one.png"), face)
    (folder / "deep").mkdir()
    cv2.imwrite(str(folder / "deep" / "two faces.jpg"), np.concatenate([face, face[:, ::-1]], 1))
    cv2.imwrite(str(folder / "dark.png"), np.zeros((50, 50, 3), np.uint8))
    (folder / "text.jpg").write_text("not a photo")
    (folder / "notes.txt").write_text("left alone")
    return folder


@pytest.fixture(scope="module")
def written():
    """What `ran` wrote: the arguments of `results.write_face` by the photo's name."""
    return {}


@pytest.fixture(scope="module")
def ran(photos, written, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    write = results.write_face
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "write_face", lambda *a: written.update({a[1]: a}) or write(*a))
        status = reconstruct.main(
            [str(photos), "--out", str(out), "--batch-size", "2", "--model", "none", *ALL]
        )
    return out, status


def numbers(folder):
    return json.loads((folder / "face.json").read_text())


def test_every_face_has_its_files(ran):
    out, status = ran
    assert status == 0
    faces = sorted(p.parent.relative_to(out).as_posix() for p in out.rglob("face.json"))
    assert faces == ["deep/two faces.jpg/0", "deep/two faces.jpg/1", "one.png/0"]
    names = {p.name for p in (out / "one.png" / "0").iterdir()}
    meshes = {f"{s}.{e}" for s in ("fitted", "neutral") for e in ("obj", "ply", "glb")}
    masks = {f"{m}{c}.png" for m in ("mask", "occlusion") for c in ("", "_crop")}
    assert meshes | masks | {"texture.png", "material.mtl", "overlay.jpg", "strip.jpg"} <= names
    # The built-in model's face is all that it has.
    assert not any(name.startswith("head") for name in names)


FILES = {
    "numbers": set(),
    "mask": {"mask.png", "occlusion.png", "mask_crop.png", "occlusion_crop.png"},
    "meshes": {"fitted.glb"},
    "neutral": {"neutral.glb"},
    "obj": {"fitted.obj", "neutral.obj", "material.mtl", "texture.png"},
    "ply": {"fitted.ply", "neutral.ply"},
    "pictures": {"overlay.jpg", "strip.jpg"},
    "turned": {"turned.jpg"},
    "page": {"view.js", "strip.jpg"},
    "arkit": {"arkit.json", "arkit.csv", "arkit.glb"},
    "maps": {f"{name}.png" for name in (*maps.SCALES, "normals")},
}


@pytest.mark.parametrize("kinds", [*([kind] for kind in results.KINDS), results.WRITTEN])
def test_what_is_asked_for_is_written_and_nothing_else(written, tmp_path, ran, kinds):
    _, name, image, face, found, shared = written["one.png"]
    asked = results.share(shared.model, kinds)
    results.write_face(tmp_path, name, image, face, found, asked)
    expected = {"face.json"}.union(*(FILES[kind] for kind in kinds))
    assert {path.name for path in tmp_path.iterdir()} == expected
    for path in tmp_path.iterdir():  # whatever else is written
        assert path.read_bytes() == (ran[0] / "one.png" / "0" / path.name).read_bytes(), path.name


def test_what_was_skipped_is_listed_with_the_reason(ran):
    lines = (ran[0] / "skipped.txt").read_text().splitlines()
    assert lines == [
        "dark.png (no face found)",
        "text.jpg (no picture: text)",
    ]


def test_the_camera_projects_into_the_original_photo(ran):
    found = numbers(ran[0] / "deep" / "two faces.jpg" / "1")
    model = load_face_model("builtin", identity=3, expression=2, albedo=2)
    code = {k: jnp.array(v) for k, v in found["coefficients"].items()}
    vertices = morphable.vertices(model, code["identity"], code["expression"])
    K, R, t = (jnp.array(found["camera"][k]) for k in ("K", "R", "t"))
    landmarks = morphable.landmarks(model, camera.project(vertices, R, t, K))[:, :2]
    np.testing.assert_allclose(landmarks, found["landmarks"], atol=0.05)
    # And there is where the photo shows the face.
    detected = np.array(found["detection"]["landmarks"])
    error = np.linalg.norm(landmarks - detected, axis=1).mean()
    assert error < 0.15 * np.linalg.norm(detected[36] - detected[45])


def test_the_crop_goes_there_and_back(ran):
    crop = numbers(ran[0] / "one.png" / "0")["crop"]
    there, back = np.vstack([crop["transform"], [0, 0, 1]]), np.vstack([crop["inverse"], [0, 0, 1]])
    np.testing.assert_allclose(there @ back, np.eye(3), atol=1e-6)


def test_masks_share_the_face_between_them(ran):
    folder = ran[0] / "one.png" / "0"
    mask, hidden = (cv2.imread(str(folder / f"{n}.png"), -1) for n in ("mask", "occlusion"))
    assert mask.shape == hidden.shape == (300, 300)
    assert set(np.unique(mask)) <= {0, 255} and not (mask & hidden).any()
    found = numbers(folder)
    share = (hidden > 0).sum() / ((hidden | mask) > 0).sum()
    assert abs(share - found["occlusion"]["total"]) < 0.02
    nose = np.rint(found["landmarks"][30]).astype(int)
    assert (mask | hidden)[nose[1], nose[0]] == 255
    assert 0 <= found["confidence"] <= 1
    assert all(v is None or 0 <= v <= 1 for v in found["occlusion"].values())


def test_refinement_is_reported_and_helps(ran):
    refinement = numbers(ran[0] / "one.png" / "0")["refinement"]
    assert refinement["landmark"][1] <= 1.101 * refinement["landmark"][0], refinement
    assert refinement["photometric"][1] < refinement["photometric"][0], refinement


def test_meshes_are_the_faces_of_the_numbers(ran):
    folder = ran[0] / "one.png" / "0"
    found = numbers(folder)
    model = load_face_model("builtin", identity=3, expression=2, albedo=2)
    code = {k: jnp.array(v) for k, v in found["coefficients"].items()}
    neutral = morphable.vertices(model, code["identity"], code["expression"][:0])
    loaded = trimesh.load_mesh(folder / "neutral.ply", process=False)
    np.testing.assert_allclose(loaded.vertices, neutral, atol=1e-2)
    fitted = trimesh.load_mesh(folder / "fitted.ply", process=False)
    in_camera = fitted.vertices * [1, -1, -1]
    expected = morphable.vertices(model, code["identity"], code["expression"])
    np.testing.assert_allclose(in_camera, expected @ np.array(found["camera"]["R"]).T, atol=1e-2)


def test_the_misfit_prior_is_subtracted_from_the_meshes(ran, written, tmp_path):
    _, name, image, face, found, shared = written["one.png"]
    prior = np.random.default_rng(0).normal(size=found.neutral.shape).astype(np.float32)
    corrected = shared._replace(model=shared.model._replace(misfit=prior))
    about = results.write_face(tmp_path, name, image, face, found, corrected)
    assert about["model"]["misfit_prior"]
    assert not numbers(ran[0] / "one.png" / "0")["model"]["misfit_prior"]
    for mesh, turn in (("neutral", np.eye(3)), ("fitted", np.diag([1, -1, -1]) @ found.rotation)):
        before, after = (
            trimesh.load_mesh(folder / f"{mesh}.ply", process=False).vertices
            for folder in (ran[0] / "one.png" / "0", tmp_path)
        )
        np.testing.assert_allclose(before - after, prior @ turn.T, atol=1e-3)


def test_a_photo_wider_than_opencv_warps(ran, written, tmp_path):
    _, name, image, face, found, shared = written["one.png"]
    wide = np.zeros((300, 33000, 3), np.uint8)
    wide[:, :300] = image
    results.write_face(tmp_path, name, wide, face, found, shared)
    strips = (cv2.imread(str(f / "strip.jpg")) for f in (tmp_path, ran[0] / "one.png" / "0"))
    np.testing.assert_allclose(*(s.astype(int) for s in strips), atol=2)
    assert cv2.imread(str(tmp_path / "overlay.jpg")).shape == wide.shape


def test_a_photo_that_cannot_be_drawn_stops_nothing(photos, tmp_path, monkeypatch, capsys):
    def fails(folder, name, *rest):
        raise cv2.error("too (wide)\n")

    monkeypatch.setattr(results, "write_face", fails)
    arguments = [str(photos), "--out", str(tmp_path), "--batch-size", "2", "--model", "none"]
    assert reconstruct.main(arguments) == 1  # nothing came of it
    line = capsys.readouterr().out.strip().splitlines()[-1]
    assert line.startswith("4 photos, 0 faces, 4 skipped (2 cannot be drawn: too [wide];")
    done = [path.parent.name for path in tmp_path.rglob("done.json")]
    assert done == ["dark.png"]  # of which is known that it shows no face


def test_a_run_goes_on_where_it_was(ran, photos, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    shutil.copytree(ran[0], out)
    # Of two faces, which the batches that are compiled by now hold.
    (out / "deep" / "two faces.jpg" / "done.json").unlink()
    done = []
    write = results.write_face
    monkeypatch.setattr(results, "write_face", lambda *a: done.append(a[1]) or write(*a))
    arguments = [str(photos), "--out", str(out), "--batch-size", "2", "--model", "none", *ALL]
    arguments += ["--resume"]
    assert reconstruct.main([*arguments, "--strict"]) == 1
    assert done == ["deep/two faces.jpg"] * 2
    line = capsys.readouterr().out.strip().splitlines()[-1]
    assert line.startswith("3 photos, 2 faces, 1 done before, 2 skipped (1 no")
    assert reconstruct.main([*arguments, "--refine", "4"]) == 1
    assert "refine (was 10, now 4)" in capsys.readouterr().err


def test_results_of_other_settings_are_not_mixed_in(ran, photos, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(ran[0], out)
    given = tmp_path / "given"  # with two faces, a batch that is compiled by now
    given.mkdir()
    for name in ("one.png", "twin.png"):
        shutil.copy(photos / "one.png", given / name)
    arguments = [str(given), "--out", str(out), "--batch-size", "2", "--model", "none", *ALL]
    others = [*arguments, "--refine", "4"]
    assert reconstruct.main(others) == 1
    assert "refine (was 10, now 4)" in capsys.readouterr().err
    assert numbers(out / "one.png" / "0") == numbers(ran[0] / "one.png" / "0")
    # The same settings go on beside what is there, and replace what is done anew.
    (out / "one.png" / "7").mkdir()
    shutil.copy(out / "one.png" / "0" / "face.json", out / "one.png" / "7")
    assert reconstruct.main(arguments) == 0
    assert (out / "index.html").read_text().count("<article") == 4
    assert not (out / "one.png" / "7").exists()
    # Overwriting leaves what a run did not write.
    (out / "deep" / "notes.txt").write_text("the user's own")
    assert reconstruct.main([*others, "--overwrite"]) == 0
    assert (out / "index.html").read_text().count("<article") == 2
    assert [p.name for p in (out / "deep").rglob("*") if p.is_file()] == ["notes.txt"]
    assert json.loads((out / "run.json").read_text())["refine"] == 4


def test_overwriting_leaves_other_runs_below_and_people_of_the_user(tmp_path):
    ours = ["a.jpg/0/face.json", "a.jpg/done.json", "b/c.jpg/0/face.json", "b/person.glb"]
    kept = ["other/run.json", "other/a.jpg/0/face.json", "other/a.jpg/done.json"]
    kept += ["other/person.json", "mine/person.json", "mine/person.glb"]
    for name in [*ours, *kept, "b/person.json"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    for folder in ("b", "other"):
        person = {"identity": [], "albedo": [], "photos": []}
        (tmp_path / folder / "person.json").write_text(json.dumps(person))
    clear_all(tmp_path)
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert left == set(kept)


WRONG = [
    ["--landmarks", "retina"],
    ["--landmarks", "EMPTY/gone.csv"],
    ["--export", "flame=EMPTY/run.json"],
    ["--model", "EMPTY"],
    ["--refine", "-1"],
    ["--batch-size", "0"],
    ["--face-model", "EMPTY/gone.npz"],
]


@pytest.mark.parametrize("command", [reconstruct, segment])
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_refused_removes_nothing(photos, tmp_path, capsys, command, wrong):
    if command is segment and wrong[0] in ("--export", "--refine"):
        pytest.skip("not an argument of it")
    (tmp_path / "run.json").write_text('{"refine": 77}')
    done = tmp_path / "one.png" / "0" / "face.json"
    done.parent.mkdir(parents=True)
    done.write_text("{}")
    (tmp_path / "masks.jsonl").write_text('{"photo": "one.png", "files": ["one.png/0/face.json"]}')
    words = [word.replace("EMPTY", str(tmp_path)) for word in wrong]
    given = [str(photos / "one.png"), "--out", str(tmp_path), "--model", "none", "--overwrite"]
    assert command.main([*given, *words]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")
    assert done.is_file() and '"refine": 77' in (tmp_path / "run.json").read_text()


def test_a_run_in_which_no_photo_has_a_face_fails(photos, tmp_path, capsys):
    given = [str(photos / "dark.png"), str(tmp_path / "gone.png")]
    assert reconstruct.main([*given, "--out", str(tmp_path / "out"), "--model", "none"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("2 photos, 0 faces, 2 skipped")
    assert "no face was found in any of them" in said.err
    skipped = [f"{given[1]} (no such file or folder)", "dark.png (no face found)"]
    assert (tmp_path / "out" / "skipped.txt").read_text().splitlines() == skipped


def test_home_in_an_argument_is_a_folder_of_no_such_name(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert reconstruct.main([str(photos / "dark.png"), "--out=~/x", "--model", "none"]) == 1
    assert (tmp_path / "x" / "run.json").is_file() and not (tmp_path / "~").exists()
    capsys.readouterr()


def test_a_full_disk_stops_the_run_in_one_sentence(photos, tmp_path, monkeypatch, capsys):
    def full(*arguments):
        raise OSError(28, "No space left on device", "mask.png")

    monkeypatch.setattr(results, "write_face", full)
    arguments = [
        str(photos / "deep"),
        "--out",
        str(tmp_path),
        "--batch-size",
        "2",
        "--model",
        "none",
    ]
    assert reconstruct.main(arguments) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.endswith("No space left on device: mask.png; make room and go on with --resume")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["EMPTY"], "no photos in"),
        (["PHOTOS", "--out", "PHOTOS/"], "is the photos' own folder; give another folder as --out"),
        (["EMPTY/gone.jpg"], "no such file"),
        (["PHOTOS", ""], "a path is empty; give a photo"),
        (["PHOTOS", "--out", ""], "a path is empty; give a folder as --out"),
        (["s3://some/photos"], "s3://some/photos is an address; give a photo, a video or a folder"),
        (["PHOTOS", "--out", "gs://some/out"], "is an address; give a folder as --out on this"),
        (["PHOTOS", "--model", "EMPTY"], "is not a trained model"),
        (["PHOTOS", "--landmarks", "retina"], "landmarks come from"),
        (["PHOTOS", "--batch-size", "0"], "from 1 to 4096"),
        (["PHOTOS", "--refine", "-1"], "from 0 to 100000"),
        (["PHOTOS", "--write", "mask,mesh"], "there is no 'mesh' to write; there are numbers, "),
        (["PHOTOS", "--write", ""], "there is no '' to write; there are numbers"),
        (["PHOTOS", "--face-model", "EMPTY/no.npz"], "does not exist"),
    ],
)
def test_what_cannot_work_is_said_in_a_sentence(photos, tmp_path, capsys, arguments, message):
    places = [a.replace("EMPTY", str(tmp_path)).replace("PHOTOS", str(photos)) for a in arguments]
    assert reconstruct.main(["--out", str(tmp_path / "out"), *places]) == 1
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_of_many_other_files_some_are_named(tmp_path, capsys):
    for k in range(common.LISTED + 7):
        (tmp_path / f"{k:04}.txt").write_text("of a photo")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    given = argparse.Namespace(paths=[str(tmp_path)], out=str(tmp_path / "out"), batch_size=1)
    assert [photo.name for photo in common._photos(given).photos] == ["a.png"]
    first, *names = capsys.readouterr().err.splitlines()
    assert first == "107 other files left alone:" and names[0] == "  0000.txt"
    assert len(names) == common.LISTED + 1 and names[-1] == "  and 7 more"


def test_results_do_not_go_where_the_photos_are(photos, capsys):
    assert reconstruct.main([str(photos / "one.png"), "--out", str(photos)]) == 1
    assert "holds one.png itself; give another folder as --out" in capsys.readouterr().err


def test_a_page_of_the_user_is_not_replaced(photos, tmp_path, capsys):
    (tmp_path / "index.html").write_text("the user's own")
    assert reconstruct.main([str(photos / "dark.png"), "--out", str(tmp_path)]) == 1
    assert "holds an index.html of no earlier run; give another --out" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


# --- masks alone ---------------------------------------------------------------------------------


def test_masks_of_a_data_set(ran, photos, tmp_path, capsys):
    arguments = [str(photos), "--out", str(tmp_path), "--batch-size", "2", "--model", "none"]
    assert segment.main(arguments) == 0
    mask = cv2.imread(str(tmp_path / "deep" / "two faces_mask.png"), -1)
    hidden = cv2.imread(str(tmp_path / "deep" / "two faces_occlusion.png"), -1)
    assert mask.shape == (300, 600) and not (mask & hidden).any()
    of_faces = [
        cv2.imread(str(ran[0] / "deep" / "two faces.jpg" / f"{k}" / "mask.png"), -1) for k in (0, 1)
    ]
    np.testing.assert_array_equal(mask, np.maximum(*of_faces))


def test_masks_of_the_user_are_not_replaced(photos, tmp_path, capsys):
    for name in ("a.png", "a_mask.png"):
        shutil.copy(photos / "dark.png", tmp_path / name)
    given = [str(tmp_path / "a.png"), str(tmp_path / "a_mask.png"), "--out", str(tmp_path)]
    assert segment.main([*given, "--model", "none", "--overwrite"]) == 1
    assert "a_mask.png is of no earlier run and would be replaced" in capsys.readouterr().err
    assert (tmp_path / "a_mask.png").read_bytes() == (photos / "dark.png").read_bytes()
    assert not (tmp_path / "run.json").exists()


def test_a_summary_counts_reasons():
    skipped = ["a.jpg (truncated)", "b (1).jpg (truncated)", "c (no face found)"]
    summary = process.Summary(9, 7, 2, skipped)
    counted = ", 7 faces, 2 done before, 3 skipped (2 truncated; 1 no face found)"
    assert summary.line() == "9 photos" + counted
    assert summary._replace(unread=1).line() == "10 photos" + counted


# --- video ---------------------------------------------------------------------------------------


def test_a_video_gives_an_overlay_a_track_and_a_face(tmp_path, capsys):
    writer = cv2.VideoWriter(
        str(tmp_path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 20, (300, 300)
    )
    face = skimage.data.astronaut()[:300, 100:400, ::-1]
    for number in range(5):
        writer.write(np.roll(face, 3 * number, 1) if number != 2 else np.zeros_like(face))
    writer.release()
    arguments = [
        str(tmp_path / "clip.mp4"),
        "--out",
        str(tmp_path / "out"),
        "--batch-size",
        "2",
        "--model",
        "none",
    ]
    assert reconstruct.main(arguments) == 0
    assert "1 videos (5 frames)" in capsys.readouterr().out
    folder = tmp_path / "out" / "clip.mp4"
    lines = [json.loads(line) for line in (folder / "track.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2, 3, 4]
    assert all(
        line["coefficients"]["identity"] == lines[0]["coefficients"]["identity"] for line in lines
    )
    noses = np.array([line["landmarks"][30] for line in lines])
    assert 6 < noses[4, 0] - noses[0, 0] < 15  # it moves 12 pixels to the right
    assert (folder / "0" / "fitted.glb").is_file()
    assert "clip.mp4/0/../overlay.webm" in (tmp_path / "out" / "index.html").read_text()
    capture = cv2.VideoCapture(str(folder / "overlay.webm"))
    drawn = [capture.read()[1] for _ in range(5)]
    assert not capture.read()[0]
    assert np.abs(drawn[0].astype(int) - face).mean() > 1  # the face is drawn over


# --- the page ------------------------------------------------------------------------------------


def test_the_page_lists_every_face_and_loads_nothing_from_elsewhere(ran):
    text = (ran[0] / "index.html").read_text()
    assert text.count("<article") == 3 and "deep/two%20faces.jpg/1/strip.jpg" in text
    assert 'src="http' not in text and 'href="http' not in text


@pytest.fixture
def look():
    """Chromium with a page and more options; what it prints."""
    names = ("chromium-headless-shell", "chromium", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip("no Chromium on this machine")

    def run(page, *more):
        options = ["--headless", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader"]
        options += ["--enable-unsafe-swiftshader", "--virtual-time-budget=6000"]
        command = [browser, *options, *more, page.as_uri()]
        return subprocess.run(command, check=True, capture_output=True, timeout=100).stdout.decode()

    return run


def test_the_page_sorts_by_what_is_hidden(ran, tmp_path, look):
    shares = re.compile(r'data-occlusion="([0-9.]+)"')
    text = (ran[0] / "index.html").read_text()
    as_written = shares.findall(text)
    assert as_written == sorted(as_written, reverse=True) and as_written[0] > as_written[-1]
    choose = "order.value = 'occlusion,1'; order.onchange({target: order});"
    page = tmp_path / "page.html"
    page.write_text(text.replace("</body>", f"<script>{choose}</script></body>"))
    assert shares.findall(look(page, "--dump-dom")) == as_written[::-1]


def test_a_browser_draws_the_face(ran, tmp_path, look):
    shot = tmp_path / "shot.png"
    # On a busy machine the browser's time runs out before its renderer, another process, has drawn.
    for _ in range(5):
        look(
            ran[0] / "index.html",
            f"--screenshot={shot}",
            "--window-size=1500,900",
            "--force-color-profile=srgb",
        )
        view, drawn = _first_view(cv2.imread(str(shot))[..., ::-1].astype(int))
        if drawn.mean() > 0.15:
            break
    assert 0.15 < drawn.mean() < 0.7
    red, green, blue = view[drawn].mean(0)
    assert red > green > blue  # skin


def _first_view(picture):
    """The view that is drawn most, of a grey ground of 224 x 228 pixels, and where it is drawn."""
    ground = (np.abs(picture - 0xE8) <= 3).all(-1).astype(np.uint8)
    _, _, boxes, _ = cv2.connectedComponentsWithStats(ground)
    views = [box for box in boxes[1:] if tuple(box[2:4]) == (224, 228)]
    x, y, width, height, _ = min(views, key=lambda box: box[4])
    view = picture[y : y + height, x : x + width]
    return view, (np.abs(view - 0xE8) > 8).any(-1)


def test_links_in_the_output_folder_lead_nothing_elsewhere(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.jpg").symlink_to(tmp_path / "elsewhere")
    process.check_inside(tmp_path / "out", ["b.jpg", "folder/a.jpg"])
    with pytest.raises(ValueError, match=r"leads a\.jpg elsewhere"):
        process.check_inside(tmp_path / "out", ["b.jpg", "a.jpg"])


def test_photos_of_one_person_need_a_trained_model_and_no_video(photos, tmp_path, capsys):
    clip = write_clip(tmp_path / "a.mp4", 3)
    for path, said in (
        (photos / "one.png", "photos of one person need a trained model; --model none is not one"),
        (clip, "--same-person is of photos; in a video people are told apart anyway"),
    ):
        options = ["--out", str(tmp_path / "out"), "--model", "none", "--same-person"]
        assert reconstruct.main([str(path), *options]) == 1
        assert said in capsys.readouterr().err


def test_several_folders_are_not_one_person(tmp_path, capsys):
    for name in ("alice", "bob", "carol.tar"):
        (tmp_path / name).mkdir() if "." not in name else tarfile.open(tmp_path / name, "w").close()
    cv2.imwrite(str(tmp_path / "alice" / "1.png"), np.zeros((50, 50, 3), np.uint8))
    for given in (["alice", "bob"], ["alice", "carol.tar"]):
        paths = [str(tmp_path / name) for name in given]
        options = ["--out", str(tmp_path / "out"), "--model", "none", "--same-person"]
        assert reconstruct.main([*paths, *options]) == 1
        assert "of several people give the common folder" in capsys.readouterr().err


def test_a_wrong_export_is_said_before_anything_is_done(photos, tmp_path, capsys):
    out = tmp_path / "out"
    for word in ("flame", "gnm=nowhere.npz", "obj"):
        assert reconstruct.main([str(photos), "--out", str(out), "--export", word]) == 1
        assert f"{word.partition('=')[0]}" in capsys.readouterr().err
    assert not list(out.rglob("face.json"))
