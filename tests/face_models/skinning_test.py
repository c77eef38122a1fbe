"""Rotations, joints and skinning, against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from focus_jax.face_models import skinning

PARENTS = (-1, 0, 1, 1, 1)
rotation_matrices, posed = jax.jit(skinning.rotation_matrices), jax.jit(skinning.posed)
REGRESSOR = np.random.default_rng(1).dirichlet(np.ones(40), 5).astype(np.float32)


@pytest.fixture(scope="module")
def head():
    rng = np.random.default_rng(0)
    count = 40
    weights = rng.random((count, 5)) ** 4

    def part(*shape):
        return rng.normal(size=shape).astype(np.float32)

    template, identity, expression = 100 * part(count, 3), part(count, 3, 3), part(count, 3, 2)
    return skinning.SkinnedModel(
        template=template,
        identity_basis=identity,
        expression_basis=expression,
        pose_basis=part(count, 3, 36),
        joints=np.einsum("jv,vc->jc", REGRESSOR, template),
        joint_identity=np.einsum("jv,vck->jck", REGRESSOR, identity),
        joint_expression=np.einsum("jv,vck->jck", REGRESSOR, expression),
        skin_weights=np.float32(weights / weights.sum(1, keepdims=True)),
        triangles=np.zeros((1, 3), np.int32),
        parents=PARENTS,
    )


def test_rotations_are_those_of_scipy():
    vectors = np.random.default_rng(0).normal(size=(20, 3)) * np.logspace(-5, 0.3, 20)[:, None]
    found = rotation_matrices(np.float32(vectors))
    np.testing.assert_allclose(found, Rotation.from_rotvec(vectors).as_matrix(), atol=3e-6)


def test_no_rotation_is_the_identity_and_has_a_gradient():
    none = np.zeros(3, np.float32)
    np.testing.assert_array_equal(rotation_matrices(none), np.eye(3))
    slope = np.asarray(jax.jit(jax.jacobian(skinning.rotation_matrices))(none))
    assert np.isfinite(slope).all()
    np.testing.assert_allclose(slope[2, 1], [1, 0, 0])  # about x: y turns to z


def test_at_rest_the_head_is_its_shape(head):
    identity, expression = np.float32([0.5, -1.0, 2.0]), np.float32([1.0, 0.5])
    found = posed(head, identity, expression, np.zeros((5, 3), np.float32))
    wanted = head.template + head.identity_basis @ identity + head.expression_basis @ expression
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_the_root_turns_everything_about_itself(head):
    none, pose = np.zeros(0, np.float32), np.zeros((5, 3), np.float32)
    pose[0] = 0.2, -0.4, 0.1
    matrix = np.asarray(rotation_matrices(pose[0]))
    root = REGRESSOR[0] @ head.template
    wanted = (head.template - root) @ matrix.T + root
    np.testing.assert_allclose(posed(head, none, none, pose), wanted, atol=1e-3)


def by_definition(head, vertices, pose):
    """4 x 4 matrices along the chain of joints, in double precision."""
    vertices = np.asarray(vertices, np.float64)
    joints = np.asarray(REGRESSOR, np.float64) @ vertices
    matrices = Rotation.from_rotvec(np.asarray(pose)).as_matrix()
    bent = (matrices[1:] - np.eye(3)).ravel()
    vertices = vertices + np.asarray(head.pose_basis, np.float64) @ bent
    world = []
    for joint, parent in enumerate(PARENTS):
        local = np.eye(4)
        local[:3, :3] = matrices[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if joint else 0)
        world.append(world[parent] @ local if joint else local)
    moved = 0
    for joint, matrix in enumerate(world):
        rest = np.eye(4)
        rest[:3, 3] = -joints[joint]
        points = np.c_[vertices, np.ones(len(vertices))] @ (matrix @ rest).T
        moved = moved + np.asarray(head.skin_weights)[:, joint, None] * points[:, :3]
    return moved


def test_all_joints_together_follow_the_definition(head):
    pose = np.float32(np.random.default_rng(1).normal(size=(5, 3)) * 0.5)
    identity = np.ones(1, np.float32)
    shaped = head.template + head.identity_basis[..., 0]
    found = posed(head, identity, np.zeros(0, np.float32), pose)
    np.testing.assert_allclose(found, by_definition(head, shaped, pose), atol=2e-3)


def test_batches_are_single_heads_and_jit_changes_nothing(head):
    rng = np.random.default_rng(2)
    identity, expression, pose = (
        rng.normal(size=shape).astype(np.float32) for shape in ((2, 3), (2, 2), (2, 5, 3))
    )
    found = np.asarray(posed(head, identity, expression, pose))
    one = skinning.posed(head, identity[1], expression[1], pose[1])
    np.testing.assert_allclose(found[1], one, atol=1e-3)


def test_wrong_joints_and_too_many_coefficients_are_refused(head):
    with pytest.raises(ValueError, match="joint 1 hangs on 3"):
        skinning.joint_motions(jnp.zeros((4, 3)), jnp.zeros((4, 3, 3)), (-1, 3, 0, 0))
    with pytest.raises(ValueError, match="9 identity coefficients, but the head has 3 modes"):
        skinning.posed(head, jnp.zeros(9), jnp.zeros(0), jnp.zeros((5, 3)))
    for joints in (4, 6):
        with pytest.raises(ValueError, match=rf"\({joints}, 3\) are not of the head's 5 joints"):
            skinning.posed(head, jnp.zeros(0), jnp.zeros(0), jnp.zeros((joints, 3)))


def test_half_precision_and_no_heads_at_all(head):
    rest = skinning.rotation_matrices(jnp.zeros((2, 3), jnp.float16))
    np.testing.assert_array_equal(rest, np.broadcast_to(np.eye(3), (2, 3, 3)))
    none = skinning.posed(head, jnp.zeros((0, 2)), jnp.zeros((0, 1)), jnp.zeros((0, 5, 3)))
    assert none.shape == (0, *head.template.shape)
