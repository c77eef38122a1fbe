"""A fitted face said by another head: FLAME's or GNM's shape, expression and joints.

The face model is laid over the other head's mean once, which tells for points of the one where they
lie on the other (`bind`). A fitted face is then met there by Gauss-Newton steps: first who it is,
by its shape without expression, then expression and joints of each frame.
"""

import dataclasses
import functools
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from focus_jax.face_models import closed, crop, fitting, meshes
from focus_jax.face_models.skinning import SkinnedModel, posed
from focus_jax.types import REGIONS, FaceModel

POINTS = 1500  # of the surface, at most
NEAR = 5.0  # millimetres between the surfaces of one point
LANDMARK = 3.0  # weight of a landmark, of a surface point's 1
ALONG = 0.3  # how a distance along the surface counts, of one across it
# Together the points weigh as much as so many known to a millimetre, against coefficients of unit
# variance: were it more, modes that say nearly the same would be played against each other.
INDEPENDENT = 300.0
DAMPING = 1e-3  # of joints and place, which the points alone tell
STEPS = 8
MOVING = ("eyes", "teeth", "gums", "mouth")  # regions that are no points of the surface


class Joints(NamedTuple):
    """What of a head's joints a face tells."""

    free: tuple[int, ...]  # that points of the surface turn; the root is first
    eyes: tuple[int, int]  # left and right


class Bound(NamedTuple):
    """A head, and the points that a face model has on it."""

    joints: Joints
    whole: SkinnedModel
    near: SkinnedModel  # of the vertices that points lie between
    corners: Int[np.ndarray, "n 3"]  # of `near`
    shares: Float[np.ndarray, "n 3"]
    own_corners: Int[np.ndarray, "n 3"]  # of the face model
    own_shares: Float[np.ndarray, "n 3"]
    weights: Float[np.ndarray, "n"]
    triangles: Int[np.ndarray, "t 3"]  # of the face model
    eyeballs: tuple[np.ndarray, np.ndarray]  # its vertices, left and right; empty without any


class Fit(NamedTuple):
    """Codes of one person's head, a row a frame. Millimetres and radians."""

    identity: Float[np.ndarray, "i"]
    expression: Float[np.ndarray, "n e"]
    rotations: Float[np.ndarray, "n j 3"]
    translation: Float[np.ndarray, "n 3"]
    error: Float[np.ndarray, "n"]  # mean distance between the points


# --- where points of a face model lie on a head --------------------------------------------------


