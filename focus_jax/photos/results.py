"""What is written about a face: numbers, masks, pictures, meshes. README lists the files."""

import base64
import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import jax
import numpy as np

from focus_jax.data.align import invert_transform, transform_points
from focus_jax.data.face_landmarker import BLENDSHAPES
from focus_jax.data.faces import Face
from focus_jax.data.landmarks import Detection
from focus_jax.face_models import misfit
from focus_jax.photos import confidence, export, masks, texture
from focus_jax.photos.head import Head, whole_head, write_head
from focus_jax.photos.inference import FINE, Inference
from focus_jax.photos.trained import Model
from focus_jax.rendering import camera, pictures
from focus_jax.types import REGIONS

VERSION = 1  # of face.json
# The regions that people ask about, by those of the face model.
PARTS = {
    "eyes": ("eyes", "brows"),
    "nose": ("nose",),
    "mouth": ("lips",),
    "cheeks": ("cheeks",),
    "forehead": ("forehead",),
}
STRIP = 224  # pixels of each picture in the strip


class Shared(NamedTuple):
    """What the faces of one model have in common, made once."""

    model: Model
    triangles: np.ndarray
    atlas: export.Atlas
    texels: texture.Texels
    head: Head | None


def share(model: Model) -> Shared:
    """Atlas and texels of a model's face, and the head that belongs to it."""
    face_model = jax.device_get(model.face_model)
    atlas = export.make_atlas(face_model)
    texels = texture.make_texels(atlas)
    return Shared(model, np.asarray(face_model.triangles), atlas, texels, whole_head(model))


# --- numbers -------------------------------------------------------------------------------------


def occlusion(found: Inference) -> tuple[float, dict[str, float | None]]:
    """Hidden share of the rendered face, and of its parts; None for a part that is not in view."""
    covered, hidden = found.coverage[..., 0] > 0, found.mask[..., 0] < 0.5
    parts: dict[str, float | None] = {}
    for name, regions in PARTS.items():
        here = np.isin(found.region, [REGIONS.index(r) for r in regions])
        parts[name] = float((here & hidden).sum() / here.sum()) if here.any() else None
    return float((covered & hidden).sum() / max(covered.sum(), 1)), parts


def describe(
    photo_name: str, face: Face, found: Inference, model: Model, shape: tuple[int, ...]
) -> dict[str, Any]:
    """The numbers of a face, ready for JSON. Lengths in the face model's units, radians."""
    fine = masks.fine_transform(face)
    back = invert_transform(fine)
    matrix, turn = photo_camera(back)
    total, parts = occlusion(found)
    detected = transform_points(fine, face.detection.landmarks)
    face_model = model.face_model
    # In NumPy: outside of a program each of JAX's operations would be one of its own.
    corners = np.asarray(face_model.shape_mean)[np.asarray(face_model.landmark_vertices)]
    mean = (corners * np.asarray(face_model.landmark_weights)[..., None]).sum(1)
    turned = confidence.turn(found.rotation, mean, face.detection.landmarks)
    encoded = None if found.encoded is None else np.asarray(found.encoded)
    agreement = None if encoded is None else confidence.landmark_error(encoded, detected)
    return {
        "format": VERSION,
        "photo": photo_name,
        "photo_size": [shape[1], shape[0]],
        "face": face.number,
        "version": version("focus_jax"),
        "model": {
            "name": model.name,
            "weights": model.weights,
            "face_model": model.face_model.name,
            "misfit_prior": model.misfit is not None,  # subtracted from the meshes
        },
        "coefficients": {
            name: np.asarray(getattr(found.code, name)).tolist()
            for name in ("identity", "expression", "albedo", "pose", "light")
        },
        "camera": {
            "K": matrix.tolist(),
            "R": (turn @ found.rotation).tolist(),
            "t": (turn @ found.translation).tolist(),
            "units": model.face_model.units,
        },
        "crop": {
            "size": FINE,
            "transform": fine.tolist(),
            "inverse": back.tolist(),
        },
        "landmarks": transform_points(back, found.landmarks).tolist(),
        "detection": detected_numbers(face.detection),
        "occlusion": {"total": total, **parts},
        "landmark_error": confidence.landmark_error(found.landmarks, detected),
        "encoder_landmark_error": agreement,  # before refinement; None without a network
        "turned": turned,  # degrees away from the camera
        "flags": ["turned further than the model knows"] if turned > confidence.KNOWN else [],
        "white_balance": None if found.gains is None else np.asarray(found.gains).tolist(),
        "confidence": confidence.confidence(
            visible=found.coverage[..., 0].any() * (1 - total),
            agreement=agreement,
            score=face.detection.score,
            turned=turned,
        ),
        "refinement": _refinement(found),
    }


