import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from focus_jax.data import face_detector
from focus_jax.data import face_landmarker as landmarker
from focus_jax.data.face_detector import Square, detect

PORTRAITS = Path(__file__).parents[3] / "shared" / "portraits"
NAMES = ("astronaut", *(f"female_{n}" for n in ("03", "18", "47")))
NAMES = (*NAMES, *(f"male_{n}" for n in ("08", "29", "66", "91")))


@pytest.fixture(scope="module")
def networks():
    return landmarker.load_networks()


@pytest.fixture(scope="module")
def find():
    return landmarker.face_landmarker()


@pytest.fixture(scope="module")
def astronaut():
    return skimage.data.astronaut()


@pytest.fixture(scope="module")
def golden():
    """Values of the package mediapipe 1.2.3, made by third_party/face_landmarker_golden.py."""
    with np.load(Path(__file__).with_name("face_landmarker_golden.npz")) as arrays:
        return dict(arrays)


def portrait(name):
    path = PORTRAITS / f"{name}.jpg"
    if not path.is_file():
        pytest.skip(f"{path.name}: ../shared/portraits is not here")
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def first_pass(networks, photo):
    """The points as MediaPipe has them of a single photo: one pass, in the detector's square."""
    height, width = photo.shape[:2]

    def see(view):
        networks.detector.setInput(landmarker._blob(view, 127.5, -1.0))
        values, logits = networks.detector.forward(["regressors", "classificators"])
        return values.reshape(-1, 16).astype(float), logits.reshape(-1).astype(float)

    whole = Square(np.array([width / 2, height / 2]), max(height, width), 0.0)
    (square,) = detect(see, photo, whole, 0.5)
    view = square._replace(side=landmarker.ENLARGED * square.side)
    points, _ = landmarker.lay_mesh(networks.mesh, photo, view)
    return points[:, :2] + half_pixel(view)


def half_pixel(view):
    """What ours take off, to the right and down in the view."""
    cos, sin = np.cos(view.angle), np.sin(view.angle)
    return 0.5 * view.side / landmarker.SIDE * np.array([cos - sin, sin + cos])


def distance(found, true):
    """Median over the points, in outer-eye distances."""
    eyes = np.linalg.norm(true[landmarker.RIGHT, :2] - true[landmarker.LEFT, :2])
    return np.median(np.linalg.norm(found[:, :2] - true[:, :2], axis=1)) / eyes


@pytest.mark.parametrize("name", NAMES)
def test_the_points_are_those_of_mediapipe(networks, golden, astronaut, name, monkeypatch):
    monkeypatch.setattr(face_detector, "AVERAGED", 0.0)  # as there, whatever becomes of patterns
    photo = astronaut if name == "astronaut" else portrait(name)
    found = first_pass(networks, photo)
    # The rest is rounding: MediaPipe's nets run in another library, on views resampled by another.
    assert distance(found, golden[f"{name}_points"]) < 0.002
    weights = landmarker.blendshape_weights(networks.blendshapes, found)
    np.testing.assert_allclose(weights, golden[f"{name}_weights"], atol=0.05)
    monkeypatch.undo()
    assert distance(first_pass(networks, photo), golden[f"{name}_points"]) < 0.01


def test_the_second_pass_is_that_of_mediapipe(networks, golden, astronaut):
    """There, of a film that stands still. It lays the mesh where the first one lay."""
    piece = astronaut[:300, 100:400]
    pair = np.ascontiguousarray(np.concatenate([piece, piece[:, ::-1]], axis=1))
    faces = landmarker.find_faces(networks, pair)
    assert len(faces) == 2
    for points in golden["pair_points"]:
        eyes = np.linalg.norm(points[landmarker.RIGHT] - points[landmarker.LEFT])
        near = min(faces, key=lambda face: np.linalg.norm(face.points[4] - points[4]))
        shift = half_pixel(landmarker.mesh_square(near.points, 1.0))
        assert distance(near.points[:, :2] + shift, points) < 0.005, eyes


