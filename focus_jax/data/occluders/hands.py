"""Hands with a forearm and a sleeve, bent by their joints and laid against a face."""

import functools

import numpy as np

from focus_jax.data.occluders import shapes
from focus_jax.data.occluders.head import Head, Heights, things
from focus_jax.data.occluders.meshes import colourful, turn, unit
from focus_jax.data.occluders.part import OCCLUDER, Part

FLESH = 2.5  # how deep a hand presses, mm
HELD = ("phone", "cup", "microphone")
X, Y, Z = np.eye(3)
# Degrees that the four angles of a thumb and of a finger change for a millimetre.
_FOLLOWS = np.array([[0.6, 0, 0.1, 0.1], [0, 0.35, 0.35, 0.2]])


@functools.cache
def _rig() -> tuple[np.ndarray, ...]:
    """Vertices, weights, joints and normals at rest; the forearm twice as long as it was kept."""
    data = things()
    vertices, joints = data["hand_vertices"].astype(np.float64), data["hand_joints"].astype(float)
    weights = data["hand_weights"] / data["hand_weights"].sum(axis=1, keepdims=True, dtype=float)
    far = np.minimum(vertices[:, 1] + 120, 0)
    vertices = vertices + far[:, None] * [0, 1, -0.3]
    return vertices, weights, joints, data["hand_normals"] / 100


