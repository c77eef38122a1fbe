import base64
import json
import os
import re
from urllib.parse import unquote_to_bytes

import cv2
import numpy as np

from focus_jax.face_models import load_face_model
from focus_jax.photos import export, page


def test_names_that_are_no_utf8_have_their_place_on_the_page(tmp_path):
    names = [b"Andr\xe9.jpg", "Zoë & #1?.jpg".encode()]
    for name in names:
        folder = tmp_path / os.fsdecode(name) / "0"
        folder.mkdir(parents=True)
        numbers = {"photo": os.fsdecode(name), "face": 0, "occlusion": {"total": 0.1}}
        (folder / "face.json").write_text(json.dumps({**numbers, "confidence": 0.5}))
    atlas = export.make_atlas(load_face_model("builtin", identity=1, expression=1, albedo=1))
    assert page.write_page(tmp_path, atlas) == 2
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    places = {unquote_to_bytes(p) for p in re.findall(r'data-view="([^"]*)"', text)}
    assert places == {name + b"/0/view.js" for name in names}
    assert "Andr\ufffd.jpg, face 0" in text and "Zoë &amp; #1?.jpg, face 0" in text


def test_a_view_holds_the_face_to_a_hundredth_of_a_millimetre():
    rng = np.random.default_rng(0)
    vertices = rng.normal(size=(500, 3)).astype(np.float32) * [80, 90, 40]
    picture = cv2.resize(rng.integers(0, 256, (16, 16, 3), np.uint8), (1024, 1024))
    script = page.view(vertices, picture)
    data = json.loads(script[len("showFace(") : script.rindex(")")])
    levels = np.frombuffer(base64.b64decode(data["places"]), "<i2").reshape(-1, 3)
    np.testing.assert_allclose(data["low"] + data["scale"] * levels, vertices, atol=0.01)
    start, _, encoded = data["texture"].partition(",")
    assert start == "data:image/jpeg;base64"
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(encoded), np.uint8), 1)
    assert shown.shape == (page.SIDE, page.SIDE, 3)
    assert np.abs(shown[..., ::-1].mean((0, 1)) - picture.mean((0, 1))).max() < 2
    assert len(script) < 120_000


def test_only_files_that_are_there_are_linked(tmp_path):
    folder = tmp_path / "a.jpg" / "0"
    folder.mkdir(parents=True)
    numbers = {"photo": "a.jpg", "face": 0, "occlusion": {"total": 0.1}, "confidence": 0.5}
    (folder / "face.json").write_text(json.dumps(numbers))
    (folder / "fitted.ply").write_bytes(b"")
    ((shown, _),), _ = page.faces(tmp_path)
    assert shown["files"] == ["fitted.ply", "face.json"]


def test_faces_of_runs_into_folders_below_are_not_listed(tmp_path):
    numbers = {"photo": "a.jpg", "face": 0, "occlusion": {"total": 0.1}, "confidence": 0.5}
    for folder in ("b/a.jpg/0", "below/a.jpg/0", "a.jpg/0"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "face.json").write_text(json.dumps(numbers))
    for folder in ("", "below"):
        (tmp_path / folder / "run.json").write_text("{}")
    found, strange = page.faces(tmp_path)
    places = [folder.relative_to(tmp_path).as_posix() for _, folder in found]
    assert places == ["a.jpg/0", "b/a.jpg/0"] and not strange


FOREIGN = [
    *("", "{", "[]", "{}", "[" * 100_000, '{"photo": "x", "face": 0, "confidence": 1}'),
    '{"photo": "x", "face": 0, "occlusion": [], "confidence": 1}',
    '{"photo": "x", "face": 0, "occlusion": {"total": null}, "confidence": 1}',
    '{"photo": "x", "face": 0, "occlusion": {"total": NaN}, "confidence": 1}',
    '{"photo": "x", "face": "left", "occlusion": {"total": 0}, "confidence": 1}',
    '{"photo": "x", "face": 0, "occlusion": {"total": 0}, "confidence": "high"}',
    '{"photo": "x", "face": 0, "occlusion": {"total": 0}, "confidence": 1, "flags": 3}',
]


def test_what_no_run_wrote_is_passed_over(tmp_path, capsys):
    own = {"photo": "a.jpg", "face": 0, "occlusion": {"total": 0.1}, "confidence": 0.5}
    (tmp_path / "a folder" / "face.json").mkdir(parents=True)
    for number, text in enumerate([json.dumps(own), *FOREIGN]):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "face.json").write_text(text)
    atlas = export.make_atlas(load_face_model("builtin", identity=1, expression=1, albedo=1))
    assert page.write_page(tmp_path, atlas) == 1
    assert (tmp_path / "index.html").read_text(encoding="utf-8").count("<article") == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"{len(FOREIGN)} face.json that no run wrote whole are not on")
