import tracemalloc
import types

import cv2
import numpy as np
import pytest

from focus_jax.photos import maps
from focus_jax.photos.inference import FINE
from focus_jax.rendering import camera

HEIGHT, WIDTH = 90, 120
TO_PHOTO = np.array([[0.2, 0.0, 15.0], [0.0, 0.2, 5.0]])  # of the fine crop


@pytest.fixture(scope="module")
def plane():
    """A square of 120 mm, 0.8 m before the camera and turned to its right, as a face."""
    rotation = np.asarray(camera.extrinsics(np.array([0, 0.3, 0, 0, 0, 0], np.float32))[0])
    translation = np.array([0.0, 0.0, 800.0], np.float32)
    flat = np.array([[-60, -60, 0], [60, -60, 0], [60, 60, 0], [-60, 60, 0]], np.float32)
    screen = camera.project(flat, rotation, translation, camera.intrinsics(FINE, FINE))
    rng = np.random.default_rng(0)
    albedo, light = rng.uniform(0.2, 0.8, (4, 3)), rng.uniform(0.5, 2.0, (4, 3))
    mask = np.zeros((FINE, FINE, 1), np.float32)
    mask[: FINE // 2] = 1
    return types.SimpleNamespace(
        vertices=flat,
        screen=np.asarray(screen),
        albedo=albedo,
        colours=albedo * light,
        light=light,
        mask=mask,
        rotation=rotation,
        translation=translation,
    )


@pytest.fixture(scope="module")
def face_model():
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    return types.SimpleNamespace(triangles=np.array([[0, 1, 2], [0, 2, 3]], np.int32), uv=uv)


@pytest.fixture(scope="module")
def written(plane, face_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    numbers = {
        "crop": {"inverse": TO_PHOTO.tolist()},
        "camera": {"R": plane.rotation.tolist(), "units": "mm"},
    }
    maps.write(folder, (HEIGHT, WIDTH, 3), numbers, plane, face_model)
    names = (*maps.SCALES, "normals")
    read = {name: cv2.imread(str(folder / f"{name}.png"), cv2.IMREAD_UNCHANGED) for name in names}
    return {k: v[..., ::-1] if v.ndim == 3 else v for k, v in read.items()}


def test_maps_have_the_photos_size_and_one_outline(written):
    face = written["depth"] > 0
    assert 0.1 < face.mean() < 0.9
    for picture in written.values():
        assert picture.dtype == np.uint16 and picture.shape[:2] == (HEIGHT, WIDTH)
        assert not picture[~face].any()
    np.testing.assert_array_equal(written["uv"][..., 2] == maps.FULL, face)


def test_depth_uv_and_normals_are_those_of_the_plane(written, plane):
    rows, columns = np.nonzero(written["depth"])
    u, v = written["uv"][rows, columns, 0] / maps.FULL, written["uv"][rows, columns, 1] / maps.FULL
    points = np.stack([120 * u - 60, 120 * v - 60, 0 * u], -1) @ plane.rotation.T
    points += plane.translation
    np.testing.assert_allclose(written["depth"][rows, columns] / 10, points[:, 2], atol=0.1)
    # And where the surface says that a pixel lies there the camera sees it.
    seen = points @ np.asarray(camera.intrinsics(FINE, FINE)).T
    seen = seen[:, :2] / seen[:, 2:] @ TO_PHOTO[:, :2].T + TO_PHOTO[:, 2]
    np.testing.assert_allclose(seen, np.stack([columns, rows], -1), atol=0.02)
    normal = plane.rotation @ [0, 0, 1] * [1, -1, -1]
    found = written["normals"][rows, columns] / maps.FULL * 2 - 1
    np.testing.assert_allclose(found, np.tile(normal, (len(rows), 1)), atol=1e-4)
    assert normal[2] > 0.9


def test_albedo_and_shading_are_those_of_the_corners(written, plane):
    y, x = np.rint(plane.screen[:, :2] @ TO_PHOTO[:, :2].T + TO_PHOTO[:, 2]).astype(int)[0, ::-1]
    near = written["depth"][y - 3 : y + 4, x - 3 : x + 4] > 0
    for name, wanted in (("albedo", plane.albedo), ("shading", plane.light)):
        found = written[name][y - 3 : y + 4, x - 3 : x + 4][near] / maps.SCALES[name]
        np.testing.assert_allclose(found.mean(0), wanted[0], atol=0.1)


def test_what_the_mask_hides_is_not_visible(written):
    rows, _ = np.nonzero(written["depth"])
    middle = TO_PHOTO[1] @ [0, FINE / 2, 1]
    shown = written["visibility"][written["depth"] > 0] / maps.FULL
    assert (shown[rows < middle - 1] == 1).all() and (shown[rows > middle + 1] == 0).all()


def test_a_face_beside_the_photo_gives_empty_maps(plane, face_model, tmp_path):
    numbers = {
        "crop": {"inverse": (TO_PHOTO + np.array([[0, 0, 500], [0, 0, 0]])).tolist()},
        "camera": {"R": plane.rotation.tolist(), "units": "mm"},
    }
    maps.write(tmp_path, (HEIGHT, WIDTH, 3), numbers, plane, face_model)
    assert not cv2.imread(str(tmp_path / "depth.png"), -1).any()


def test_a_large_photo_needs_little_memory(plane, face_model):
    """Bytes for each pixel of a face that fills the photo; 235, where gathered by corners 338."""
    side = 600
    to_photo = np.array([[side / FINE, 0, 0], [0, side / FINE, 0]])
    screen = np.array([[0, 0, 900], [0, FINE, 900], [FINE, FINE, 900], [FINE, 0, 900]], np.float32)
    shown = types.SimpleNamespace(**{**vars(plane), "screen": screen})
    numbers = {"camera": {"R": plane.rotation.tolist(), "units": "mm"}}
    given = np.zeros(2, int), np.full(2, side), to_photo, numbers, shown, face_model
    maps.pieces(*given)  # with what is made once
    tracemalloc.start()
    found = maps.pieces(*given)
    most = tracemalloc.get_traced_memory()[1] / side**2
    tracemalloc.stop()
    assert (found["depth"] == 9000).mean() > 0.99
    assert most < 280, most
