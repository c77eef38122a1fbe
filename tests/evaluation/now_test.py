"""The benchmark's folders, with scans whose distance to the predictions is known."""

import json
import shutil

import numpy as np
import pytest
import trimesh

from focus_jax.evaluation import now
from focus_jax.evaluation.scans import SEVEN
from focus_jax.face_models import load_face_model

IMAGES = [
    "A/multiview_neutral/1.jpg",
    "A/multiview_occlusions/2.jpg",
    "B/selfie/3.jpg",
    "B/selfie/4.jpg",
]


def write_points(path, points):
    rows = "".join(f'<point x="{x}" y="{y}" z="{z}" name="{i}"/>' for i, (x, y, z) in points)
    path.write_text(f"<!DOCTYPE PickedPoints><PickedPoints>{rows}</PickedPoints>")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A scan of two subjects; predictions of three of four photos, one of them too narrow."""
    root = tmp_path_factory.mktemp("now")
    model = load_face_model("builtin")
    vertices = np.asarray(model.shape_mean, np.float64)
    points = np.einsum(
        "lk,lkc->lc", model.landmark_weights, vertices[np.asarray(model.landmark_vertices)]
    )[list(SEVEN)]
    for subject in "AB":
        for folder in ("scans", "scans_lmks_onlypp"):
            (root / "data" / folder / subject).mkdir(parents=True)
        mesh = trimesh.Trimesh(vertices + 5, model.triangles, process=False)
        mesh.export(root / "data/scans" / subject / "scan.obj")
        path = root / "data/scans_lmks_onlypp" / subject / "scan.pp"
        write_points(path, enumerate(points + 5))
    for image, factor in zip(IMAGES[:3], ([1, 1, 1], [2, 2, 2], [0.9, 1, 1]), strict=True):
        stem = (root / "predictions" / image).with_suffix("")
        stem.parent.mkdir(parents=True, exist_ok=True)
        mesh = trimesh.Trimesh(vertices * factor, model.triangles, process=False)
        if image == IMAGES[0]:  # with colours, which the public loader cannot read
            mesh.visual.vertex_colors = np.full((len(vertices), 4), 200, np.uint8)
            np.savetxt(stem.with_suffix(".txt"), points * factor, fmt="%.6f")
        else:
            np.save(stem.with_suffix(".npy"), (points * factor)[None])
        mesh.export(stem.with_suffix(".ply" if image == IMAGES[1] else ".obj"))
    (root / "list.txt").write_text("\n".join(IMAGES) + "\n")
    return root


@pytest.fixture(scope="module")
def result(folders):
    images = now.read_images(folders / "list.txt")
    return now.evaluate(folders / "data", folders / "predictions", images)


def test_errors_are_those_put_in_and_missing_ones_counted(result):
    assert result.missing == ["B/selfie/4.jpg"]
    assert result.errors[IMAGES[0]].max() < 1e-3
    assert result.errors[IMAGES[1]].max() < 1e-3  # only larger
    assert result.errors[IMAGES[2]].mean() > 0.3  # narrower


def test_metrical_errors_see_the_size(folders):
    found = now.evaluate(folders / "data", folders / "predictions", IMAGES[:2], unit=1.0)
    assert found.errors[IMAGES[0]].mean() < 1e-3 and found.errors[IMAGES[1]].mean() > 5


def test_statistics_pool_vertices_not_photos():
    errors = {
        "A/selfie/1.jpg": np.array([1.0, 1.0, 1.0]),
        "A/multiview_neutral/2.jpg": np.array([5.0]),
    }
    summary = now.summarize(now.Result(errors, ["A/selfie/3.jpg"]))
    assert summary["all"] == {
        "photos": 2, "missing": 1, "median": 1.0, "mean": 2.0, "std": pytest.approx(3**0.5),
    }  # fmt: skip
    assert summary["selfie"]["mean"] == 1.0 and summary["selfie"]["missing"] == 1
    assert list(summary) == ["all", "multiview_neutral", "selfie"]


def test_the_curve_rises_to_all_vertices():
    levels, percent = now.cumulative(np.linspace(0, 4, 1001))
    assert percent[-1] == pytest.approx(100) and (np.diff(percent) >= 0).all()
    assert np.interp(1.0, levels, percent) == pytest.approx(25, abs=0.2)


def test_tables_and_plots_are_written(result, tmp_path):
    yaws = {IMAGES[0]: 3.0, IMAGES[1]: 18.0, IMAGES[2]: -24.0}
    text = now.write(result, tmp_path, label="test", yaws=yaws)
    assert "multiview_occlusions | 1 | 0" in text and "selfie | 1 | 1" in text
    for name in ("cumulative.png", "cumulative.svg", "poses.png", "poses.svg", "distances.npz"):
        assert (tmp_path / name).stat().st_size > 1000
    assert json.loads((tmp_path / "now.json").read_text())["missing"] == ["B/selfie/4.jpg"]


def test_lists_and_yaws_of_spreadsheets_are_read(tmp_path):
    """With a byte-order mark, the lines' ends of Windows, and columns of their own."""
    (tmp_path / "list.txt").write_bytes("\ufeffA/selfie/é.jpg\r\n".encode())
    assert now.read_images(tmp_path / "list.txt") == ["A/selfie/é.jpg"]
    (tmp_path / "poses.csv").write_bytes("\ufeffimage,note,yaw\r\né.jpg,,-3.5\r\n".encode())
    assert now.read_yaws(tmp_path / "poses.csv") == {"é.jpg": -3.5}


