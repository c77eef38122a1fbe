"""Linear blend skinning, by which heads turn neck, jaw and eyes (Loper et al. 2015, Eq. 2 to 10).

Pure functions; they take any leading axes. Rotations are axis-angle vectors in radians.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from focus_jax.types import AnyArray

_EXACT = jax.lax.Precision.HIGHEST


@struct.dataclass
class SkinnedModel:
    """A head of shape and expression modes, with joints. Lengths are millimetres."""

    template: Float[AnyArray, "v 3"]
    identity_basis: Float[AnyArray, "v 3 i"]
    expression_basis: Float[AnyArray, "v 3 e"]
    pose_basis: Float[AnyArray, "v 3 p"]  # nine for each joint, or for each but the root
    joints: Float[AnyArray, "j 3"]  # of the template
    joint_identity: Float[AnyArray, "j 3 i"]  # how they move with the modes
    joint_expression: Float[AnyArray, "j 3 e"]
    skin_weights: Float[AnyArray, "v j"]
    triangles: Int[AnyArray, "t 3"]
    parents: tuple[int, ...] = struct.field(pytree_node=False)  # -1: the root, which is first


def rotation_matrices(rotations: Float[AnyArray, "*n 3"]) -> Float[Array, "*n 3 3"]:
    """Rodrigues' formula. At no rotation: the identity, with a finite gradient.

    In float32 at least: half precision cannot tell a small rotation's square from none.
    """
    rotations = jnp.asarray(rotations)
    rotations = rotations.astype(jnp.promote_types(rotations.dtype, jnp.float32))
    squared = jnp.sum(rotations**2, axis=-1)[..., None, None]
    small = squared < 1e-8  # below, the series is exact in float32, and the root has no gradient
    angle = jnp.sqrt(jnp.where(small, 1.0, squared))
    first = jnp.where(small, 1.0 - squared / 6.0, jnp.sin(angle) / angle)
    second = jnp.where(small, 0.5 - squared / 24.0, (1.0 - jnp.cos(angle)) / angle**2)
    x, y, z = jnp.moveaxis(rotations, -1, 0)
    zero = jnp.zeros_like(x)
    rows = ((zero, -z, y), (z, zero, -x), (-y, x, zero))
    cross = jnp.stack([jnp.stack(row, -1) for row in rows], -2)
    square = jnp.einsum("...ij,...jk->...ik", cross, cross, precision=_EXACT)
    return jnp.eye(3, dtype=rotations.dtype) + first * cross + second * square


def joint_motions(
    joints: Float[AnyArray, "*n j 3"],
    matrices: Float[AnyArray, "*n j 3 3"],
    parents: tuple[int, ...],
) -> tuple[Float[Array, "*n j 3 3"], Float[Array, "*n j 3"]]:
    """Rotation and translation that each joint gives the points that follow it.

    `parents` names the joint that each hangs on, an earlier one; the root's is -1.
    """
    turns, places = [matrices[..., 0, :, :]], [joints[..., 0, :]]
    for joint, parent in enumerate(parents[1:], start=1):
        if not 0 <= parent < joint:
            raise ValueError(f"joint {joint} hangs on {parent}, which is no earlier joint")
        arm = joints[..., joint, :] - joints[..., parent, :]
        places.append(places[parent] + _turned(turns[parent], arm))
        turns.append(
            jnp.einsum(
                "...ij,...jk->...ik", turns[parent], matrices[..., joint, :, :], precision=_EXACT
            )
        )
    turn, place = jnp.stack(turns, -3), jnp.stack(places, -2)
    return turn, place - _turned(turn, joints)


def skin(
    vertices: Float[AnyArray, "*n v 3"],
    weights: Float[AnyArray, "v j"],
    turns: Float[AnyArray, "*n j 3 3"],
    shifts: Float[AnyArray, "*n j 3"],
) -> Float[Array, "*n v 3"]:
    """Each vertex moved by the weighted mean of the joints' motions."""
    turn = jnp.einsum("vj,...jik->...vik", weights, turns, precision=_EXACT)
    shift = jnp.einsum("vj,...ji->...vi", weights, shifts, precision=_EXACT)
    return _turned(turn, vertices) + shift


def posed(
    model: SkinnedModel,
    identity: Float[AnyArray, "*n i"],
    expression: Float[AnyArray, "*n e"],
    rotations: Float[AnyArray, "*n j 3"],
) -> Float[Array, "*n v 3"]:
    """The head's vertices. Fewer coefficients than modes weigh the first ones; more are a
    ValueError, and so are rotations of another number of joints.

    The joints of FLAME: root, neck, jaw, left eye, right eye.
    """
    if rotations.shape[-2:] != (len(model.parents), 3):
        raise ValueError(
            f"rotations {rotations.shape} are not of the head's {len(model.parents)} joints [j 3]"
        )
    shaped = (
        model.template
        + _offsets(model.identity_basis, identity, "identity")
        + _offsets(model.expression_basis, expression, "expression")
    )
    joints = (
        model.joints
        + _offsets(model.joint_identity, identity, "identity")
        + _offsets(model.joint_expression, expression, "expression")
    )
    matrices = rotation_matrices(rotations)
    first = len(model.parents) - model.pose_basis.shape[-1] // 9
    bent = matrices[..., first:, :, :] - jnp.eye(3, dtype=matrices.dtype)
    bent = bent.reshape(*bent.shape[:-3], 9 * bent.shape[-3])
    corrected = shaped + _offsets(model.pose_basis, bent, "pose correction")
    turns, shifts = joint_motions(joints, matrices, model.parents)
    return skin(corrected, model.skin_weights, turns, shifts)


def _turned(matrices: AnyArray, points: AnyArray) -> jax.Array:
    return jnp.einsum("...ij,...j->...i", matrices, points, precision=_EXACT)


def _offsets(basis: AnyArray, coefficients: AnyArray, kind: str) -> jax.Array:
    count, available = coefficients.shape[-1], basis.shape[-1]
    if count > available:
        raise ValueError(f"{count} {kind} coefficients, but the head has {available} modes")
    return jnp.einsum("vck,...k->...vc", basis[..., :count], coefficients, precision=_EXACT)