def detected_numbers(detection: Detection) -> dict[str, Any]:
    """What the detector found, ready for JSON; of MediaPipe's networks all of it.

    `dense_landmarks` are x, y in pixels of the photo and depth in the same unit, away from the
    camera; `blendshapes` the weights of ARKit's, 0 to 1, by their names.
    """
    found: dict[str, Any] = {
        "source": detection.source,
        "score": detection.score,
        "landmarks": detection.landmarks.tolist(),
    }
    if detection.mesh is not None:
        # Hundredths: the rest of a float's digits would be most of the file.
        found["dense_landmarks"] = detection.mesh.astype(float).round(2).tolist()
    if detection.blendshapes is not None:
        weights = detection.blendshapes.astype(float).round(4).tolist()
        found["blendshapes"] = dict(zip(BLENDSHAPES, weights, strict=True))
    return found


def photo_camera(to_photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intrinsics `[3 3]` of the photo, and the turn `[3 3]` from the crop's camera to the photo's.

    The crop is a scaled, shifted and turned part of the photo, `to_photo` the map `[2 3]` from the
    fine crop. Its turn about the line of sight is the camera's: intrinsics have none.
    """
    scale = np.hypot(*to_photo[:, 0])
    turn = np.eye(3)
    turn[:2, :2] = to_photo[:, :2] / scale
    # As `camera.intrinsics`, which outside of a program is one of its own.
    focal, middle = camera.FOCAL * FINE / 2, (FINE - 1) / 2
    rows = [[focal, 0, middle], [0, focal, middle], [0, 0, 1]]
    matrix = np.array(rows, np.float32).astype(np.float64)
    centre = to_photo @ np.array([*matrix[:2, 2], 1.0])
    matrix[:2, :2] *= scale
    matrix[:2, 2] = centre
    return matrix, turn


def _refinement(found: Inference) -> dict[str, list[float]] | None:
    """Before and after: colour distance; landmarks' error, root mean square in crop widths; cosine
    between what the recognizer sees in the photo and in the rendering, 1 for the same."""
    if found.errors is None or found.refined is None:
        return None
    pairs = (found.errors, found.refined)
    return {
        "photometric": [float(e.photometric) for e in pairs],
        "landmark": [float(np.sqrt(2 * e.landmark)) for e in pairs],
        "likeness": [float(1 - e.likeness) for e in pairs],
    }


# --- files ---------------------------------------------------------------------------------------


def write_face(
    folder: Path, photo_name: str, photo: np.ndarray, face: Face, found: Inference, shared: Shared
) -> dict[str, Any]:
    """All files of a face; `found` is that face's. Returns the numbers. OSError for full disks."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = describe(photo_name, face, found, shared.model, photo.shape)
    to_photo = np.array(numbers["crop"]["inverse"])
    _write_masks(folder, face, found, photo)
    _write_pictures(folder, photo, to_photo, found)

    picture, colours = skin(photo, numbers, found, shared)
    fitted, neutral = shapes(found, shared.model)
    rotation = np.array(numbers["camera"]["R"], np.float32)
    meshes = {"fitted": export.posed(fitted, rotation), "neutral": neutral}
    units = shared.model.face_model.units
    export.write_meshes(
        folder, meshes, shared.atlas, picture, colours, shared.triangles, units=units
    )
    if shared.head is not None:
        write_head(folder, shared.head, found, colours, rotation)
    glb = base64.b64encode((folder / "fitted.glb").read_bytes()).decode()
    (folder / "fitted.glb.js").write_text(f'showFace("{glb}");\n')  # for index.html, see page.py
    write_text(folder / "face.json", json.dumps(numbers) + "\n")
    return numbers


def skin(
    photo: np.ndarray, numbers: dict[str, Any], found: Inference, shared: Shared
) -> tuple[np.ndarray, np.ndarray]:
    """Texture uint8 `[s s 3]` over the atlas, and colours `[v 3]` of the vertices in [0, 1]."""
    to_photo = np.array(numbers["crop"]["inverse"])
    view = texture.View(
        photo, to_photo, found.screen, found.facing, found.depth, found.mask[..., 0]
    )
    return texture.paint(view, found.colours, shared.triangles, shared.texels)


def shapes(found: Inference, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """The face with and without expression, `[v 3]`, less the model's misfit prior."""
    fitted, neutral = np.asarray(found.vertices), np.asarray(found.neutral)
    if model.misfit is not None:
        fitted, neutral = (misfit.correct(v, model.misfit) for v in (fitted, neutral))
    return fitted, neutral


def _write_masks(folder: Path, face: Face, found: Inference, photo: np.ndarray) -> None:
    seen, hidden = masks.photo_masks(face, found, photo.shape)
    pictures.write_image(folder / "mask.png", seen)
    pictures.write_image(folder / "occlusion.png", hidden)
    inside = found.mask[..., 0] >= 0.5
    pictures.write_image(folder / "mask_crop.png", inside.astype(np.uint8) * 255)
    covered = (found.coverage[..., 0] > 0) & ~inside
    pictures.write_image(folder / "occlusion_crop.png", covered.astype(np.uint8) * 255)


def _write_pictures(
    folder: Path, photo: np.ndarray, to_photo: np.ndarray, found: Inference
) -> None:
    picture = overlay_photo(photo, to_photo, found)
    pictures.write_image(folder / "overlay.jpg", picture)
    # OpenCV warps no picture of more than 32,767 pixels a side: the face's part of it.
    low, high = masks.window(to_photo, *photo.shape[:2])
    moved = np.array(to_photo)
    moved[:, 2] -= low
    crop = np.zeros((FINE, FINE, 3), np.uint8)
    if (high > low).all():
        piece = photo[low[1] : high[1], low[0] : high[0]]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crop = cv2.warpAffine(piece, moved, (FINE, FINE), flags=flags)
    crop = crop / np.float32(255)
    over = pictures.overlay(crop, found.image, found.coverage)
    hidden = found.coverage * (found.mask < 0.5)
    tinted = np.where(hidden > 0, 0.35 * crop + 0.65 * np.array([0.9, 0.1, 0.5]), crop)
    strip = pictures.grid(
        [crop[None], over[None], found.image[None], found.mask[None], tinted[None]], side=STRIP
    )
    pictures.write_image(folder / "strip.jpg", strip)


def overlay_photo(photo: np.ndarray, to_photo: np.ndarray, found: Inference) -> np.ndarray:
    """The rendered face drawn into the photo, uint8 `[h w 3]`."""
    height, width = photo.shape[:2]
    low, high = masks.window(to_photo, height, width)
    picture = photo.copy()
    if (high <= low).any():
        return picture
    moved = np.array(to_photo)
    moved[:, 2] -= low
    drawn = np.concatenate([np.clip(found.image, 0, 1) * found.coverage, found.coverage], -1)
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    drawn = cv2.warpAffine(drawn.astype(np.float32), moved, size, flags=cv2.INTER_LINEAR)
    piece = picture[low[1] : high[1], low[0] : high[0]]
    piece[:] = np.rint(piece * (1 - drawn[..., 3:]) + drawn[..., :3] * 255).clip(0, 255)
    return picture


def clear(folder: Path) -> None:
    """Remove what a run wrote of a photo or a video: its numbered faces, track, overlay."""
    for path in folder.glob("*/face.json"):
        if path.parent.name.isdigit() and not path.parent.is_symlink():
            shutil.rmtree(path.parent)
    for name in ("done.json", "track.jsonl", *(f"overlay{end}" for end in (".mp4", ".webm"))):
        (folder / name).unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Written whole or not at all: a run that stops in between leaves no half file."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", errors="surrogateescape")
    part.replace(path)
