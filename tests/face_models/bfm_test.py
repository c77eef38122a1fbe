import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from face_model_files import close, face, head, mean_expression, write_bfm, write_crop

from focus_jax.face_models import bfm, crop, fitting, load_face_model


@pytest.fixture
def path(tmp_path):
    write_bfm(tmp_path / "model2017-1_bfm_nomouth.h5")
    return tmp_path / "model2017-1_bfm_nomouth.h5"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The crop and the whole mesh of one file."""
    path = tmp_path_factory.mktemp("bfm") / "model2017-1_bfm_nomouth.h5"
    write_bfm(path)
    return load_face_model(path), load_face_model(path, mesh="full")


def test_the_whole_mesh_is_read_as_it_is_downloaded(models):
    model = models[1]
    np.testing.assert_allclose(model.shape_mean, head().vertices, atol=1e-3)
    np.testing.assert_array_equal(model.triangles, head().triangles)
    np.testing.assert_allclose(model.expression_mean, mean_expression(head()), atol=1e-5)
    np.testing.assert_allclose(model.albedo_mean, head().colours, atol=1e-6)
    # One unit of a coefficient is one standard deviation.
    np.testing.assert_allclose(
        np.linalg.norm(model.identity_basis.reshape(-1, 6), axis=0),
        np.sqrt(np.linspace(4, 1, 6)),
        rtol=1e-4,
    )


def test_the_crop_is_one_patch_of_the_whole_mesh(models):
    model, full = models
    assert crop.connected(model.triangles) == crop.connected(face().triangles)
    assert 0.8 < len(model.shape_mean) / len(full.shape_mean) < 0.95
    kept = crop_rows(model, full)
    bases = ("identity_basis", "expression_basis", "albedo_basis")
    for field in (*bases, "albedo_mean", "expression_mean"):
        np.testing.assert_array_equal(getattr(model, field), getattr(full, field)[kept])


def test_the_crop_of_a_mesh_without_eyeballs_is_one_patch_of_face(tmp_path):
    """As the Basel models are: one surface, whose ears, neck and skull fall away."""
    mesh = head()
    label = crop._components(mesh.triangles)
    surface = mesh.triangles[label == np.bincount(label).argmax()]
    path = tmp_path / "model2019_fullHead.h5"
    write_bfm(path, mesh._replace(triangles=surface), modes=(2, 2, 2))
    model = load_face_model(path)
    assert crop.connected(surface) == crop.connected(model.triangles) == 1
    border = head().vertices[:, 2].min() + 50  # the rings that the face was lengthened by
    assert model.shape_mean[:, 2].min() > border
    close((fitting.landmark_points(model) - mesh.vertices[mesh.landmarks])[17:])


def crop_rows(model, full):
    """The vertices of the whole mesh that the crop has."""
    place = {tuple(row): number for number, row in enumerate(full.shape_mean.tolist())}
    return [place[tuple(row)] for row in model.shape_mean.tolist()]


def test_bases_are_read_in_pieces_and_only_the_modes_that_are_kept(path, models, monkeypatch):
    monkeypatch.setattr(bfm, "ROWS", 1000)
    pieces = load_face_model(path, identity=2)
    np.testing.assert_array_equal(pieces.identity_basis, models[0].identity_basis[..., :2])


def test_landmarks_are_found_on_the_geometry(models):
    found = fitting.landmark_points(models[0])
    wanted = head().vertices[head().landmarks]
    close(found - wanted)


def test_triangles_that_look_inwards_are_turned_round(path):
    with h5py.File(path, "a") as file:
        cells: Any = file["shape/representer/cells"]
        cells[...] = cells[()][::-1]
    np.testing.assert_array_equal(
        np.sort(load_face_model(path, mesh="full").triangles), np.sort(head().triangles)
    )


def with_vertices_at(table, rows):
    """The head, renumbered so that the landmarks `rows` have the numbers of the table."""
    mesh = head()
    total = max(int(table.max()) + 1, len(mesh.vertices))
    place = np.full(len(mesh.vertices), -1)
    place[mesh.landmarks[rows]] = table
    free = np.setdiff1d(np.arange(total), table)
    others = np.flatnonzero(place < 0)
    place[others] = free[: len(others)]
    vertices, colours = (np.tile(x[-1], (total, 1)) for x in (mesh.vertices, mesh.colours))
    vertices[place], colours[place] = mesh.vertices, mesh.colours
    return mesh._replace(
        vertices=vertices, colours=colours, triangles=place[mesh.triangles], landmarks=place
    )


def test_the_known_vertices_of_the_now_benchmark_are_landmarks(tmp_path):
    path = tmp_path / "model2019_bfm.h5"
    write_bfm(path, with_vertices_at(bfm.NOW_VERTICES, bfm.NOW_LANDMARKS), modes=(2, 2, 2))
    model = load_face_model(path, mesh="full")
    np.testing.assert_array_equal(model.landmark_vertices[bfm.NOW_LANDMARKS, 0], bfm.NOW_VERTICES)
    # The same points, in the numbers of the crop.
    np.testing.assert_array_equal(
        fitting.landmark_points(load_face_model(path))[bfm.NOW_LANDMARKS],
        model.shape_mean[bfm.NOW_VERTICES],
    )


def test_a_table_for_another_mesh_is_noticed():
    mesh = head()
    expected = mesh.vertices[mesh.landmarks]
    rows = np.arange(68)
    assert bfm.lies_on(mesh.vertices, mesh.landmarks, expected, rows)
    assert bfm.lies_on(mesh.vertices, mesh.landmarks, expected + 3.0, rows)
    assert not bfm.lies_on(mesh.vertices, np.roll(mesh.landmarks, 7), expected, rows)
    assert not bfm.lies_on(mesh.vertices, mesh.landmarks + 20, expected, rows)
    assert not bfm.lies_on(mesh.vertices, bfm.RELEASE_LANDMARKS, expected, rows)


def test_the_authors_crop_is_used(path):
    write_crop(path.parent / "idxes_crop.pkl")
    model = load_face_model(path)
    np.testing.assert_allclose(model.shape_mean, face().vertices, atol=1e-3)
    np.testing.assert_array_equal(model.triangles, face().triangles)
    assert len(load_face_model(path, mesh="full").shape_mean) == len(head().vertices)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("points", np.array([10**6]), "'points' has an index outside"),
        ("color_mean", np.arange(6), r"'color_mean' has the shape \(6,\) instead of \(28434,\)"),
        ("exp_mean", np.arange(28434), "'exp_mean' does not list the three rows of each vertex"),
        ("cells", np.zeros((4, 5), int), r"'cells' has the shape \(4, 5\), not 3 x t"),
        ("exp_pcaBasis", None, "lacks the array 'exp_pcaBasis'"),
    ],
)
def test_what_is_wrong_with_the_authors_crop_is_named(path, key, value, message):
    file = path.parent / "idxes_crop.pkl"
    write_crop(file)
    content = pickle.loads(file.read_bytes())
    file.write_bytes(pickle.dumps({k: v for k, v in (content | {key: value}).items()}))
    with pytest.raises(
        ValueError, match=rf"idxes_crop\.pkl.* {message}|idxes_crop\.pkl: {message}"
    ):
        load_face_model(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("color/model/pcaBasis", None, "it has no 'color/model/pcaBasis'"),
        ("expression/model/mean", np.zeros(9), r"mean' has the shape \(9,\) instead of \(30540,\)"),
        ("shape/model/pcaBasis", np.zeros((9, 6)), r"\(9, 6\) instead of \(30540, 6\)"),
        ("shape/model/pcaBasis", np.zeros(9), r"\(9,\) instead of \(30540, 'k'\)"),
        ("shape/representer/points", np.zeros(9), r"points' has the shape \(9,\), not 3 x v"),
        ("shape/representer/cells", np.full((3, 5), 10**6), "'shape/representer/cells' has an ind"),
        ("shape/representer/cells", np.zeros((3, 0), int), r"the shape \(3, 0\), not 3 x t"),
        ("shape/representer/cells", np.zeros((5, 3), int), r"the shape \(5, 3\), not 3 x t"),
        ("shape/model/pcaVariance", np.full(6, np.nan), "pcaVariance' holds values that are not f"),
        ("shape/model/pcaVariance", np.full(6, -1.0), "pcaVariance' holds negative variances"),
        ("color/model/pcaVariance", np.ones(3), r"the shape \(3,\), which does not fit"),
        ("shape/model/mean", np.zeros(30540), "1 x 1 x 1 mm, which is no face"),
        ("shape/model/pcaBasis", np.full((30540, 6), np.inf), "pcaBasis' holds values that are"),
    ],
)
def test_what_is_wrong_is_named(path, key, value, message):
    with h5py.File(path, "a") as file:
        del file[key]
        if value is not None:
            file[key] = value
    with pytest.raises(ValueError, match=message) as error:
        load_face_model(path)
    assert path.name in str(error.value)


def test_a_group_is_no_array(path):
    with h5py.File(path, "a") as file:
        del file["color/model/mean"]
        file.create_group("color/model/mean")
    with pytest.raises(ValueError, match="it has no 'color/model/mean'"):
        load_face_model(path)


def test_one_damaged_vertex_is_noticed(path):
    # HDF5 keeps no checksum: a flipped bit is a number like any other.
    with h5py.File(path, "a") as file:
        file["shape/model/mean"][30 * 3 + 2] = 700.0
    with pytest.raises(ValueError, match=r"nomouth\.h5: the mesh does not look like a face"):
        load_face_model(path)


def test_a_truncated_file_is_named(path):
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(ValueError, match=r"nomouth\.h5 cannot be read as HDF5"):
        load_face_model(path)


MEASURE = r"""
import re, sys, time
from focus_jax.face_models import load_face_model
start = time.process_time()
model = load_face_model(sys.argv[1], mesh=sys.argv[2])
# Not ru_maxrss, which begins with that of the process that started this one.
peak = int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])
print(time.process_time() - start, peak, *model.identity_basis.shape, len(model.triangles))
"""


@pytest.mark.slow
def test_at_full_size_it_loads_in_three_seconds_and_a_gigabyte_and_a_half(tmp_path):
    mesh = head(311, 0.5)
    missing = 53149 - len(mesh.vertices)
    assert 0 <= missing < 200
    pad = [np.tile(x[-1], (missing, 1)) for x in (mesh.vertices, mesh.colours)]
    mesh = mesh._replace(
        vertices=np.concatenate([mesh.vertices, pad[0]]),
        colours=np.concatenate([mesh.colours, pad[1]]),
    )
    path = tmp_path / "model2017-1_bfm_nomouth.h5"
    write_bfm(path, mesh, modes=(199, 100, 199))
    assert path.stat().st_size > 3e8
    for kind in ("cropped", "full"):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(path), kind],
            cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        seconds, kilobytes, vertices, _, modes, _ = map(float, done.stdout.split()[-6:])
        print(f"{kind}: {seconds:.2f} s of CPU time, {kilobytes / 1e6:.2f} GB at most")
        assert seconds < 3 and kilobytes < 1.5e6 and modes == 80
        assert vertices == 53149 or kind == "cropped"
