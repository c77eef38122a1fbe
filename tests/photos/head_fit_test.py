import numpy as np
import pytest
from face_model_files import write_flame
from scipy.spatial.transform import Rotation

from focus_jax.evaluation.scans import Surface
from focus_jax.face_models import flame, load_face_model, skinning
from focus_jax.photos import head_files, head_fit
from focus_jax.rendering import morphable


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("flame") / "flame2023.npz"
    write_flame(path)
    return path


@pytest.fixture(scope="module")
def model(path):
    """FLAME itself as face model, so that it is known which code the head has."""
    return load_face_model(path, identity=6, expression=6)


@pytest.fixture(scope="module")
def bound(path, model):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head_fit, "POINTS", 300)
        return head_files.bind("flame", path, model)


@pytest.fixture(scope="module")
def people(model):
    """Identity, expression with the jaw's opening first, and the meshes that they make."""
    rng = np.random.default_rng(0)
    identity, expression = rng.normal(size=6), rng.normal(size=(2, 6))
    expression[:, 0] = 1.5, -0.5
    neutral = np.asarray(morphable.vertices(model, identity, np.zeros(0)))
    return (
        identity,
        expression,
        neutral,
        np.asarray(morphable.vertices(model, np.stack([identity] * 2), expression)),
    )


@pytest.fixture(scope="module")
def placed():
    turns = Rotation.from_rotvec([[0.1, 0.3, -0.1], [-0.3, 0.0, 0.2]]).as_matrix()
    return turns, np.array([[10, 20, -1000], [0, -30, -800.0]])


@pytest.fixture(scope="module")
def fitted(bound, people, placed):
    return head_fit.fit(bound, people[2], people[3], *placed)


def test_the_code_of_its_own_head_comes_back(fitted, people):
    identity, expression, *_ = people
    np.testing.assert_allclose(fitted.identity[:6], identity, atol=0.15)
    np.testing.assert_allclose(fitted.expression[:, :5], expression[:, 1:], atol=0.2)
    opened = flame.JAW_SPREAD * expression[:, 0]
    np.testing.assert_allclose(fitted.rotations[:, flame.JAW, 0], opened, atol=0.02)
    assert not fitted.rotations[:, 1].any()  # the neck is not told
    assert (fitted.error < 1).all()


def test_the_head_is_where_the_face_is(fitted, bound, people, placed):
    for k in range(2):
        head = skinning.posed(
            bound.whole, fitted.identity, fitted.expression[k], fitted.rotations[k]
        )
        surface = Surface(np.asarray(head) + fitted.translation[k], bound.whole.triangles)
        face = people[3][k] @ placed[0][k].T + placed[1][k]
        points = face[bound.own_corners[: head_fit.POINTS, 0]][:200]
        apart = np.linalg.norm(surface.closest(points)[0] - points, axis=1)
        assert apart.mean() < 0.5


def test_eyeballs_turn_the_eyes():
    ball = np.random.default_rng(0).normal(size=(30, 3))
    turn = Rotation.from_rotvec([0.1, -0.3, 0.0])
    np.testing.assert_allclose(
        head_fit._turned(ball, turn.apply(ball) + 3), [0.1, -0.3, 0], atol=1e-9
    )
    assert not head_fit._turned(ball[:0], ball[:0]).any()


def test_its_file_has_the_keys_that_trackers_read(bound, people, tmp_path, path):
    camera = {"R": np.diag([1.0, -1, -1]), "t": [5.0, 0, 900.0], "K": np.diag([800.0, 800, 1])}
    given = people[2], people[3][:1], [camera], (640, 480), np.array([7])
    head_files.write(tmp_path, "flame", bound, *given)
    found = np.load(tmp_path / "flame.npz")
    count = len(flame.read_head(path).template)
    shapes = {"shape": (300,), "expr": (1, 100), "rotation": (1, 3), "neck_pose": (1, 3)}
    shapes |= {"jaw_pose": (1, 3), "eyes_pose": (1, 6), "translation": (1, 3)}
    shapes |= {"static_offset": (1, count, 3), "K": (1, 3, 3), "frames": (1,), "size": (2,)}
    assert {key: found[key].shape for key in shapes} == shapes
    assert found["translation"][0, 2] < -0.8  # metres, before a camera that looks along -z
    assert np.abs(found["rotation"]).max() < 0.05


def test_other_files_and_units_are_refused(model, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8 a photo")
    with pytest.raises(ValueError, match=r"a\.jpg is not FLAME's file"):
        head_files.bind("flame", tmp_path / "a.jpg", model)
    with pytest.raises(ValueError, match="needs a face model in mm; this is in cm"):
        head_files.bind("flame", tmp_path / "a.jpg", model.replace(units="cm"))