def test_weights_of_the_same_points_are_the_same(networks, golden):
    for name in NAMES:
        weights = landmarker.blendshape_weights(networks.blendshapes, golden[f"{name}_points"])
        np.testing.assert_allclose(weights, golden[f"{name}_weights"], atol=1e-4)


def test_mirrored_photos_give_mirrored_points(find, astronaut):
    """To a quarter of a pixel of the network's view; to half of one and more, were none taken off.

    Corners of eyes and mouth, wings of the nose and irises of both sides change places.
    """
    pairs = np.array([(33, 263), (133, 362), (61, 291), (98, 327), (468, 473), (4, 4), (152, 152)])
    shifts = []
    for name in NAMES:
        photo = astronaut if name == "astronaut" else portrait(name)
        (face,), (mirrored,) = find(photo), find(photo[:, ::-1])
        back = photo.shape[1] - 1 - mirrored.points[:, 0]
        right = back[pairs[:, 1]] - face.points[pairs[:, 0], 0]
        left = back[pairs[:, 0]] - face.points[pairs[:, 1], 0]
        pixel = landmarker.mesh_square(face.points, 1.0).side / landmarker.SIDE
        shifts.append(np.mean([right, left]) / 2 / pixel)
    assert abs(np.mean(shifts)) < 0.25


def test_the_face_of_a_photo_is_found_once(find, astronaut):
    (face,) = find(astronaut)
    assert face.points.shape == (478, 3) and face.blendshapes.shape == (52,)
    assert face.score > 0.8 and face.presence > 0.9
    # Her pupils and the tip of her chin, read off the picture.
    np.testing.assert_allclose(face.points[[468, 473], :2], [(203, 101), (247, 104)], atol=4)
    np.testing.assert_allclose(face.points[152, :2], (222, 177), atol=5)


def test_weights_tell_a_smile_with_open_eyes(find, astronaut):
    (face,) = find(astronaut)
    weights = dict(zip(landmarker.BLENDSHAPES, face.blendshapes, strict=True))
    assert weights["mouthSmileLeft"] > 0.5 and weights["mouthSmileRight"] > 0.5
    assert max(weights["eyeBlinkLeft"], weights["eyeBlinkRight"]) < 0.3


@pytest.mark.parametrize("angle", [0, 30, 60, 90, 130, 180, 230, 300])
def test_a_turned_face_is_found(find, astronaut, angle):
    piece = np.ascontiguousarray(astronaut[:300, 75:375])
    turn = cv2.getRotationMatrix2D((149.5, 149.5), angle, 0.8)
    turned = cv2.warpAffine(piece, turn, (300, 300), borderMode=cv2.BORDER_REPLICATE)
    (upright,), (face,) = find(piece), find(turned)
    moved = upright.points[:, :2] @ turn[:, :2].T + turn[:, 2]
    assert distance(face.points, moved) < 0.02


