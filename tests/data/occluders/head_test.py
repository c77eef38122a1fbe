import hashlib
from pathlib import Path

import numpy as np

from focus_jax.data.occluders import head as head_module
from focus_jax.data.occluders.head import Girth, Heights, fitted, things
from tests.occluder_heads import head


def test_heights_of_a_sphere():
    golden = np.pi * (3 - np.sqrt(5))
    z = np.linspace(-1, 1, 20000)
    ring = np.sqrt(1 - z * z)
    turn = golden * np.arange(20000)
    ball = 50 * np.stack([ring * np.cos(turn), ring * np.sin(turn), z], axis=1)
    out = np.array([0.6, 0, 0.8])
    depth = Heights(ball, out).depth(np.array([45 * out, 60 * out, 60 * out + [0, 200, 0]]))
    np.testing.assert_allclose(depth[:2], [5, -10], atol=0.3)
    assert depth[2] < -1000


def test_nothing_stays_inside_the_face():
    person = head(1)
    girth = Girth(person)
    inside = person.vertices[person.vertices[:, 2] > 10] * [0.9, 1, 0.8]
    moved = girth.outside(inside, 3.0)
    offset = moved - girth.centre
    far = np.hypot(offset[:, 0], offset[:, 2])
    angle = np.arctan2(offset[:, 0], offset[:, 2])
    low = moved[:, 1] < person.vertices[:, 1].max() - 15
    assert (far >= girth.reach(angle, moved[:, 1]) + 2.9)[low & (np.abs(angle) < 1.3)].all()
    np.testing.assert_allclose(moved[:, 1], inside[:, 1], atol=1e-9)


def test_a_cloth_spans_hollows():
    girth = Girth(head(1))
    angle, height = np.meshgrid(np.linspace(-0.8, 0.8, 30), np.linspace(-60, 20, 30))
    assert (girth.reach(angle, height, 40) >= girth.reach(angle, height) - 1e-3).all()


def test_the_mean_face_fits_itself():
    person = head(0)
    landmarks = things()["landmarks"]
    same = person._replace(landmarks=landmarks)
    np.testing.assert_allclose(fitted(same, landmarks), landmarks, atol=1e-4)
    larger = person._replace(landmarks=landmarks * [1.1, 0.9, 1] + [0, 5, 0])
    np.testing.assert_allclose(fitted(larger, landmarks), larger.landmarks, atol=1e-3)


def test_the_archive_is_the_one_that_was_built():
    path = Path(head_module.__file__).with_name("things.npz")
    digest = "4dea4ddc7987c4d21c487166bddb78fe89fc8c83658eaebfa263129138e8b2c7"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
