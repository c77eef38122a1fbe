"""What is written about a face: numbers, masks, pictures, meshes. README lists the files."""

import functools
import json
import shutil
from collections.abc import Iterable, Mapping
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
from focus_jax.face_models import arkit, misfit
from focus_jax.photos import (
    arkit_files,
    confidence,
    export,
    head_files,
    head_fit,
    maps,
    masks,
    mesh_files,
    page,
    texture,
)
from focus_jax.photos.head import Head, whole_head, write_head
from focus_jax.photos.inference import FINE, Inference, turned
from focus_jax.photos.trained import Model
from focus_jax.rendering import camera, pictures
from focus_jax.system.files import user_path
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
# What can be asked for beside face.json, and the files.
KINDS = {
    "numbers": "face.json, which is always written",
    "mask": "mask.png, occlusion.png, and both in the crop",
    "meshes": "fitted.glb with its texture; head.ply where there is a head",
    "neutral": "neutral.glb, the face without expression and pose, with the same texture",
    "obj": "fitted.obj, neutral.obj and texture.png, without loss",
    "ply": "fitted.ply and neutral.ply, with vertex colours",
    "pictures": "overlay.jpg, the photo with the rendering in it, and strip.jpg",
    "turned": "turned.jpg, the face turned to the side; in a video's overlay a picture in a corner",
    "page": "index.html, and what it shows: strip.jpg and view.js",
    "arkit": "ARKit's 52 weights: arkit.json, arkit.csv (Live Link Face) and arkit.glb",
    "maps": "depth, normals, albedo, shading, uv and visibility of every pixel, 16-bit PNG",
}
EXPORTS = ("arkit", "maps")  # of them, those that `--export` names; beside `head_files.HEADS`
WRITTEN = ("numbers", "mask", "meshes", "page")  # unless told otherwise
QUALITY = 85  # of pictures as JPEG


class Shared(NamedTuple):
    """What the faces of one model have in common, made once."""

    model: Model
    write: frozenset[str]  # of `KINDS`
    triangles: np.ndarray
    surface: mesh_files.Surface | None  # None without textures, and so is the next
    texels: texture.Texels | None
    head: Head | None
    units: arkit.Units | None = None
    heads: Mapping[str, head_fit.Bound] = {}  # by their kinds, of `head_files.HEADS`


def exports(text: str) -> tuple[list[str], dict[str, Path]]:
    """`--export`: kinds of `EXPORTS`, and by their kinds the files of heads. ValueError."""
    wanted, heads = [], {}
    for word in filter(None, text.split(",")):
        kind, given, path = word.partition("=")
        if kind in head_files.HEADS and path:
            heads[kind] = user_path(path)
            if not heads[kind].is_file():
                raise ValueError(f"there is no file {heads[kind]} for --export {kind}")
        elif kind in head_files.HEADS:
            raise ValueError(f"--export {kind} needs that head's own file: {kind}=FILE")
        elif kind in EXPORTS and not given:
            wanted.append(kind)
        else:
            there = ", ".join([*EXPORTS, *(f"{head}=FILE" for head in head_files.HEADS)])
            raise ValueError(f"there is no {word!r} to export; there are {there}")
    return wanted, heads


def kinds(names: str | Iterable[str]) -> frozenset[str]:
    """Of `KINDS`, listed or, as `--write` takes them, with commas between; ValueError for a name
    that is none of them, or for none at all."""
    wanted = frozenset(names.split(",") if isinstance(names, str) else names)
    if wrong := sorted(wanted - KINDS.keys()):
        raise ValueError(f"there is no {wrong[0]!r} to write; there are {', '.join(KINDS)}")
    if not wanted:
        raise ValueError(f"nothing is to be written; there are {', '.join(KINDS)}")
    return wanted


def share(
    model: Model, write: Iterable[str] = WRITTEN, heads: Mapping[str, Path] | None = None
) -> Shared:
    """Atlas and texels of a model's face, and the head that belongs to it, where they are needed.

    `heads` are files of `head_files.HEADS` in whose words the faces are told, too.
    ValueError for what cannot be written (`kinds`), shown (`page.viewer_library`) or laid flat
    (`export.make_atlas`), and for a face model without ARKit units where those are asked for.
    """
    face_model, wanted = jax.device_get(model.face_model), kinds(write)
    surface = texels = None
    units = arkit_files.units_of(model) if "arkit" in wanted else None
    if "page" in wanted:
        page.viewer_library()  # which is refused before hours of work
    if wanted & {"meshes", "neutral", "obj", "page", "arkit"}:
        atlas = export.make_atlas(face_model)
        surface, texels = mesh_files.make_surface(atlas), texture.make_texels(atlas)
    head = whole_head(model) if "meshes" in wanted else None
    bound = {k: head_files.bind(k, path, face_model) for k, path in (heads or {}).items()}
    triangles = np.asarray(face_model.triangles)
    return Shared(model, wanted, triangles, surface, texels, head, units, bound)


