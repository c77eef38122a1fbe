"""REALY's files and protocol, on scans whose distance to the predictions is known."""

import json

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial.transform import Rotation

from focus_jax.commands import evaluate as command
from focus_jax.evaluation import realy
from focus_jax.face_models import load_face_model
from focus_jax.types import REGIONS

UNIT = 9.0  # mm in the unit of the scans
PARTS = {
    "nose": ("nose",),
    "mouth": ("lips",),
    "forehead": ("forehead", "brows"),
    "cheek": ("cheeks", "nose", "lips"),
}


def part_of(model, names, near=()):
    """Of the model's regions of those names, and 14 mm around the points `near`, the largest piece:
    vertices of the model, and the triangles of these."""
    wanted = np.isin(np.asarray(model.region), [REGIONS.index(name) for name in names])
    for point in near:
        wanted |= np.linalg.norm(np.asarray(model.shape_mean) - point, axis=1) < 14
    triangles = np.asarray(model.triangles)
    triangles = triangles[wanted[triangles].all(1)]
    edges = triangles[:, [0, 1, 1, 2]].reshape(-1, 2)
    ones = np.ones(len(edges)), edges.T
    _, piece = connected_components(coo_matrix(ones, shape=(len(wanted), len(wanted))))
    triangles = triangles[piece[triangles[:, 0]] == np.bincount(piece[triangles[:, 0]]).argmax()]
    kept, numbers = np.unique(triangles, return_inverse=True)
    return kept, numbers.reshape(-1, 3)


def write_obj(path, vertices, triangles=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"v {x:.7f} {y:.7f} {z:.7f}" for x, y, z in vertices]
    lines += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in triangles]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def face():
    model = load_face_model("builtin")
    return model, np.asarray(model.shape_mean, np.float64) / UNIT


@pytest.fixture(scope="module")
def data(face, tmp_path_factory):
    """Two scans of the mean face, its template, and 85 points: 68 landmarks, 17 of the cheeks."""
    model, vertices = face
    root = tmp_path_factory.mktemp("realy")
    triangles = np.asarray(model.triangles)
    write_obj(root / "mean.obj", vertices, triangles)
    corners = vertices[np.asarray(model.landmark_vertices)]
    points = (corners * np.asarray(model.landmark_weights)[..., None]).sum(1)
    cheeks, _ = part_of(model, ("cheeks",))
    rows, found = [], [*points, *vertices[cheeks[:: len(cheeks) // 17][:17]]]
    for k, point in enumerate(found):
        vertex = np.linalg.norm(vertices - point, axis=1).argmin()
        triangle = np.nonzero((triangles == vertex).any(1))[0][0]
        corner = list(triangles[triangle]).index(vertex)
        rows.append([int(triangle), float(corner == 0), float(corner == 1)])
        found[k] = vertices[vertex]
    (root / "mean.txt").write_text(json.dumps(rows))
    (root / "metrical_scale.txt").write_text(f"{UNIT}\n{UNIT}\n")
    for number in (1, 2):
        write_obj(root / f"REALY_HIFI3D_keypoints/{number}.obj", np.array(found))
        for region, names in PARTS.items():
            near = [found[k] * UNIT for k in realy.HOLDING.get(region, ())]
            kept, own = part_of(model, names, near)
            write_obj(root / f"REALY_scan_region/{number}/{region}.obj", vertices[kept], own)
    return root


def score(face, data, vertices):
    return realy.region_errors(
        vertices, realy.read_template(data, "mean"), realy.read_scan(data, 1)
    )


def test_a_perfect_mesh_scores_nothing_wherever_it_is_and_however_large(face, data):
    _, vertices = face
    turn = Rotation.from_euler("xyz", [20, -30, 15], degrees=True).as_matrix()
    for moved in (vertices, 40 * vertices @ turn + [3.0, -2, 5]):
        assert score(face, data, moved).max() < 0.01  # mm


def test_a_region_that_is_wrong_is_wrong_alone(face, data):
    """A nose 4 mm longer: the mean is of all of the nose, the other regions do not see it."""
    model, vertices = face
    tip = vertices[np.asarray(model.landmark_vertices)[30, 0]]
    away = np.linalg.norm(vertices - tip, axis=1) * UNIT
    longer = vertices.copy()
    longer[:, 2] += 4 / UNIT * np.exp(-((away / 12) ** 2))
    errors = dict(zip(realy.REGIONS, score(face, data, longer), strict=True))
    assert 0.2 < errors["nose"] < 4
    assert max(errors["forehead"], errors["cheek"], errors["mouth"]) < 0.25 * errors["nose"]


def test_the_regions_are_the_published_ones():
    """The points' numbers, of the public code, by hand."""
    assert {name: len(points) for name, points in realy.ALIGNING.items()} == {
        "nose": 11, "mouth": 14, "forehead": 22, "cheek": 27,
    }  # fmt: skip
    assert "cheek" not in realy.HOLDING and 64 in realy.HOLDING["mouth"]


def test_the_command_prints_a_table(face, data, tmp_path, capsys):
    model, vertices = face
    wide = vertices * [1.1, 1, 1]
    for name, shape in (("1", vertices), ("2_0", wide)):
        write_obj(tmp_path / f"{name}.obj", shape, np.asarray(model.triangles))
    (tmp_path / "notes.obj").write_text("v 0 0 0")
    assert command.main(["realy", str(data), str(tmp_path), "--template", "mean"]) == 0
    text = capsys.readouterr().out
    assert "2 predictions" in text and text.count("|\n") == 7
    for region in realy.REGIONS:  # of nothing and of something
        mean, _, spread = (float(x) for x in text.split(f"| {region} | ")[1].split(" |")[:3])
        assert mean > 0.2 and spread == pytest.approx(2**0.5 * mean, rel=0.1)


def test_what_cannot_be_used_is_named(face, data, tmp_path):
    model, vertices = face
    with pytest.raises(ValueError, match=r"no .*BFM09\.obj; the template"):
        realy.evaluate(data, tmp_path, "BFM09")
    with pytest.raises(ValueError, match="holds no prediction; expected ID"):
        realy.evaluate(data, tmp_path, "mean")
    write_obj(tmp_path / "3.obj", vertices, np.asarray(model.triangles))
    with pytest.raises(ValueError, match="has no scan 3"):
        realy.evaluate(data, tmp_path, "mean")
    write_obj(tmp_path / "1.obj", vertices, np.asarray(model.triangles)[:-1])
    with pytest.raises(ValueError, match=r"1\.obj has not the triangles of mean\.obj"):
        realy.evaluate(data, tmp_path, "mean")