def test_every_face_of_a_group_is_found(find):
    """54 faces, 150 pixels from brow to chin and ear to ear."""
    paths = sorted(PORTRAITS.glob("*.jpg"))[:60]
    if not paths:
        pytest.skip("../shared/portraits is not here")
    cells = []
    for path in paths:
        photo = portrait(path.stem)
        (face, *others) = find(photo)
        if others or len(cells) == 54:
            continue
        low, high = face.points[:, :2].min(0), face.points[:, :2].max(0)
        scale = 150 / (high - low).max()
        offset = 125 - scale * (low + high) / 2
        transform = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])
        cells.append(
            cv2.warpAffine(
                photo, transform, (250, 250), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
            )
        )
    assert len(cells) == 54
    faces = find(np.vstack([np.hstack(cells[9 * i : 9 * i + 9]) for i in range(6)]))
    places = [tuple((face.points[4, :2] // 250).astype(int)) for face in faces]
    assert len(places) == len(set(places)) == 54


@pytest.mark.parametrize(
    "name", ["brick", "grass", "gravel", "chelsea", "coffee", "moon", "page", "text", "clock"]
)
def test_photos_without_faces_have_none(find, name):
    photo = getattr(skimage.data, name)()
    photo = np.stack(3 * [photo], -1) if photo.ndim == 2 else photo[..., :3]
    assert find(np.ascontiguousarray(photo)) == []


def test_a_mesh_without_a_trace_of_a_face_is_laid_once(networks, astronaut, monkeypatch):
    count, lay = [], landmarker.lay_mesh
    monkeypatch.setattr(landmarker, "lay_mesh", lambda *a: count.append(1) or lay(*a))
    wall = np.full((300, 300, 3), 128, np.uint8)
    assert landmarker.find_mesh(networks, wall, Square(np.array([150.0, 150]), 80.0, 0.0)) is None
    assert len(count) == 1
    face = Square(np.array([224.0, 130]), 95.0, 0.0)
    assert landmarker.find_mesh(networks, astronaut, face).presence > 0.9
    assert len(count) == 3


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (40, 40), (300, 300)])
def test_there_is_no_face_in_the_dark(find, shape):
    assert find(np.zeros((*shape, 3), np.uint8)) == []


def test_threads_find_what_one_finds(find, astronaut):
    views = [np.ascontiguousarray(astronaut[:n, :n]) for n in range(240, 480, 40)]
    alone = [find(view) for view in views]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(find, 2 * views))
    for one, other in zip(2 * alone, together, strict=True):
        assert len(one) == len(other) > 0
        np.testing.assert_allclose(one[0].points, other[0].points, atol=1e-3)


def test_the_file_is_the_one_that_third_party_names():
    digest = hashlib.sha256(landmarker.FILE.read_bytes()).hexdigest()
    assert digest in (Path(__file__).parents[2] / "third_party" / "README.md").read_text()


def test_another_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.task is not the file of MediaPipe"):
        landmarker.face_landmarker(tmp_path / "gone.task")
    (tmp_path / "a.task").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"a\.task is not the file of MediaPipe"):
        landmarker.face_landmarker(tmp_path / "a.task")


def test_a_film_is_searched_where_a_face_is_lost(networks, astronaut, monkeypatch):
    """The astronaut who moves and turns, is cut to her mirror image, goes, and comes back."""
    small = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    empty = np.full_like(small, 90)

    def moved(number, photo=small):
        matrix = cv2.getRotationMatrix2D((128, 128), 2 * number, 1)
        matrix[0, 2] += 3 * number
        return cv2.warpAffine(photo, matrix, (256, 256), borderMode=cv2.BORDER_REPLICATE)

    film = [moved(n) for n in range(12)]  # frame 10 is searched for new faces
    film += [np.ascontiguousarray(frame[:, ::-1]) for frame in film[:2]]
    film += [empty, empty, small]
    searched = []
    find_squares = landmarker.find_squares

    def counted(network, frame):
        searched.append(number)
        return find_squares(network, frame)

    monkeypatch.setattr(landmarker, "find_squares", counted)
    follow = landmarker.face_follower()
    found = []
    for number, frame in enumerate(film):  # noqa: B007 (`counted` reads it)
        found.append(follow(frame))
    assert searched == [0, 10, 12, 14, 15, 16]
    assert [len(faces) for faces in found] == [1] * 14 + [0, 0, 1]
    for number in (3, 7, 9, 11, 13):
        (true,) = landmarker.find_faces(networks, film[number])
        assert distance(found[number][0].points, true.points) < 0.02


def test_a_second_face_of_a_film_is_found_and_the_first_kept(astronaut, monkeypatch):
    """Also where the search, but not the mesh, has lost the first."""
    small = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    one, two = np.hstack([small, np.full_like(small, 120)]), np.hstack([small, small[:, ::-1]])
    monkeypatch.setattr(landmarker, "CUT", 255.0)
    monkeypatch.setattr(landmarker, "SEARCHED", 3)
    follow = landmarker.face_follower()
    assert [len(follow(frame)) for frame in (one, two, two, two, two)] == [1, 1, 1, 2, 2]
    monkeypatch.setattr(landmarker, "find_faces", lambda networks, frame: [])
    assert [len(follow(two)) for _ in range(4)] == [2] * 4