def bind(
    head: SkinnedModel,
    placed: Float[np.ndarray, "p 3"],
    landmarks: meshes.Landmarks,
    face_model: FaceModel,
    joints: Joints,
) -> Bound:
    """Points on a head with these landmarks, over whose template `closed(face_model)` is `placed`.

    ValueError where the two do not meet.
    """
    from focus_jax.evaluation.scans import Surface  # heavy, and only here

    outer, kept = closed(face_model)
    surface = Surface(np.asarray(head.template, np.float64), np.asarray(head.triangles))
    nearest, index = surface.closest(placed)
    apart = np.linalg.norm(placed - nearest, axis=1)
    agree = (fitting.normals(placed, outer.triangles) * surface.normals(index)).sum(axis=1)
    still = ~np.isin(outer.region, [REGIONS.index(name) for name in MOVING])
    chosen = np.flatnonzero((apart < NEAR) & (agree > 0.5) & still)
    if len(chosen) < 100:
        raise ValueError(f"the face model {face_model.name!r} does not lie on this head")
    chosen = chosen[:: -(-len(chosen) // POINTS)]
    inner = fitting.INNER
    corners = np.concatenate([surface.triangles[index[chosen]], landmarks[0][inner]])
    used, near = np.unique(corners, return_inverse=True)
    between = surface.vertices[surface.triangles[index[chosen]]]
    import trimesh  # heavy, and only here

    shares = trimesh.triangles.points_to_barycentric(between, nearest[chosen])
    rows = np.repeat(kept[chosen][:, None], 3, axis=1)
    one = np.tile([1.0, 0.0, 0.0], (len(chosen), 1))
    marks = np.asarray(face_model.landmark_vertices), np.asarray(face_model.landmark_weights)
    fields = ("template", "identity_basis", "expression_basis", "pose_basis", "skin_weights")
    return Bound(
        joints,
        head,
        dataclasses.replace(head, **{name: getattr(head, name)[used] for name in fields}),
        near.reshape(corners.shape),
        np.concatenate([shares, landmarks[1][inner]]).astype(np.float32),
        np.concatenate([rows, marks[0][inner]]),
        np.concatenate([one, marks[1][inner]]).astype(np.float32),
        np.repeat([1.0, LANDMARK], [len(chosen), len(marks[0][inner])]).astype(np.float32),
        np.asarray(face_model.triangles),
        _eyeballs(face_model),
    )


def _eyeballs(face_model: FaceModel) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of a face model's eyeballs, the person's left one first, at positive x."""
    triangles, region = np.asarray(face_model.triangles), np.asarray(face_model.region)
    found = np.flatnonzero(crop.eyeballs(triangles, region))
    left = np.asarray(face_model.shape_mean)[found, 0] > 0
    return found[left], found[~left]


# --- fitting -------------------------------------------------------------------------------------


def fit(
    bound: Bound,
    neutral: Float[np.ndarray, "v 3"],
    vertices: Iterable[Float[np.ndarray, "v 3"]],
    rotation: Float[np.ndarray, "n 3 3"],
    translation: Float[np.ndarray, "n 3"],
) -> Fit:
    """The head's codes of one person's frames; `vertices` are each one's, with expression.

    `rotation` and `translation` take them to where the head shall be.
    """
    own = functools.partial(_solve, bound.near, bound.corners, bound.shares, bound.weights)
    modes, free = bound.near.identity_basis.shape[-1], bound.joints.free
    targets = _targets(bound, neutral)
    start = _start(bound, targets[0], np.zeros(modes), modes, 1)
    found, _ = own(*targets, start, None, free=free[:1])
    identity, modes = np.asarray(found)[:modes], bound.near.expression_basis.shape[-1]
    codes, errors, turned = [], [], []
    for shape, turn, shift in zip(vertices, rotation, translation, strict=True):
        targets = _targets(bound, shape @ turn.T + shift)
        start = _start(bound, targets[0], identity, modes, len(free))
        found, error = own(*targets, start, identity, free=free)
        codes.append(np.asarray(found))
        errors.append(float(error))
        turned.append([_turned(neutral[ball], shape[ball]) for ball in bound.eyeballs])
    code = np.stack(codes)
    rotations = np.zeros((len(code), len(bound.whole.parents), 3), np.float32)
    rotations[:, list(free)] = code[:, modes:-3].reshape(len(code), -1, 3)
    rotations[:, list(bound.joints.eyes)] = np.array(turned)
    return Fit(identity, code[:, :modes], rotations, code[:, -3:], np.array(errors))


def _targets(bound: Bound, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The face model's points `[n 3]` and their normals."""
    around = fitting.normals(vertices, bound.triangles)

    def at(values: np.ndarray) -> np.ndarray:
        return np.einsum("nk,nkc->nc", bound.own_shares, values[bound.own_corners])

    across = at(around)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
    return at(vertices).astype(np.float32), across.astype(np.float32)


def _start(
    bound: Bound, target: np.ndarray, identity: np.ndarray, modes: int, joints: int
) -> np.ndarray:
    """No coefficients, and the head where its points meet the targets best as they are."""
    from scipy.spatial.transform import Rotation  # heavy, and only here

    shape = np.asarray(bound.near.template) + np.asarray(bound.near.identity_basis) @ identity
    points = np.einsum("nk,nkc->nc", bound.shares, shape[bound.corners])
    root = np.asarray(bound.near.joints)[0] + np.asarray(bound.near.joint_identity)[0] @ identity
    turn = fitting.similarity(points, target).rotation.T
    shift = target.mean(0) - turn @ (points.mean(0) - root) - root
    about = np.zeros((joints, 3))
    about[0] = Rotation.from_matrix(turn).as_rotvec()
    return np.concatenate([np.zeros(modes), about.ravel(), shift]).astype(np.float32)


def _turned(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The rotation, as a vector, between two states of an eyeball; none where there is none."""
    from scipy.spatial.transform import Rotation  # heavy, and only here

    if not len(before):
        return np.zeros(3)
    return Rotation.from_matrix(fitting.similarity(before, after).rotation.T).as_rotvec()


@functools.partial(jax.jit, static_argnames="free")
def _solve(
    near: SkinnedModel,
    corners: Int[Array, "n 3"],
    shares: Float[Array, "n 3"],
    weights: Float[Array, "n"],
    target: Float[Array, "n 3"],
    across: Float[Array, "n 3"],
    start: Float[Array, "k"],
    identity: Float[Array, "i"] | None,
    *,
    free: tuple[int, ...],
) -> tuple[Float[Array, "k"], Float[Array, ""]]:
    """Coefficients, turns of the `free` joints and place, and the mean distance of the points.

    The coefficients are of expression, or of the identity where that is None.
    """
    count = len(start) - 3 * len(free) - 3
    scale = jnp.sqrt(INDEPENDENT * weights / jnp.sum(weights))[:, None]
    known = jnp.where(jnp.arange(len(start)) < count, 1.0, DAMPING)

    def apart(z):
        code = (z[:count], jnp.zeros(0)) if identity is None else (identity, z[:count])
        turns = (
            jnp.zeros((len(near.parents), 3)).at[jnp.array(free)].set(z[count:-3].reshape(-1, 3))
        )
        vertices = posed(near, *code, turns) + z[-3:]
        return jnp.einsum("nk,nkc->nc", shares, vertices[corners]) - target

    def residuals(z):
        gaps = scale * apart(z)
        # What is not known by the points stays where it began.
        held = known * jnp.where(jnp.arange(len(z)) < count, z, z - start)
        return jnp.concatenate([jnp.sum(gaps * across, -1), ALONG * gaps.ravel(), held])

    def improve(_, z):
        slope, rest = jax.jacfwd(residuals)(z), residuals(z)
        matrix = jnp.matmul(slope.T, slope, precision="highest")
        return z - jnp.linalg.solve(matrix, slope.T @ rest)

    found = jax.lax.fori_loop(0, STEPS, improve, start)
    return found, jnp.mean(jnp.linalg.norm(apart(found), axis=-1))