def bend(
    vertices: np.ndarray, weights: np.ndarray, joints: np.ndarray, angles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices `[v 3]` and joints `[21 3]` of a right hand bent by `angles [22]` in degrees.

    Linear blend skinning. Angles: of the thumb, towards the palm, from the index, then both bends
    beyond what it has at rest; of each finger from the index on, spread towards the thumb and the
    bends of its three joints, 0 where it is straight; of the wrist, towards the palm and towards
    the thumb. Weights `[v 17]` are of forearm, palm and three bones of each finger.
    """
    a = np.deg2rad(angles)
    rotation, moved = np.tile(np.eye(3), (17, 1, 1)), joints.copy()
    rotation[0] = turn(Z, a[21]) @ turn(X, a[20])
    for finger in range(5):
        d = unit(np.diff(joints[1 + 4 * finger : 5 + 4 * finger], axis=0))
        axis = unit(np.cross(d[0], d[1]) + np.cross(d[1], d[2]))
        if finger == 0:
            local = [turn(Y, -a[0]) @ turn(Z, -a[1]), turn(axis, a[2]), turn(axis, a[3])]
        else:
            spread, *target = a[4 * finger : 4 * finger + 4]
            rest = [np.arcsin(d[0, 2]), *np.arccos(np.clip((d[:2] * d[1:]).sum(axis=1), -1, 1))]
            local = [turn(axis, t - r) for t, r in zip(target, rest, strict=True)]
            local[0] = turn(Z, np.arctan2(d[0, 0], d[0, 1]) - spread) @ local[0]
        whole = np.eye(3)
        for bone in range(3):
            whole = whole @ local[bone]
            joint = 1 + 4 * finger + bone
            rotation[2 + 3 * finger + bone] = whole
            moved[joint + 1] = moved[joint] + whole @ (joints[joint + 1] - joints[joint])
    own = [0, 0, *(1 + 4 * finger + bone for finger in range(5) for bone in range(3))]
    shift = moved[own] - np.einsum("bij,bj->bi", rotation, joints[own])
    blend = weights @ np.concatenate([rotation.reshape(17, 9), shift], axis=1)
    bent = np.einsum("vij,vj->vi", blend[:, :9].reshape(-1, 3, 3), vertices) + blend[:, 9:]
    return bent, moved


def hand(
    head: Head, rng: np.random.Generator, kind: str = "hand", pose: int | None = None
) -> list[Part]:
    """A hand, or both, at the face, or holding before it what `kind` names of HELD.

    `pose`, for looking, is the number of one of the archive's.
    """
    data = things()
    own = data["pose_held"] == (HELD.index(kind) + 1 if kind in HELD else 0)
    chance = data["pose_weight"] * own
    pose = int(rng.choice(len(own), p=chance / chance.sum())) if pose is None else pose
    both, side = bool(data["pose_both"][pose]), rng.choice([-1.0, 1.0])
    look, parts = _Look(head, rng), []
    for mirror in (side, -side) if both else (side,):
        landmarks = head.landmarks if mirror > 0 else head.landmarks[data["landmark_mirror"]]
        seen = head._replace(
            vertices=head.vertices * [mirror, 1, 1], landmarks=landmarks * [mirror, 1, 1]
        )
        for one in _laid(seen, rng, pose, look):
            triangles = one.triangles if mirror > 0 else one.triangles[:, ::-1]
            vertices = one.vertices * np.array([mirror, 1, 1], np.float32)
            parts.append(one._replace(vertices=vertices, triangles=triangles))
    return parts


class _Look:
    """Skin and sleeve, the same for both hands."""

    def __init__(self, head: Head, rng: np.random.Generator) -> None:
        skins = things()["hand_colours"] / 255.0
        back = (things()["hand_normals"][:, 2] < -30) & (things()["hand_vertices"][:, 1] > 0)
        means = skins[:, back].mean(axis=1)
        tone = head.skin if rng.random() < 0.85 else rng.choice(things()["skin_tones"])
        tone = np.clip(tone * rng.uniform(0.88, 1.1) * (1 + rng.normal(0, 0.02, 3)), 0.05, 0.95)
        near = np.argsort(np.abs(np.log(means / tone)).sum(axis=1))[rng.integers(4)]
        self.skin = np.clip(skins[near] * tone / means[near], 0, 1)
        self.size = rng.uniform(0.9, 1.08)
        self.cuff = -rng.uniform(10, 190) if rng.random() < 0.6 else -1e3
        self.cloth, self.thick, self.folds = colourful(rng), rng.uniform(3, 9), rng.integers(8)
        self.shine = (rng.uniform(0.02, 0.12), rng.uniform(8, 25))


def _laid(head: Head, rng: np.random.Generator, pose: int, look: _Look) -> list[Part]:
    """A right hand pushed back from the face until it only touches."""
    data, (vertices, weights, joints, out) = things(), _rig()
    angles = data["pose_angles"][pose] + rng.normal(0, 4, 22)
    held = data["pose_held"][pose]
    if not held:  # what lies between two poses is one too
        near = np.abs(data["pose_angles"] - data["pose_angles"][pose]).sum(axis=1)
        near = data["pose_angles"][np.argsort(near)[rng.integers(16)]]
        angles = angles + rng.uniform(0, 0.5) * (near - data["pose_angles"][pose])
    fingers, palm, away = unit(data["pose_frame"][pose].astype(float))
    wobble = turn(unit(rng.normal(size=3)), np.deg2rad(rng.normal(0, 9)))
    across = unit(np.cross(fingers, palm))
    frame = wobble @ np.stack([across, fingers, np.cross(across, fingers)], axis=1) * look.size
    face = Heights(head.vertices, away)
    goal = data["pose_target"][pose] @ head.landmarks + data["pose_target_shift"][pose]
    goal = goal + rng.normal(0, 5, 3) + (100.0 + data["pose_gap"][pose]) * unit(away)
    things_held = shapes.draw(rng, HELD[held - 1]) if held else []
    steps = 3 if data["pose_follow"][pose] else 0
    for step in range(steps + 1):
        some = slice(None, None, 1 if step == steps else 3)
        bent, moved = bend(vertices[some], weights[some], joints, angles)
        contact = data["pose_joints"][pose] @ moved + data["pose_joints_shift"][pose]
        shift = goal - frame @ contact
        solid = np.concatenate([bent, *(one.vertices for one in things_held)])
        deep = face.depth(solid @ frame.T + shift)
        back = deep.max() - FLESH + data["pose_gap"][pose]
        back = back if back > -1e3 else -100.0
        # Fingers close onto the face and open where they would go into it.
        for finger in range(5) if step < steps else ():
            bones = weights[some, 2 + 3 * finger : 5 + 3 * finger].sum(axis=1) > 0.6
            gap = np.clip(FLESH + back - deep[: len(bones)][bones].max(), -20, 30)
            angles[4 * finger : 4 * finger + 4] += gap * _FOLLOWS[min(finger, 1)]
    shift = shift + back * unit(away)

    def at(points: np.ndarray) -> np.ndarray:
        return (points @ frame.T + shift).astype(np.float32)

    colours = np.concatenate([look.skin, np.ones((len(bent), 1))], axis=1).astype(np.float32)
    skin = Part(at(bent), data["hand_triangles"], colours, None, None, OCCLUDER, look.shine, False)
    parts = [*(one._replace(vertices=at(one.vertices)) for one in things_held), skin]
    inside = vertices[:, 1] < look.cuff
    if inside.any():
        rise = look.thick + data["hand_folds"][look.folds] / 10
        rise = rise - 0.06 * np.minimum(vertices[:, 1], 0)
        dressed, _ = bend(vertices + rise[:, None] * out, weights, joints, angles)
        triangles = skin.triangles[inside[skin.triangles].all(axis=1)]
        colours = np.broadcast_to(np.append(look.cloth, 1), skin.colours.shape).astype(np.float32)
        parts.append(Part(at(dressed), triangles, colours, None, None, OCCLUDER, (0.02, 5.0), True))
    return parts
