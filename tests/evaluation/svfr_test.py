"""NeRSemble's single-view protocol, on point clouds whose distance to the meshes is known."""

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from focus_jax.commands import evaluate as command
from focus_jax.evaluation import svfr
from focus_jax.evaluation.scans import SEVEN
from focus_jax.face_models import fitting, load_face_model

KEYS = ("017/FREE_786_222200038", "060/EXP-1-head_042_222200040")


@pytest.fixture(scope="module")
def face():
    model = load_face_model("builtin")
    points = fitting.landmark_points(model)[list(SEVEN)]
    return np.asarray(model.shape_mean, np.float64), np.asarray(model.triangles), points


def write(root, key, task, vertices, triangles, points, *, cloud=False):
    folder = root / key
    folder.mkdir(parents=True, exist_ok=True)
    mesh = trimesh.Trimesh(vertices, triangles, process=False)
    mesh.export(folder / f"mesh_{task}.ply", vertex_normal=cloud)
    np.save(folder / f"landmarks_{task}.npy", points)


@pytest.fixture(scope="module")
def tree(face, tmp_path_factory):
    """Truth of two images, one of them neutral, too; predictions of all but one."""
    vertices, triangles, points = face
    root = tmp_path_factory.mktemp("svfr")
    turn = Rotation.from_euler("xyz", [20, -30, 15], degrees=True).as_matrix()
    for key in KEYS:
        write(root / "truth", key, "posed", *face, cloud=True)
    write(root / "truth", KEYS[0], "neutral", *face, cloud=True)
    moved = (0.001 * x @ turn + [3.0, -2, 5] for x in (vertices, points))
    write(root / "own", KEYS[0], "posed", next(moved), triangles, next(moved))
    write(root / "own", KEYS[0], "neutral", vertices * [1.1, 1, 1], triangles, points * [1.1, 1, 1])
    return root


def test_a_moved_and_scaled_mesh_scores_nothing_and_a_wide_one_does(tree):
    found = svfr.evaluate(tree / "truth", tree / "own")
    assert found["posed"][KEYS[1]] is None
    same, wide = found["posed"][KEYS[0]], found["neutral"][KEYS[0]]
    assert same["distance"] < 1e-3 and same["absolute"] < 2e-3 and same["recall"] == 1
    assert same["normals"] > 0.97  # of vertices beside those of triangles
    assert wide["distance"] > 0.3 and wide["normals"] < same["normals"] and wide["recall"] < 1
    assert wide["distance"] < wide["absolute"] < 3**0.5 * wide["distance"]


def test_a_prediction_without_its_landmarks_is_missing(tree, face, tmp_path):
    for key in KEYS:
        write(tmp_path, key, "posed", *face)
    (tmp_path / KEYS[0] / "landmarks_posed.npy").unlink()
    found = svfr.evaluate(tree / "truth", tmp_path)["posed"]
    assert found[KEYS[0]] is None and found[KEYS[1]] is not None


def test_metrical_scores_see_the_size(tree):
    found = svfr.evaluate(tree / "truth", tree / "own", unit=1000.0)
    assert found["posed"][KEYS[0]]["distance"] < 1e-3
    wrong = svfr.evaluate(tree / "truth", tree / "own", unit=1100.0)
    assert wrong["posed"][KEYS[0]]["distance"] > 1


def test_a_cloud_may_lack_normals(face):
    vertices, triangles, points = face
    found = svfr.score(vertices, None, points, vertices, triangles, points, unit=1.0)
    assert np.isnan(found["normals"]) and found["distance"] < 1e-5


def test_the_command_prints_a_table(tree, capsys):
    assert command.main(["svfr", str(tree / "truth"), str(tree / "own")]) == 0
    text = capsys.readouterr().out
    assert "| posed | 1 | 1 | 0.000 |" in text and "| neutral | 1 | 0 |" in text


def test_what_cannot_be_used_is_named(tree, face, tmp_path):
    with pytest.raises(ValueError, match="holds no PERSON/KEY/mesh_posed"):
        svfr.evaluate(tmp_path, tree / "own")
    with pytest.raises(ValueError, match="holds no prediction for any"):
        svfr.evaluate(tree / "truth", tmp_path)
    write(tmp_path, KEYS[0], "posed", face[0], face[1], face[2][:5])
    with pytest.raises(ValueError, match=r"landmarks_posed\.npy: seven finite points"):
        svfr.evaluate(tree / "truth", tmp_path)
    cloud = tmp_path / "mesh_posed.ply"
    cloud.write_text("no cloud")
    with pytest.raises(ValueError, match="is not a point cloud that can be read"):
        svfr.read_cloud(cloud)
