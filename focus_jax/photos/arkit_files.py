"""Expressions as ARKit's 52 weights: JSON, csv as Live Link Face writes it, GLB with morph targets.

Of a photo's face one set of weights, of a video one a frame, by which the GLB is animated.
"""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from focus_jax.face_models import BUILTIN, arkit
from focus_jax.photos import mesh_files
from focus_jax.photos.trained import Model

# Columns of Live Link Face's csv, in which left and right of jaw and mouth are the other way round
# than in Apple's list. Angles in radians; those of the eyes are not known apart from the weights.
_TURNED = {
    **{"jawLeft": "jawRight", "jawRight": "jawLeft"},
    **{"mouthLeft": "mouthRight", "mouthRight": "mouthLeft"},
}
ORDER = tuple(_TURNED.get(name, name) for name in arkit.NAMES)
HEAD = ("HeadYaw", "HeadPitch", "HeadRoll")
EYES = tuple(
    f"{side}Eye{angle}" for side in ("Left", "Right") for angle in ("Yaw", "Pitch", "Roll")
)
COLUMNS = (*(name[0].upper() + name[1:] for name in ORDER), *HEAD, *EYES)


def units_of(model: Model) -> arkit.Units:
    """The units of a model's face; ValueError where its face model has none."""
    path = BUILTIN if model.face_model_file == "builtin" else Path(model.face_model_file)
    try:
        return arkit.load_units(path)
    except ValueError:
        raise ValueError(
            f"the face model {model.face_model.name or path} has no ARKit units; the built-in one "
            "has, and models that are trained with it"
        ) from None


def angles(rotation: Float[np.ndarray, "*n 3 3"]) -> Float[np.ndarray, "*n 3"]:
    """Yaw, pitch, roll in radians of heads as photos show them, from model to the photo's camera.

    First rolled about the line of sight, then pitched, then turned about the vertical; yaw is
    positive to the right of the picture, pitch downwards, roll counter-clockwise.
    """
    flip = np.array([1.0, -1.0, -1.0])  # the camera's y points down
    turn = flip[:, None] * np.asarray(rotation, np.float64)
    yaw = np.arctan2(turn[..., 0, 2], turn[..., 2, 2])
    pitch = np.arcsin(np.clip(-turn[..., 1, 2], -1, 1))
    roll = np.arctan2(turn[..., 1, 0], turn[..., 1, 1])
    return np.stack([yaw, pitch, roll], -1)


def write(
    folder: Path,
    units: arkit.Units,
    expression: Float[np.ndarray, "*n e"],
    rotation: Float[np.ndarray, "*n 3 3"],
    neutral: Float[np.ndarray, "v 3"],
    surface: mesh_files.Surface,
    picture: UInt8[np.ndarray, "s s 3"],
    *,
    lengths: str = "mm",
    frames: Int[np.ndarray, "n"] | None = None,
    seconds: Float[np.ndarray, "n"] | None = None,
    rate: float = 60.0,
) -> None:
    """arkit.json, arkit.csv and arkit.glb of a face, or of the frames of a video.

    `rotation` is to the photo's camera, `picture` the texture of `neutral`, whose units are
    `lengths`; `frames` are the numbers of a video's, each shown from `seconds` on, `rate` of them a
    second. OSError where that fails.
    """
    weights, turned = arkit.weights(units, expression), angles(rotation)
    if seconds is None:
        seconds = np.zeros(1) if frames is None else frames / rate
    numbers = _listed(weights, turned, frames, seconds, rate)
    (folder / "arkit.json").write_text(json.dumps(numbers) + "\n")
    rows = weights.reshape(-1, len(arkit.NAMES)), turned.reshape(-1, 3)
    (folder / "arkit.csv").write_text(live_link(*rows, seconds, rate))
    rig = mesh_files.Rig(arkit.NAMES, units.shapes, rows[0][0])
    if frames is not None:
        rig = rig._replace(times=seconds - seconds[0], moving=rows[0])
    normals = mesh_files.vertex_normals(neutral, surface.triangles)
    jpeg = mesh_files.encode_jpeg(picture)
    content = mesh_files.glb(neutral, normals, surface, jpeg, units=lengths, name="arkit", rig=rig)
    (folder / "arkit.glb").write_bytes(content)


def _listed(
    weights: np.ndarray,
    turned: np.ndarray,
    frames: np.ndarray | None,
    seconds: np.ndarray,
    rate: float,
) -> dict[str, Any]:
    """For JSON: weights by their names, and the head's angles."""

    def one(row: np.ndarray, angle: np.ndarray) -> dict[str, Any]:
        named = dict(zip(arkit.NAMES, row.round(4).tolist(), strict=True))
        return {"weights": named, "head": dict(zip(HEAD, angle.round(4).tolist(), strict=True))}

    if frames is None:
        return one(weights, turned)
    rows = zip(frames.tolist(), seconds.round(4).tolist(), weights, turned, strict=True)
    told = [{"frame": n, "seconds": at, **one(row, angle)} for n, at, row, angle in rows]
    return {"rate": rate, "frames": told}


def live_link(
    weights: Float[np.ndarray, "n 52"],
    turned: Float[np.ndarray, "n 3"],
    seconds: Float[np.ndarray, "n"],
    rate: float,
) -> str:
    """The rows of Live Link Face's csv, whose timecode is hours:minutes:seconds:frames.thousandths.

    A second of its clock has a whole number of frames, `rate` rounded.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("Timecode", "BlendShapeCount", *COLUMNS))
    ordered = weights[:, [arkit.NAMES.index(name) for name in ORDER]]
    whole = max(1, round(rate))  # frames of a second, as its clock counts
    for place, row, angle in zip(seconds * rate, ordered, turned, strict=True):
        number, part = divmod(round(1000 * float(place)), 1000)
        full, rest = divmod(number, whole)
        clock = f"{full // 3600:02d}:{full // 60 % 60:02d}:{full % 60:02d}:{rest:02d}.{part:03d}"
        values = [f"{x:.8f}" for x in (*row, *angle)]
        writer.writerow((clock, len(COLUMNS), *values, *["0.00000000"] * len(EYES)))
    return file.getvalue()
