import csv
import json
import types

import numpy as np
import pytest
from glb_files import read_glb, targets
from scipy.spatial.transform import Rotation

from focus_jax.face_models import arkit, load_face_model
from focus_jax.photos import arkit_files, export, mesh_files
from focus_jax.rendering import morphable

# As recordings of Live Link Face begin.
EYES = ["EyeBlink", "EyeLookDown", "EyeLookIn", "EyeLookOut", "EyeLookUp", "EyeSquint", "EyeWide"]
FIRST = [f"{name}{side}" for side in ("Left", "Right") for name in EYES]
FIRST += ["JawForward", "JawRight", "JawLeft", "JawOpen", "MouthClose", "MouthFunnel"]
FIRST += ["MouthPucker", "MouthRight", "MouthLeft", "MouthSmileLeft", "MouthSmileRight"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The files of a face and of three frames, and what they were made of."""
    model = load_face_model("builtin", identity=2, albedo=1)
    units = arkit_files.units_of(types.SimpleNamespace(face_model_file="builtin"))
    rng = np.random.default_rng(0)
    wanted = np.where(np.arange(52) == arkit.NAMES.index("jawOpen"), 0.6, 0.0)
    codes = np.stack([arkit.expression(units, part * wanted, ridge=1e-6) for part in (1, 0, 0.5)])
    neutral = np.asarray(morphable.vertices(model, rng.normal(size=2), codes[0][:0]))
    surface = mesh_files.make_surface(export.make_atlas(model))
    picture = np.zeros((8, 8, 3), np.uint8)
    turn = Rotation.from_euler("YXZ", [[0.3, -0.2, 0.1]] * 3).as_matrix() * [[1], [-1], [-1]]
    one, clip = (tmp_path_factory.mktemp(name) for name in ("one", "clip"))
    place = neutral, surface, picture
    arkit_files.write(one, units, codes[0], turn[0], *place)
    frames = np.array([0, 1, 31])
    arkit_files.write(clip, units, codes, turn, *place, frames=frames, rate=30.0)
    return one, clip, model, units, codes, neutral


def test_the_columns_are_live_links(written):
    (header, row) = csv.reader((written[0] / "arkit.csv").read_text().splitlines())
    assert header[:2] == ["Timecode", "BlendShapeCount"] and header[2 : 2 + len(FIRST)] == FIRST
    assert header[53] == "TongueOut" and header[54:57] == ["HeadYaw", "HeadPitch", "HeadRoll"]
    assert len(header) == len(row) == 63 and row[1] == "61" and row[0] == "00:00:00:00.000"
    assert {name.lower() for name in header[2:54]} == {name.lower() for name in arkit.NAMES}


def test_a_weight_has_its_own_column_and_name(written):
    found = json.loads((written[0] / "arkit.json").read_text())
    (row,) = csv.DictReader((written[0] / "arkit.csv").read_text().splitlines())
    assert found["weights"]["jawOpen"] == pytest.approx(0.6, abs=0.1)
    for name, weight in found["weights"].items():
        assert float(row[name[0].upper() + name[1:]]) == pytest.approx(weight, abs=1e-4)


def test_the_heads_angles_are_those_that_it_was_turned_by(written):
    head = json.loads((written[0] / "arkit.json").read_text())["head"]
    assert list(head.values()) == pytest.approx([0.3, -0.2, 0.1], abs=1e-3)
    right = Rotation.from_euler("y", 0.5).apply([0, 0, 1])  # looks to the right of the picture
    assert right[0] > 0


def test_frames_have_their_times(written):
    rows = list(csv.DictReader((written[1] / "arkit.csv").read_text().splitlines()))
    assert [row["Timecode"] for row in rows] == [
        f"00:00:{t}.000" for t in ("00:00", "00:01", "01:01")
    ]
    found = json.loads((written[1] / "arkit.json").read_text())
    assert found["rate"] == 30 and [f["frame"] for f in found["frames"]] == [0, 1, 31]
    opened = [f["weights"]["jawOpen"] for f in found["frames"]]
    assert opened[0] > opened[2] > opened[1] == pytest.approx(0, abs=1e-3)
    tree, binary = read_glb(written[1] / "arkit.glb")
    sampler = tree["animations"][0]["samplers"][0]
    times, moving = (binary(tree["accessors"][sampler[k]]) for k in ("input", "output"))
    np.testing.assert_allclose(times, [0, 1 / 30, 31 / 30], rtol=1e-6)
    np.testing.assert_allclose(moving.reshape(3, 52)[:, 17], opened, atol=1e-4)
    assert [f["seconds"] for f in found["frames"]] == [0, 0.0333, 1.0333]


def test_times_of_a_video_without_a_steady_rate_are_kept():
    """The last three digits are thousandths of a frame of the clock."""
    weights, angles = np.zeros((3, 52)), np.zeros((3, 3))
    text = arkit_files.live_link(weights, angles, np.array([0.0, 0.05, 61.0]), 30.0)
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["Timecode"] for row in rows] == [
        f"00:{t}" for t in ("00:00:00.000", "00:00:01.500", "01:01:00.000")
    ]


def test_the_meshs_targets_make_up_the_fitted_face(written):
    folder, _, model, units, codes, neutral = written
    tree, binary = read_glb(folder / "arkit.glb")
    mesh = tree["meshes"][0]
    assert tuple(mesh["extras"]["targetNames"]) == arkit.NAMES
    base = binary(tree["accessors"][mesh["primitives"][0]["attributes"]["POSITION"]])
    shown = base + np.tensordot(mesh["weights"], targets(tree, binary), axes=1)
    atlas = export.make_atlas(model)
    weights = arkit.weights(units, codes[0])
    wanted = (neutral + units.shapes @ weights)[atlas.vertex] / 1000
    np.testing.assert_allclose(shown, wanted, atol=5e-5)
    fitted = neutral + np.asarray(model.expression_basis)[..., : len(codes[0])] @ codes[0]
    assert np.linalg.norm(shown - fitted[atlas.vertex] / 1000, axis=1).mean() < 5e-4


def test_a_face_model_without_units_is_refused(tmp_path):
    np.savez(tmp_path / "own.npz", format="focus_jax 2")
    face_model = types.SimpleNamespace(name="own")
    model = types.SimpleNamespace(face_model_file=str(tmp_path / "own.npz"), face_model=face_model)
    with pytest.raises(ValueError, match="own has no ARKit units; the built-in one has"):
        arkit_files.units_of(model)