@pytest.mark.parametrize(
    ("row", "told"),
    [("a.jpg", "None"), ("a.jpg,", "''"), ("a.jpg,left", "'left'"), (",nan", "'nan'")],
)
def test_rows_without_a_yaw_are_named(tmp_path, row, told):
    (tmp_path / "poses.csv").write_text(f"image,yaw\nb.jpg,1\n{row}\n")
    with pytest.raises(ValueError, match=rf"poses\.csv, line 3: {told} is no yaw of '"):
        now.read_yaws(tmp_path / "poses.csv")


def test_what_cannot_be_used_is_named(folders, tmp_path):
    with pytest.raises(ValueError, match=r"line 1: 'a\.jpg' is not SUBJECT/CHALLENGE/IMAGE"):
        (tmp_path / "list.txt").write_text("a.jpg\n")
        now.read_images(tmp_path / "list.txt")
    with pytest.raises(ValueError, match="no prediction for any of the 4 photos"):
        now.evaluate(folders / "data", tmp_path, IMAGES)
    broken = tmp_path / "predictions"
    shutil.copytree(folders / "predictions", broken)
    np.save(broken / "B/selfie/3.npy", np.zeros((68, 3)))
    with pytest.raises(ValueError, match=r"3\.npy: seven finite points are needed, not \(68, 3\)"):
        now.evaluate(folders / "data", broken, IMAGES)
    (broken / "A/multiview_neutral/1.obj").write_text("no mesh")
    with pytest.raises(ValueError, match=r"1\.obj"):
        now.evaluate(folders / "data", broken, IMAGES)


OBJ = """mtllib scan.mtl
# two triangles on either side of a seam, a square, and a vertex that nothing uses
v 0 0 0 1 0 0
v 1 0 0
v 1 1 0
v 0 1 0
v 9 9 9
vt 0 0
vt 1 0
vt 1 1
vt 0 1
vt .5 .5
vn 0 0 1
usemtl a
f 1/1/1 2/2/1 3/3/1
usemtl b
f 1/5/1 3/3/1 4/4/1
v 0 0 5
f 1//1 2//1 3//1 -1//1
"""


def test_each_vertex_of_a_scan_counts_once(tmp_path):
    (tmp_path / "scan.obj").write_text(OBJ)
    vertices, triangles = now.read_mesh(tmp_path / "scan.obj")
    expected = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [9, 9, 9], [0, 0, 5]]
    np.testing.assert_array_equal(vertices, expected)
    assert triangles.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2], [0, 2, 5]]
    (tmp_path / "scan.obj").write_text("v 0 0 0\nf 1 2 3\n")
    with pytest.raises(ValueError, match="names a vertex that is not among the 1"):
        now.read_mesh(tmp_path / "scan.obj")


def test_each_vertex_of_a_ply_with_a_texture_counts_once(tmp_path):
    uv = [[0, 0], [1, 0], [1, 1], [0, 0.5], [1, 1], [0, 1]]
    rows = ["0 0 0", "1 0 0", "1 1 0", "0 1 0"]
    for (a, b, c), k in (((0, 1, 2), 0), ((0, 2, 3), 3)):
        corners = " ".join(f"{u} {v}" for u, v in uv[k : k + 3])
        rows.append(f"3 {a} {b} {c} 6 {corners}")
    header = """ply
format ascii 1.0
element vertex 4
property float x
property float y
property float z
element face 2
property list uchar int vertex_indices
property list uchar float texcoord
end_header
"""
    (tmp_path / "scan.ply").write_text(header + "\n".join(rows) + "\n")
    vertices, triangles = now.read_mesh(tmp_path / "scan.ply")
    assert vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert triangles.tolist() == [[0, 1, 2], [0, 2, 3]]
