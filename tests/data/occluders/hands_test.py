import numpy as np
import pytest

from focus_jax.data.occluders import hands
from focus_jax.data.occluders.head import Heights, things
from tests.occluder_heads import head


def test_bones_keep_their_lengths_and_the_palm_stays():
    vertices, weights, joints, _ = hands._rig()
    angles = np.random.default_rng(0).normal(0, 30, 22)
    bent, moved = hands.bend(vertices, weights, joints, angles)
    lengths = [
        np.linalg.norm(np.diff(j[1:].reshape(5, 4, 3), axis=1), axis=-1) for j in (joints, moved)
    ]
    np.testing.assert_allclose(*lengths, rtol=1e-6)
    palm = weights[:, 1] > 0.99
    assert palm.sum() > 50
    np.testing.assert_allclose(bent[palm], vertices[palm], atol=1.0)


def test_straight_fingers_are_straight_and_a_fist_closes():
    vertices, weights, joints, _ = hands._rig()
    straight = hands.bend(vertices, weights, joints, np.zeros(22))[1][1:].reshape(5, 4, 3)[1:]
    fist = np.zeros(22)
    fist[4:20] = np.tile([0, 85, 95, 60], 4)
    closed = hands.bend(vertices, weights, joints, fist)[1][1:].reshape(5, 4, 3)[1:]
    for chain in straight:
        reach = np.linalg.norm(chain[3] - chain[0])
        assert reach > 0.985 * np.linalg.norm(np.diff(chain, axis=0), axis=1).sum()
    assert (straight[:, 3, 1] - straight[:, 0, 1] > 40).all()  # along the hand
    assert (closed[:, 3, 1] < closed[:, 1, 1] - 10).all()  # tips come back to the palm


@pytest.mark.parametrize("pose", range(0, 42, 5))
def test_hands_touch_the_face_and_do_not_go_through_it(pose):
    person, rng = head(pose), np.random.default_rng(pose)
    away, gap = things()["pose_frame"][pose][2].astype(float), things()["pose_gap"][pose]
    parts = hands._laid(person, rng, pose, hands._Look(person, rng))
    skin = next(k for k, part in enumerate(parts) if not part.two_sided)  # then comes the sleeve
    solid = np.concatenate([part.vertices for part in parts[: skin + 1]])
    deep = Heights(person.vertices, away).depth(solid).max()
    assert -gap - 3 < deep < hands.FLESH - gap + 4


def test_the_left_hand_mirrors_the_right_one():
    person = head(0)
    sides = set()
    for seed in range(8):
        skin = hands.hand(person, np.random.default_rng(seed), pose=1)[0]
        a, b, c = (skin.vertices[skin.triangles[:, k]] for k in range(3))
        volume = np.einsum("tc,tc->t", a, np.cross(b, c)).sum()
        assert volume > 0  # triangles are seen from outside on both
        sides.add(np.sign(skin.vertices[-500:, 0].mean()))
    assert sides == {-1.0, 1.0}


def test_what_is_held_comes_with_a_hand():
    for kind in hands.HELD:
        parts = hands.hand(head(0), np.random.default_rng(1), kind)
        assert len(parts) >= 3 and len({len(p.vertices) for p in parts}) > 1