# --- numbers -------------------------------------------------------------------------------------


def occlusion(found: Inference) -> tuple[float, dict[str, float | None]]:
    """Hidden share of the rendered face, and of its parts; None for a part that is not in view."""
    covered, hidden = found.coverage[..., 0] > 0, found.mask[..., 0] < 0.5
    region = found.region.ravel() + 1  # 0 is outside the face
    whole, lost = (
        np.bincount(r, minlength=len(REGIONS) + 1)[1:] for r in (region, region[hidden.ravel()])
    )
    parts: dict[str, float | None] = {}
    for name, regions in PARTS.items():
        numbers = [REGIONS.index(r) for r in regions]
        here = whole[numbers].sum()
        parts[name] = float(lost[numbers].sum() / here) if here else None
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
        "version": _version(),
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


@functools.cache
def _version() -> str:
    """This package's; to look it up takes longer than all other numbers of a face."""
    return version("focus_jax")


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
    """The files of a face that `shared` says; `found` is that face's. Returns the numbers.

    OSError for full disks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = describe(photo_name, face, found, shared.model, photo.shape)
    to_photo = np.array(numbers["crop"]["inverse"])
    if "mask" in shared.write:
        _write_masks(folder, face, found, photo)
    if "pictures" in shared.write:
        picture = overlay_photo(photo, to_photo, found)
        pictures.write_image(folder / "overlay.jpg", picture, quality=QUALITY)
    if shared.write & {"pictures", "page"}:
        strip = _strip(photo, to_photo, found)
        pictures.write_image(folder / "strip.jpg", strip, quality=QUALITY)
    if "turned" in shared.write:
        side = turned(shared.model, jax.tree.map(lambda x: np.asarray(x)[None], found.code))
        pictures.write_image(folder / "turned.jpg", np.asarray(side)[0], quality=QUALITY)
    if shared.write & {"meshes", "neutral", "obj", "ply", "page", "arkit"}:
        _write_meshes(folder, photo, numbers, found, shared)
    if "maps" in shared.write:
        maps.write(folder, photo.shape, numbers, found, jax.device_get(shared.model.face_model))
    if shared.heads:
        fitted, neutral = shapes(found, shared.model)
        one = [fitted], [numbers["camera"]], numbers["photo_size"], np.zeros(1, int)
        for kind, bound in shared.heads.items():
            head_files.write(folder, kind, bound, neutral, *one)
    write_text(folder / "face.json", json.dumps(numbers) + "\n")
    return numbers


def write_track(
    folder: Path,
    photo: np.ndarray,
    numbers: dict[str, Any],
    found: Inference,
    shared: Shared,
    expression: np.ndarray,
    cameras: list[dict[str, Any]],
    frames: np.ndarray,
    seconds: np.ndarray,
    rate: float,
) -> None:
    """What `--export` says of the frames `[n]` of a video, each with its expression and camera.

    `found` and `numbers` are of the frame `photo`, whose texture is shown; each is shown from
    `seconds` on, and `rate` of them a second.
    """
    _, neutral = shapes(found, shared.model)
    if shared.units is not None and shared.surface is not None:
        picture, _ = skin(photo, numbers, found, shared)
        rotation = np.array([camera["R"] for camera in cameras])
        place = neutral, shared.surface, picture
        clip = {"lengths": shared.model.face_model.units, "frames": frames}
        clip |= {"seconds": seconds, "rate": rate}
        arkit_files.write(folder, shared.units, expression, rotation, *place, **clip)
    basis = np.asarray(shared.model.face_model.expression_basis)
    for kind, bound in shared.heads.items():
        # One at a time: of a long video all of them would fill the memory.
        moving = (neutral + basis @ row for row in expression)
        size = numbers["photo_size"]
        head_files.write(folder, kind, bound, neutral, moving, cameras, size, frames)


def _write_meshes(
    folder: Path, photo: np.ndarray, numbers: dict[str, Any], found: Inference, shared: Shared
) -> None:
    picture, colours = skin(photo, numbers, found, shared)
    fitted, neutral = shapes(found, shared.model)
    rotation = np.array(numbers["camera"]["R"], np.float32)
    fitted = export.posed(fitted, rotation)
    surface, units = shared.surface, shared.model.face_model.units
    if picture is not None and surface is not None:
        if "page" in shared.write:
            (folder / page.VIEW).write_text(page.view(fitted, picture))
        if shared.write & {"meshes", "neutral"}:
            jpeg = mesh_files.encode_jpeg(picture)
        if shared.units is not None:
            place = neutral, surface, picture
            code = found.code.expression
            arkit_files.write(folder, shared.units, code, rotation, *place, lengths=units)
        if "obj" in shared.write:
            (folder / "texture.png").write_bytes(mesh_files.encode_png(picture))
            (folder / "material.mtl").write_text(mesh_files.MATERIAL)
    for name, kind, vertices in (("fitted", "meshes", fitted), ("neutral", "neutral", neutral)):
        if not shared.write & {kind, "obj", "ply"}:
            continue
        path = folder / name
        normals = mesh_files.vertex_normals(vertices, shared.triangles)
        if surface is not None and kind in shared.write:
            content = mesh_files.glb(vertices, normals, surface, jpeg, units=units, name=name)
            path.with_suffix(".glb").write_bytes(content)
        if surface is not None and "obj" in shared.write:
            path.with_suffix(".obj").write_text(mesh_files.obj(vertices, normals, surface))
        if "ply" in shared.write:
            content = mesh_files.ply(vertices, normals, shared.triangles, colours)
            path.with_suffix(".ply").write_bytes(content)
    if shared.head is not None:
        write_head(folder, shared.head, found, colours, rotation)


def skin(
    photo: np.ndarray, numbers: dict[str, Any], found: Inference, shared: Shared
) -> tuple[np.ndarray | None, np.ndarray]:
    """Texture uint8 `[s s 3]` over the atlas, and colours `[v 3]` of the vertices in [0, 1].

    None for the texture where `shared` has no texels.
    """
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


def _strip(photo: np.ndarray, to_photo: np.ndarray, found: Inference) -> np.ndarray:
    """Photo, overlay, rendering, mask and what is hidden, side by side."""
    # OpenCV warps no picture of more than 32,767 pixels a side: the face's part of it.
    low, high = masks.window(to_photo, *photo.shape[:2])
    moved = np.array(to_photo)
    moved[:, 2] -= low
    crop = np.zeros((FINE, FINE, 3), np.uint8)
    if (high > low).all():
        piece = photo[low[1] : high[1], low[0] : high[0]]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crop = cv2.warpAffine(piece, moved, (FINE, FINE), flags=flags)
    hidden = (found.coverage * (found.mask < 0.5)).astype(np.float32)
    # Made small before they are laid over each other: four times fewer pixels.
    shown = [crop / np.float32(255), found.image, found.coverage, found.mask, hidden]
    crop, image, coverage, mask, hidden = (
        cv2.resize(np.ascontiguousarray(x), (STRIP, STRIP), interpolation=cv2.INTER_AREA).reshape(
            STRIP, STRIP, -1
        )
        for x in shown
    )
    over = pictures.overlay(crop, image, coverage)
    tinted = crop + 0.65 * hidden * (np.float32([0.9, 0.1, 0.5]) - crop)
    return pictures.grid([x[None] for x in (crop, over, image, mask, tinted)], side=STRIP)


def overlay_photo(photo: np.ndarray, to_photo: np.ndarray, found: Inference) -> np.ndarray:
    """The rendered face drawn into the photo, uint8 `[h w 3]`."""
    height, width = photo.shape[:2]
    low, high = masks.window(to_photo, height, width)
    picture = photo.copy()
    if (high <= low).any():
        return picture
    moved = np.array(to_photo)
    moved[:, 2] -= low
    coverage = np.asarray(found.coverage[..., 0], np.float32)
    colours = np.clip(found.image, 0, 1).astype(np.float32, copy=False)
    colours *= cv2.cvtColor(coverage, cv2.COLOR_GRAY2RGB)
    drawn = cv2.insertChannel(coverage, cv2.cvtColor(255 * colours, cv2.COLOR_RGB2RGBA), 3)
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    drawn = cv2.warpAffine(drawn, moved, size, flags=cv2.INTER_LINEAR)
    piece = picture[low[1] : high[1], low[0] : high[0]]
    # Arrays of three channels each, which NumPy goes through several times as fast.
    mixed = cv2.cvtColor(1 - drawn[..., 3], cv2.COLOR_GRAY2RGB)
    mixed *= piece
    mixed += cv2.cvtColor(drawn, cv2.COLOR_RGBA2RGB)
    piece[:] = cv2.convertScaleAbs(mixed)  # rounds and clips
    return picture


def clear(folder: Path) -> None:
    """Remove what a run wrote of a photo or a video: its numbered faces, tracks, overlay."""
    for path in [*folder.glob("*/face.json"), *folder.glob("person*/track.jsonl")]:
        number = path.parent.name.removeprefix("person")
        if number.isdigit() and not path.parent.is_symlink():
            shutil.rmtree(path.parent)
    exported = (
        *(f"arkit{end}" for end in (".json", ".csv", ".glb")),
        *(f"{kind}.npz" for kind in head_files.HEADS),
    )
    overlays = (f"overlay{end}" for end in (".mp4", ".webm"))
    for name in ("done.json", "track.jsonl", *overlays, *exported):
        (folder / name).unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Written whole or not at all: a run that stops in between leaves no half file."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", errors="surrogateescape")
    part.replace(path)
