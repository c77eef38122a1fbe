import numpy as np
import pytest
import trimesh

from focus_jax.data.detect import landmark_source
from focus_jax.evaluation import scan_pictures
from focus_jax.evaluation.scan_pictures import Scan, light_of, pose_of
from focus_jax.evaluation.scans import SEVEN
from focus_jax.face_models import load_face_model
from focus_jax.rendering import morphable, shading


@pytest.fixture(scope="module")
def face():
    """The built-in mean face as a scan."""
    model = load_face_model("builtin")
    points = np.asarray(morphable.landmarks(model, model.shape_mean))[list(SEVEN)]
    return Scan("face", model.shape_mean, model.triangles, model.albedo_mean, points)


@pytest.fixture(scope="module")
def find():
    source = landmark_source("mediapipe")

    def first(image):
        faces = source(image, None)
        return faces[0].landmarks if faces else None

    return first


def test_light_is_one_where_all_of_it_meets():
    towards, up = np.array([0, 0, -1.0], np.float32), np.array([0, -1.0, 0], np.float32)
    white = np.ones(3, np.float32)
    shade = {
        name: float(shading.shade(white[None], normal[None], light_of(above=0.2, facing=0.3))[0, 0])
        for name, normal in (("towards", towards), ("up", up), ("away", -towards))
    }
    assert shade["towards"] == pytest.approx(0.8, abs=1e-3)
    assert shade["up"] == pytest.approx(0.7, abs=1e-3)
    assert shade["away"] == pytest.approx(0.2, abs=1e-3)
    both = np.array([[0, -(0.2**0.5), -(0.8**0.5)]], np.float32)
    assert float(shading.shade(white[None], both, light_of())[0, 0]) <= 1


def test_a_picture_shows_the_face_before_a_grey_wall(face):
    image = scan_pictures.picture(face, pose_of(0, 0), light_of(), 96)
    wall = round(255 * scan_pictures.BACKGROUND)
    assert image.shape == (96, 96, 3) and image.dtype == np.uint8
    assert (image[:6] == wall).all() and (image[:, -6:] == wall).all()
    assert (image[48, 48] != wall).any()


def test_yaw_turns_the_face_to_a_side(face):
    _, places = scan_pictures.seen_from(face, [pose_of(40, 0), pose_of(-40, 0)], 96)
    sides = [view[view.any(-1)][:, 0].mean() for view in places]  # x that is seen
    assert sides[0] * sides[1] < 0


def test_only_the_outer_surface_is_a_scan():
    outer, inner = trimesh.creation.box((120, 120, 120)), trimesh.creation.box((20, 20, 20))
    both = trimesh.util.concatenate([outer, inner])
    scan = Scan("box", both.vertices, both.faces, np.ones((16, 3)), np.zeros((7, 3)))
    assert np.abs(scan_pictures.outer_vertices(scan)).min() == 60


def test_texture_coordinates_point_upwards():
    image = np.zeros((8, 8, 3), np.uint8)
    image[0, 0], image[-1, -1] = (255, 0, 0), (0, 255, 0)
    uv = np.array([[0.5 / 8, 7.5 / 8], [7.5 / 8, 0.5 / 8], [0.5, 0.5]])
    colours = scan_pictures.sample(image, uv)
    np.testing.assert_allclose(colours, [[1, 0, 0], [0, 1, 0], [0, 0, 0]], atol=1e-6)


def written(face, path, scale):
    colours = np.rint(np.clip(face.colours, 0, 1) * 255).astype(np.uint8)
    mesh = trimesh.Trimesh(scale * face.vertices, face.triangles, vertex_colors=colours)
    mesh.export(path)
    return path


def test_a_scan_is_read_with_its_colours_in_millimetres(face, find, tmp_path):
    """A hundred times smaller and elsewhere; its landmarks are found where the model has them."""
    path = written(face, tmp_path / "face.ply", 0.01)
    scan = scan_pictures.read_scan(path, find, unit=100)
    extent = np.ptp(face.vertices, axis=0)
    np.testing.assert_allclose(np.ptp(scan.vertices, axis=0), extent, rtol=1e-3)
    np.testing.assert_allclose(scan.colours, np.clip(face.colours, 0, 1), atol=0.01)
    own, found = (p - p.mean(axis=0) for p in (face.landmarks, scan.landmarks))
    assert np.linalg.norm(own - found, axis=1).max() < 5
    guessed = scan_pictures.read_scan(path, find)
    eyes = np.linalg.norm(guessed.landmarks[0] - guessed.landmarks[3])
    assert eyes == pytest.approx(scan_pictures.OUTER_EYES, rel=0.01)


def test_wrong_scans_are_one_sentence(face, find, tmp_path):
    with pytest.raises(ValueError, match=r"no\.glb does not exist"):
        scan_pictures.read_scan(tmp_path / "no.glb", find)
    (tmp_path / "bad.obj").write_text("v 1 2\nf 1 2 9\n")
    with pytest.raises(ValueError, match=r"bad\.obj"):
        scan_pictures.read_scan(tmp_path / "bad.obj", find)
    plain = tmp_path / "plain.obj"
    trimesh.Trimesh(face.vertices, face.triangles).export(plain)
    with pytest.raises(ValueError, match="has no colours: give its texture"):
        scan_pictures.read_scan(plain, find)
    upside = written(face, tmp_path / "back.ply", -1)
    with pytest.raises(ValueError, match="no face is found on it from the front"):
        scan_pictures.read_scan(upside, lambda image: None)
