import io
import json

import numpy as np
import pytest
import trimesh

from focus_jax.face_models import load_face_model
from focus_jax.photos import export, mesh_files


@pytest.fixture(scope="module")
def model():
    return load_face_model("builtin", identity=1, expression=1, albedo=1)


@pytest.fixture(scope="module")
def atlas(model):
    return export.make_atlas(model)


@pytest.fixture(scope="module")
def written(model, atlas, tmp_path_factory):
    folder = tmp_path_factory.mktemp("meshes")
    rng = np.random.default_rng(0)
    arrays = {
        "fitted": rng.normal(size=model.shape_mean.shape).astype(np.float32) + model.shape_mean,
        "neutral": np.asarray(model.shape_mean, np.float32),
        "texture": rng.integers(0, 256, (64, 64, 3)).astype(np.uint8),
        "colours": rng.random(model.shape_mean.shape).astype(np.float32),
    }
    surface, triangles = mesh_files.make_surface(atlas), np.asarray(model.triangles)
    (folder / "texture.png").write_bytes(mesh_files.encode_png(arrays["texture"]))
    (folder / "material.mtl").write_text(mesh_files.MATERIAL)
    jpeg = mesh_files.encode_jpeg(arrays["texture"])
    for name in ("fitted", "neutral"):
        vertices = arrays[name]
        normals = mesh_files.vertex_normals(vertices, triangles)
        glb = mesh_files.glb(vertices, normals, surface, jpeg, name=name)
        (folder / f"{name}.glb").write_bytes(glb)
        (folder / f"{name}.obj").write_text(mesh_files.obj(vertices, normals, surface))
        ply = mesh_files.ply(vertices, normals, triangles, arrays["colours"])
        (folder / f"{name}.ply").write_bytes(ply)
    return folder, arrays


def agree(found, vertices, triangles):
    """Normals are of length 1, and those of the surface."""
    mesh = trimesh.Trimesh(vertices, triangles, process=False)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-3)
    assert np.sum(found * mesh.vertex_normals, -1).min() > 0.99


@pytest.mark.parametrize("name", ["fitted", "neutral"])
def test_obj_and_ply_have_the_normals_of_the_whole_surface(written, model, name):
    folder, arrays = written
    lines = [line.split() for line in (folder / f"{name}.obj").read_text().splitlines()]
    normals = np.array([w[1:] for w in lines if w[0] == "vn"], float)
    agree(normals, arrays[name], model.triangles)
    corners = np.array([[c.split("/") for c in w[1:]] for w in lines if w[0] == "f"], int)
    np.testing.assert_array_equal(corners[..., 2], corners[..., 0])  # a normal a vertex
    header = (folder / f"{name}.ply").read_bytes().partition(b"end_header")[0].decode()
    assert all(f"property float n{axis}" in header for axis in "xyz")
    loaded = trimesh.load_mesh(folder / f"{name}.ply", process=False)
    agree(loaded.vertex_normals, arrays[name], model.triangles)


@pytest.mark.parametrize("name", ["fitted", "neutral"])
def test_glb_says_what_its_buffers_hold(written, name):
    """What glTF's validator gives hints about."""
    content = (written[0] / f"{name}.glb").read_bytes()
    tree = json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])
    (primitive,) = tree["meshes"][0]["primitives"]

    def target(accessor):
        return tree["bufferViews"][tree["accessors"][accessor]["bufferView"]].get("target")

    assert target(primitive["indices"]) == 34963
    assert {target(a) for a in primitive["attributes"].values()} == {34962}
    assert name in [node.get("name") for node in tree["nodes"]]
    assert all(node.get("name") for node in tree["nodes"])


@pytest.mark.parametrize("name", ["fitted", "neutral"])
def test_obj_comes_back(written, model, atlas, name):
    folder, arrays = written
    loaded = trimesh.load_mesh(folder / f"{name}.obj", process=False)
    corners = loaded.vertices[loaded.faces]
    np.testing.assert_allclose(corners, arrays[name][np.asarray(model.triangles)], atol=1e-4)
    np.testing.assert_allclose(loaded.visual.uv[loaded.faces], atlas.uv[atlas.triangles], atol=1e-5)
    np.testing.assert_array_equal(np.asarray(loaded.visual.material.image), arrays["texture"])


@pytest.mark.parametrize("name", ["fitted", "neutral"])
def test_ply_keeps_vertices_triangles_and_colours(written, model, name):
    folder, arrays = written
    loaded = trimesh.load_mesh(folder / f"{name}.ply", process=False)
    np.testing.assert_allclose(loaded.vertices, arrays[name], atol=1e-4)
    np.testing.assert_array_equal(loaded.faces, model.triangles)
    np.testing.assert_allclose(
        loaded.visual.vertex_colors[:, :3] / 255, arrays["colours"], atol=0.5 / 255 + 1e-6
    )


@pytest.mark.parametrize("name", ["fitted", "neutral"])
def test_glb_comes_back_in_metres(written, model, atlas, name):
    folder, arrays = written
    scene = trimesh.load_scene(folder / f"{name}.glb", process=False)
    (loaded,) = scene.geometry.values()
    corners = 1000 * loaded.vertices[loaded.faces]
    np.testing.assert_allclose(corners, arrays[name][np.asarray(model.triangles)], atol=1e-3)
    np.testing.assert_allclose(loaded.visual.uv[loaded.faces], atlas.uv[atlas.triangles], atol=1e-5)
    assert loaded.visual.material.baseColorTexture.size == (64, 64)
    # Normals agree across the cuts: they are those of the closed surface.
    normals = loaded.vertex_normals
    for vertex in np.flatnonzero(np.bincount(atlas.vertex) > 1)[:50]:
        copies = normals[atlas.vertex == vertex]
        np.testing.assert_allclose(copies, np.broadcast_to(copies[0], copies.shape), atol=1e-5)


def test_png_is_what_it_was():
    from PIL import Image

    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    found = Image.open(io.BytesIO(mesh_files.encode_png(picture)))
    np.testing.assert_array_equal(np.asarray(found), picture)


def test_normals_are_those_of_another_library(model):
    """trimesh's, by which they were written before, to the last digits that files have."""
    triangles = np.asarray(model.triangles)
    for vertices in (
        model.shape_mean,
        model.shape_mean + np.random.default_rng(0).normal(size=model.shape_mean.shape),
    ):
        expected = trimesh.Trimesh(vertices, triangles, process=False).vertex_normals
        found = mesh_files.vertex_normals(vertices, triangles)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_vertex_of_no_area_has_no_normal():
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]], np.float32)
    found = mesh_files.vertex_normals(points, np.array([[0, 1, 2], [3, 3, 3]]))
    np.testing.assert_allclose(found, [[0, 0, 1]] * 3 + [[0, 0, 0]], atol=1e-12)


def test_many_vertices_have_longer_indices(atlas):
    count = 2**16 + 2
    wide = export.Atlas(
        np.arange(count), np.array([[0, 1, count - 1]]), np.zeros((count, 2), np.float32)
    )
    points = np.zeros((count, 3), np.float32)
    points[[1, -1]] = [[1, 0, 0], [0, 1, 0]]
    surface = mesh_files.make_surface(wide)
    content = mesh_files.glb(
        points, points, surface, mesh_files.encode_jpeg(np.zeros((8, 8, 3), np.uint8))
    )
    (loaded,) = trimesh.load_scene(
        io.BytesIO(content), file_type="glb", process=False
    ).geometry.values()
    np.testing.assert_array_equal(loaded.faces, wide.triangles)
