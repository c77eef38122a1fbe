import io

import numpy as np
import pytest
import trimesh

from focus_jax.face_models import load_face_model
from focus_jax.photos import export


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
    export.write_meshes(
        folder,
        {k: arrays[k] for k in ("fitted", "neutral")},
        atlas,
        arrays["texture"],
        arrays["colours"],
        np.asarray(model.triangles),
    )
    return folder, arrays


def test_the_atlas_is_the_surface_without_overlaps(model, atlas):
    np.testing.assert_array_equal(atlas.vertex[atlas.triangles], model.triangles)
    assert atlas.uv.min() >= 0 and atlas.uv.max() <= 1
    a, b, c = (atlas.uv[atlas.triangles[:, k]] for k in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    # Pieces that overlapped would cover more than the whole between them.
    assert 0.5 < np.abs(area).sum() / 2 < 1


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


def test_a_posed_face_looks_where_the_photo_shows_it():
    turned = export.posed(np.eye(3, dtype=np.float32), np.diag([1.0, -1.0, -1.0]))
    np.testing.assert_allclose(turned, np.eye(3))  # the camera's own flip is undone


def test_png_is_what_it_was():
    from PIL import Image

    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    found = Image.open(io.BytesIO(export.encode_png(picture)))
    np.testing.assert_array_equal(np.asarray(found), picture)
