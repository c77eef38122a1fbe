import numpy as np
import pytest
from face_model_files import basis, gnm_arrays, head
from scipy.spatial.transform import Rotation

from focus_jax.face_models import fitting, gnm, load_face_model, skinning
from focus_jax.types import REGIONS


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("gnm") / "gnm_head.npz"
    np.savez(path, **gnm_arrays())
    return path


@pytest.fixture(scope="module")
def whole(path):
    return load_face_model(path, mesh="full")


def test_it_is_read_in_millimetres(whole):
    mesh = head()
    moved = whole.shape_mean - mesh.vertices
    np.testing.assert_allclose(moved, np.tile(moved[:1], (len(moved), 1)), atol=1e-2)
    np.testing.assert_array_equal(whole.triangles, mesh.triangles)
    assert whole.units == "mm" and "Apache" in whole.licence
    wanted = basis(len(mesh.vertices), 6, 0)
    for mode in np.moveaxis(np.asarray(whole.identity_basis), -1, 0):  # in whatever order
        assert min(np.abs(mode - other).max() for other in np.moveaxis(wanted, -1, 0)) < 1e-3


def test_its_landmarks_and_regions_are_those_of_the_face(whole):
    mesh = head()
    gap = fitting.landmark_points(whole) - mesh.vertices[mesh.landmarks]
    assert np.linalg.norm(gap - gap.mean(axis=0), axis=1).mean() < 3
    eyes = np.asarray(whole.region) == REGIONS.index("eyes")
    arrays = gnm_arrays()
    assert eyes[arrays["vertex_groups"][1:].any(axis=0)].all()
    np.testing.assert_allclose(
        whole.uv, arrays["template_vertex_positions"][:, :2] + 0.3, atol=1e-6
    )


def test_the_face_is_a_part_of_the_head(path, whole):
    face = load_face_model(path, identity=2, expression=3, albedo=2)
    assert 1000 < len(face.shape_mean) < len(whole.shape_mean)
    shapes = face.identity_basis.shape[-1], face.expression_basis.shape[-1]
    assert shapes == (2, 3) and face.albedo_basis.shape[-1] == 2
    first = np.linalg.norm(face.identity_basis, axis=(0, 1))
    assert first[0] >= first[1]
    apart = np.linalg.norm(whole.shape_mean[None, :] - face.shape_mean[::500, None], axis=-1)
    assert apart.min(axis=1).max() < 1e-2
    nearest = apart.argmin(axis=1)
    np.testing.assert_allclose(
        face.identity_basis[::500], whole.identity_basis[nearest][..., :2], atol=1e-4
    )


def by_definition(arrays, identity, expression, rotations):
    """GNM's function in double precision, vertex by vertex of a few, in metres."""
    mean = arrays["template_vertex_positions"].astype(np.float64)
    mean = mean + np.tensordot(identity, arrays["vertex_identity_basis"], 1)
    mean = mean + np.tensordot(expression, arrays["expression_basis"], 1)
    joints = arrays["template_joint_positions"] + np.tensordot(
        identity, arrays["joint_identity_basis"], 1
    )
    matrices = Rotation.from_rotvec(rotations).as_matrix()
    bent = (matrices - np.eye(3)).ravel()
    mean = mean + (bent @ arrays["pose_correctives_regressor"].astype(np.float64)).reshape(-1, 3)
    world = []
    for joint, parent in enumerate(arrays["joint_parent_indices"]):
        local = np.eye(4)
        local[:3, :3] = matrices[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if joint else 0)
        world.append(world[parent] @ local if joint else local)
    moved = np.zeros_like(mean)
    for joint, matrix in enumerate(world):
        turned = (mean - joints[joint]) @ matrix[:3, :3].T + matrix[:3, 3]
        moved += arrays["skinning_weights"][joint][:, None] * turned
    return moved


def test_its_joints_turn_it_as_its_definition_says(path):
    rng = np.random.default_rng(0)
    code = rng.normal(size=6), rng.normal(size=5), 0.4 * rng.normal(size=(4, 3))
    found = skinning.posed(gnm.read_head(path), *(np.float32(part) for part in code))
    np.testing.assert_allclose(found, 1000 * by_definition(gnm_arrays(), *code), atol=1e-2)


def test_the_known_landmarks_lie_within_triangles():
    assert gnm.LANDMARKS.shape == (68, 5) and gnm.LANDMARKS[:, :3].max() < gnm.VERTICES
    shares = gnm.LANDMARKS[:, 3:] / 1000
    assert (shares >= 0).all() and (shares.sum(axis=1) <= 1.001).all()


WRONG = {
    "it lacks the key 'expression_basis'": lambda a: a.pop("expression_basis"),
    "'skinning_weights' has the shape": lambda a: a.update(skinning_weights=np.zeros((4, 7))),
    "instead of .36, ": lambda a: a.update(pose_correctives_regressor=np.zeros((27, 9))),
    "hangs joint 2 on 3": lambda a: a.update(joint_parent_indices=np.array([0, 0, 3, 1])),
    "holds values that are not finite": lambda a: a["expression_basis"].fill(np.nan),
    "has no vertex group 'skin'": lambda a: a.update(vertex_group_names=np.array(["a", "b", "c"])),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_does_not_fit_is_named(message, tmp_path):
    arrays = gnm_arrays()
    WRONG[message](arrays)
    np.savez(tmp_path / "gnm_head.npz", **arrays)
    with pytest.raises(ValueError, match=rf"gnm_head\.npz.*{message}"):
        load_face_model(tmp_path / "gnm_head.npz")
