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

from focus_jax.data.align import compose, invert_transform, transform_points
from focus_jax.data.face_landmarker import BLENDSHAPES
from focus_jax.data.faces import Face
from focus_jax.data.landmarks import Detection
from focus_jax.face_models import misfit
from focus_jax.photos import confidence, export, texture
from focus_jax.photos.head import Head, whole_head, write_head
from focus_jax.photos.inference import FINE, Inference
from focus_jax.photos.trained import Model
from focus_jax.rendering import camera, morphable, pictures
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


def fine_transform(face: Face) -> np.ndarray:
    """Photo pixels to pixels of the fine crop, `[2 3]`. Both crops show the same."""
    factor = FINE / len(face.crop)
    shift = (factor - 1) / 2  # pixel centres are integers
    return compose(np.array([[factor, 0, shift], [0, factor, shift]]), face.transform)


# --- masks ---------------------------------------------------------------------------------------


def paste(picture: np.ndarray, to_photo: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture of the fine crop, uint8 `[f f ...]`, in a photo of that size; 0 around it."""
    canvas = np.zeros((height, width, *picture.shape[2:]), np.uint8)
    low, high = _window(to_photo, height, width)
    if (high <= low).any():
        return canvas
    moved = np.array(to_photo)
    moved[:, 2] -= low
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    piece = cv2.warpAffine(picture, moved, size, flags=cv2.INTER_LINEAR)
    canvas[low[1] : high[1], low[0] : high[0]] = piece
    return canvas


def _window(to_photo: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of a photo (x, y; from, to) that the fine crop shows."""
    corners = transform_points(
        to_photo, np.array([[-1.0, -1], [FINE, FINE], [-1, FINE], [FINE, -1]])
    )
    size = np.array([width, height])
    low, high = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int) + 1
    return np.clip(low, 0, size), np.clip(high, 0, size)


def photo_masks(face: Face, found: Inference, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Face and occlusion at the photo's size: uint8 `[h w]`, 255 where the face is seen, or hidden.

    `found` is one face's. Both are parts of the rendered face.
    """
    to_photo = invert_transform(fine_transform(face))
    covered, seen = (
        paste(np.rint(x[..., 0] * 255).astype(np.uint8), to_photo, *shape[:2]) >= 128
        for x in (found.coverage, found.mask)
    )
    seen &= covered
    return tuple(np.where(m, 255, 0).astype(np.uint8) for m in (seen, covered & ~seen))


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
    fine = fine_transform(face)
    back = invert_transform(fine)
    matrix, turn = photo_camera(back)
    total, parts = occlusion(found)
    detected = transform_points(fine, face.detection.landmarks)
    mean = np.asarray(morphable.landmarks(model.face_model, model.face_model.shape_mean))
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
    matrix = np.asarray(camera.intrinsics(FINE, FINE), np.float64)
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
    seen, hidden = photo_masks(face, found, photo.shape)
    write_image(folder / "mask.png", seen)
    write_image(folder / "occlusion.png", hidden)
    inside = found.mask[..., 0] >= 0.5
    write_image(folder / "mask_crop.png", inside.astype(np.uint8) * 255)
    covered = (found.coverage[..., 0] > 0) & ~inside
    write_image(folder / "occlusion_crop.png", covered.astype(np.uint8) * 255)


def _write_pictures(
    folder: Path, photo: np.ndarray, to_photo: np.ndarray, found: Inference
) -> None:
    picture = overlay_photo(photo, to_photo, found)
    write_image(folder / "overlay.jpg", picture)
    # OpenCV warps no picture of more than 32,767 pixels a side: the face's part of it.
    low, high = _window(to_photo, *photo.shape[:2])
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
    write_image(folder / "strip.jpg", strip)


def overlay_photo(photo: np.ndarray, to_photo: np.ndarray, found: Inference) -> np.ndarray:
    """The rendered face drawn into the photo, uint8 `[h w 3]`."""
    height, width = photo.shape[:2]
    low, high = _window(to_photo, height, width)
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


def write_image(path: Path, picture: np.ndarray) -> None:
    """An RGB or grey uint8 picture, in the format that the name says; OSError when it fails."""
    turned = picture[..., ::-1] if picture.ndim == 3 else picture
    # imwrite says nothing of a full disk; encoding first and writing after does.
    done, encoded = cv2.imencode(path.suffix, np.ascontiguousarray(turned))
    if not done:
        raise ValueError(f"{path.name} cannot be a picture of {picture.shape[1::-1]} pixels")
    path.write_bytes(encoded.tobytes())


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
