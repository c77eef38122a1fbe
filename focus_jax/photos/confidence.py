"""How far a fitted face is to be trusted, of what a refinement of the fit does not see.

Refinement follows the landmarks, so that they agree with any face, a wrong one too. What is left to
judge by: where the encoder put the face before, what the mask hides, how sure the detector was, and
how far the face is turned.
"""

import numpy as np
from jaxtyping import Float

LOW = 0.4  # below which results are to be looked at
ENOUGH = 0.5  # of the face in view: who is half hidden is fitted as well as others
HALF = 0.1  # of the distance between the outer corners of the eyes: as far off, half as sure
# Degrees between the face and the camera. Trained on faces turned by up to 40, mostly by less.
KNOWN, BLIND = 45.0, 90.0


def landmark_error(found: Float[np.ndarray, "68 2"], detected: Float[np.ndarray, "68 2"]) -> float:
    """Mean distance, in distances between the outer corners of the eyes."""
    distances = np.linalg.norm(found - detected, axis=-1)
    return float(distances.mean() / max(np.linalg.norm(detected[36] - detected[45]), 1e-6))


def turn(
    rotation: Float[np.ndarray, "3 3"],
    mean: Float[np.ndarray, "68 3"],
    detected: Float[np.ndarray, "68 2"],
) -> float:
    """Degrees between where the face looks and the camera; the larger of two answers.

    That of the fit, `rotation` from face model to camera, and that of the detected landmarks alone:
    the pose of the `mean` face, by scaled orthographic projection (DeMenthon and Davis 1995).
    """
    points = mean - mean.mean(0)
    rows = np.linalg.lstsq(points, detected - detected.mean(0), rcond=None)[0].T
    forward = np.cross(*rows)
    of_landmarks = -forward[2] / max(np.linalg.norm(forward), 1e-12)
    cosines = np.clip([-rotation[2, 2], of_landmarks], -1, 1)
    return float(np.degrees(np.arccos(cosines)).max())


def confidence(*, visible: float, agreement: float | None, score: float, turned: float) -> float:
    """In [0, 1]. 1 for a face in view, looking at the camera, as landmarks and detector say.

    `visible` is the share of the face that is seen, `agreement` the `landmark_error` of the encoder
    (None without one, whose fit is the landmarks'), `score` the detector's, `turned` in degrees.
    """
    agrees = 1.0 if agreement is None else 1 / (1 + (agreement / HALF) ** 2)
    looks = np.clip((BLIND - turned) / (BLIND - KNOWN), 0, 1)
    seen = np.clip(visible / ENOUGH, 0, 1)
    return float(seen * agrees * np.clip(score, 0, 1) * looks)
