"""Expressions in the words of others: coefficients to and from Apple's 52 ARKit weights.

A face model has them if its npz holds `expression_units`, see `npz`; the built-in one does. A
weight of 0 is the neutral face, 1 the full movement.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from focus_jax.face_models import npz

# Apple's ARFaceAnchor.BlendShapeLocation, in the order in which most software lists them.
NAMES = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft",
    "eyeSquintLeft", "eyeWideLeft", "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight",
    "eyeLookOutRight", "eyeLookUpRight", "eyeSquintRight", "eyeWideRight", "jawForward", "jawLeft",
    "jawRight", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft", "mouthRight",
    "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight", "mouthDimpleLeft",
    "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight", "mouthRollLower",
    "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthPressLeft", "mouthPressRight",
    "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight",
    "tongueOut",
)  # fmt: skip


class Units(NamedTuple):
    """The ARKit units of a face model."""

    shapes: Float[np.ndarray, "v 3 52"]  # displacements from the neutral face at full weight
    mixture: Float[np.ndarray, "52 e"]  # weights that make up each expression mode


def load_units(path: Path) -> Units:
    """The units in a face model's npz; ValueError if it has none."""
    arrays = npz.read_arrays(path)
    if "expression_units" not in arrays:
        raise ValueError(f"{path} has no ARKit units; the built-in face model has")
    arrays = npz.unpacked(arrays, path)
    shapes, mixture = arrays["expression_units"], arrays["expression_mixture"]
    if shapes.shape[1:] != (3, len(NAMES)):
        raise ValueError(
            f"{path}: 'expression_units' has the shape {shapes.shape} instead of (v, 3, 52)"
        )
    return Units(npz.as_floats(shapes, "expression_units", path), np.asarray(mixture, np.float32))


def weights(units: Units, expression: Float[np.ndarray, "*n e"]) -> Float[np.ndarray, "*n 52"]:
    """Weights from 0 to 1 whose faces are nearest to those of the coefficients.

    Bounded least squares over all vertices, so that what a mode subtracts is told by the opposite
    unit where there is one, and left out where there is none. Fewer coefficients than modes weigh
    the first ones; more are a ValueError.
    """
    from scipy.optimize import lsq_linear  # heavy, and only here

    root, given = _root(units), np.asarray(expression, np.float64)
    count, available = given.shape[-1], units.mixture.shape[1]
    if count > available:
        raise ValueError(f"{count} expression coefficients, but the units have {available} modes")
    found = np.zeros((*given.shape[:-1], len(NAMES)))
    for place in np.ndindex(given.shape[:-1]):
        wanted = root @ (units.mixture[:, :count] @ given[place])
        found[place] = lsq_linear(root, wanted, bounds=(0, 1)).x
    return found


def expression(
    units: Units, given: Float[np.ndarray, "52"], *, modes: int | None = None, ridge: float = 1e-2
) -> Float[np.ndarray, "e"]:
    """Coefficients of the first `modes` modes whose face is nearest to that of the weights.

    `ridge` is the mean squared distance, in the model's units squared, that a squared coefficient
    is worth: it decides between coefficients that say nearly the same. ValueError unless there are
    52 weights, in the order of NAMES.
    """
    if np.shape(given) != (len(NAMES),):
        raise ValueError(f"{len(NAMES)} ARKit weights are needed, not {np.shape(given)}")
    root, count = _root(units), len(units.shapes)
    basis = root @ units.mixture[:, :modes]
    gram = basis.T @ basis + ridge * count * np.eye(basis.shape[1])
    return np.linalg.solve(gram, basis.T @ (root @ np.asarray(given, np.float64)))


def _root(units: Units) -> Float[np.ndarray, "52 52"]:
    """A matrix that gives weights the length which their displacements have over all vertices."""
    flat = units.shapes.reshape(-1, len(NAMES)).astype(np.float64)
    return np.asarray(np.linalg.qr(flat, mode="r"))
