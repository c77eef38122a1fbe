"""Expression: the 52 ARKit units, and the principal modes of how they go together in photographs.

The units are ICT-FaceKit's blendshapes, carried over; the tongue's is MakeHuman's. Each mode is a
mixture of units, so that it can be told in their names.
"""

import numpy as np

from focus_jax.face_models.arkit import NAMES as UNITS

# Spread of the units in photographs (weight at one standard deviation); others have 0.16.
# A linear model also subtracts what it adds: what looks wrong below zero gets less.
SPREAD = {
    "jawOpen": 0.20, "eyeBlink": 0.24, "mouthSmile": 0.40, "cheekSquint": 0.22, "eyeSquint": 0.25,
    "eyeWide": 0.16, "mouthUpperUp": 0.20, "mouthLowerDown": 0.20, "browInnerUp": 0.35,
    "browDown": 0.30, "browOuterUp": 0.30, "mouthPucker": 0.22, "mouthFunnel": 0.14,
    "mouthRollLower": 0.14, "mouthRollUpper": 0.12, "mouthShrugLower": 0.12,
    "mouthShrugUpper": 0.10, "jawForward": 0.14, "jawLeft": 0.10, "jawRight": 0.10,
    "mouthLeft": 0.14, "mouthRight": 0.14,
    "cheekPuff": 0.12, "noseSneer": 0.20, "mouthStretch": 0.18, "mouthFrown": 0.16,
}  # fmt: skip
# mouthClose only makes sense together with an open jaw; eyes look together, see `spreads`.
NOT_USED = ("tongueOut", "mouthClose", "eyeLook")
TOGETHER = {"cheekSquint": "mouthSmile", "eyeSquint": "mouthSmile", "browOuterUp": "browInnerUp"}
LOOK = np.deg2rad(30.0)  # that an eye turns at full weight of an eyeLook unit
GAZE = 1 / 6  # of full weight, at one standard deviation
# Axis about which the subject's left eye turns; the right one's In and Out are exchanged.
TURNS = {"Up": (-1.0, 0, 0), "Down": (1.0, 0, 0), "Out": (0, 1.0, 0), "In": (0, -1.0, 0)}


def ict_names(unit: str) -> tuple[str, ...]:
    """ICT-FaceKit's blendshapes whose sum is an ARKit unit."""
    if unit in ("browInnerUp", "cheekPuff"):
        return f"{unit}_L", f"{unit}_R"
    for side in ("Left", "Right"):
        stem = unit.removesuffix(side)
        if stem != unit and unit not in ("jawLeft", "jawRight", "mouthLeft", "mouthRight"):
            return (f"{stem}_{side[0]}",)
    return (unit,)


def kind(unit: str) -> str:
    """The unit's name without its side, where both sides have one that moves alike."""
    if unit in ("jawLeft", "jawRight", "mouthLeft", "mouthRight"):
        return unit
    return unit.removesuffix("Left").removesuffix("Right")


def spreads() -> np.ndarray:
    """Weights `[52 n]` whose independent normal mixtures are expressions.

    Both sides mostly move together; some units mostly come with others.
    """
    number = {unit: k for k, unit in enumerate(UNITS)}
    shared: dict[str, np.ndarray] = {}
    own = []
    used = [unit for unit in UNITS if not unit.startswith(NOT_USED)]
    for unit in used:
        weight = np.zeros(len(UNITS))
        weight[number[unit]] = SPREAD.get(kind(unit), 0.16)
        sides = sum(kind(other) == kind(unit) for other in used)
        leader = TOGETHER.get(kind(unit))
        parts = {leader: 0.65, kind(unit): 0.65} if leader else {kind(unit): 0.93}
        if sides == 1:
            parts = {kind(unit): 1.0}
        for key, part in parts.items():
            shared[key] = shared.get(key, 0) + part * weight
        if sides == 2:
            own.append(0.37 * weight)
    for more, less in (
        (("UpLeft", "UpRight"), ("DownLeft", "DownRight")),
        (("OutLeft", "InRight"), ("InLeft", "OutRight")),
    ):
        weight = np.zeros(len(UNITS))
        weight[[number[f"eyeLook{name}"] for name in more]] = GAZE / 2
        weight[[number[f"eyeLook{name}"] for name in less]] = -GAZE / 2
        own.append(weight)
    return np.stack([*shared.values(), *own], axis=-1)


def turned(points: np.ndarray, centre: np.ndarray, unit: str) -> np.ndarray:
    """What an eyeLook unit moves points of its eyeball by: a turn about the centre."""
    direction = unit.removeprefix("eyeLook").removesuffix("Left").removesuffix("Right")
    axis = np.array(TURNS[direction])
    if unit.endswith("Right"):
        axis = axis * [1, -1, 1]
    arm = points - centre
    return np.sin(LOOK) * np.cross(axis, arm) + (1 - np.cos(LOOK)) * np.cross(
        axis, np.cross(axis, arm)
    )


def jaw_motion(points: np.ndarray, moved: np.ndarray, place: np.ndarray) -> np.ndarray:
    """What the rigid motion that fits `points` going by `moved` does at `place`."""
    before, after = points - points.mean(axis=0), points + moved
    centred = after - after.mean(axis=0)
    u, _, vt = np.linalg.svd(before.T @ centred)
    rotation = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    return (place - points.mean(axis=0)) @ rotation + after.mean(axis=0) - place
