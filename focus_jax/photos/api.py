"""Three lines of Python for what the commands do: `focus_jax.reconstruct`, `focus_jax.segment`.

faces = focus_jax.reconstruct("photo.jpg", refine=60)
faces[0].mask, faces[0].vertices, faces[0].landmarks
masks = focus_jax.segment(["one.jpg", "two.jpg"])
"""

import dataclasses
import functools
import operator
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from focus_jax.data.detect import DEFAULT, Detection, Source, landmark_source
from focus_jax.data.faces import Face, Photo
from focus_jax.data.landmarks import check_face, outside
from focus_jax.face_models import arkit
from focus_jax.photos import export, process, results, trained
from focus_jax.photos.inference import Inference, infer_masks
from focus_jax.photos.masks import joined_masks, photo_masks
from focus_jax.photos.same_person import process_people
from focus_jax.photos.trained import Model, load_model
from focus_jax.system.command import keep_programs
from focus_jax.system.files import user_path
from focus_jax.types import FaceCode

if TYPE_CHECKING:
    import trimesh

# A path, or an array uint8 [h w 3] of NumPy, JAX, PyTorch or whatever else hands over DLPack.
PhotoLike = str | os.PathLike[str] | np.ndarray | Any
Pairs = list[tuple[Face, Inference]]


@dataclasses.dataclass(frozen=True, repr=False)
class FittedFace:
    """A face of a photo: what was found, in the photo's pixels and in millimetres.

    `vertices` and `neutral` are in the face model's coordinates (y up, the face looks along +z);
    `camera.project(vertices, R, t, K)` with `numbers["camera"]` gives pixels of the photo.
    """

    photo: int  # which of the photos that were given
    name: str  # of the photo: its file's, or its number; NUMBER/FILE where files share a name
    number: int  # of the face within the photo, from 0
    mask: Bool[np.ndarray, "h w"]  # where the face is seen, at the photo's size
    occlusion: Bool[np.ndarray, "h w"]  # where something hides it
    vertices: Float[np.ndarray, "v 3"]  # with expression, without pose
    neutral: Float[np.ndarray, "v 3"]  # without expression
    triangles: Int[np.ndarray, "t 3"]
    landmarks: Float[np.ndarray, "68 2"]  # of the fitted face, iBUG order, pixels of the photo
    code: FaceCode  # identity, expression, albedo, pose, light, each without batch axis
    numbers: dict[str, Any]  # as in face.json: camera, crop, confidence, hidden shares, ...
    _image: np.ndarray
    _face: Face
    _inference: Inference
    _shared: Callable[[frozenset[str]], results.Shared]

    def __repr__(self) -> str:
        hidden = self.numbers["occlusion"]["total"]
        return f"FittedFace({self.name!r}, number={self.number}, hidden={hidden:.0%})"

    def mesh(self, *, neutral: bool = False) -> "trimesh.Trimesh":
        """The face as a mesh whose vertices have the photo's colours, millimetres, y up.

        As the photo shows it, turned as its pose says; or without expression and pose.
        """
        import trimesh

        shared = self._shared(frozenset({"ply"}))  # colours of vertices, without a texture
        _, colours = results.skin(self._image, self.numbers, self._inference, shared)
        vertices = self.neutral
        if not neutral:
            rotation = np.array(self.numbers["camera"]["R"], np.float32)
            vertices = export.posed(self.vertices, rotation)
        rgb = np.rint(np.clip(colours, 0, 1) * 255).astype(np.uint8)
        return trimesh.Trimesh(vertices, self.triangles, vertex_colors=rgb, process=False)

    def blendshapes(self) -> dict[str, float]:
        """The expression as ARKit's 52 weights, 0 to 1, by Apple's names; those of the geometry.

        ValueError where the face model has no ARKit units; the built-in one has.
        """
        units = self._shared(frozenset({"arkit"})).units
        assert units is not None  # they were asked for
        weights = arkit.weights(units, np.asarray(self.code.expression))
        return dict(zip(arkit.NAMES, weights.tolist(), strict=True))

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        write: str | Sequence[str] = ("mask", "meshes", "pictures"),
    ) -> Path:
        """Write what `focus-jax reconstruct` writes of a face: FOLDER/NAME/NUMBER, returned.

        `write` is as its `--write`; face.json always. OSError where that fails, ValueError for a
        kind of file that there is not.
        """
        where = user_path(folder) / self.name / str(self.number)
        shared = self._shared(results.kinds(write))
        results.write_face(where, self.name, self._image, self._face, self._inference, shared)
        return where


def reconstruct(
    photos: PhotoLike | Sequence[PhotoLike],
    *,
    model: str | os.PathLike[str] | Model = "shipped",
    refine: int | None = None,
    landmarks: str | os.PathLike[str] | np.ndarray | Any = DEFAULT,
    batch_size: int = 8,
    same_person: bool = False,
) -> list[FittedFace]:
    """All faces of a photo or of several, in the order of the photos, the largest face first.

    A photo is a path or an array uint8 `[h w 3]`, RGB, of NumPy, JAX or PyTorch, on the CPU;
    several may be one array `[b h w 3]`. `model` is "shipped", the folder of a training run, "none"
    (no network: each face is fitted by 100 steps unless told otherwise), or what `load_model` gave,
    which saves loading it again. `refine` is the
    number of steps of gradient descent on each face. `landmarks` are as for the commands, or
    `[b 68 2]`, of one face a photo in its pixels, NaN for none: then nothing is searched.

    With `same_person` all photos are one person's: a face of each, with one identity and albedo.

    A photo without a face gives none. ValueError, in one sentence, for settings that cannot work
    and for a photo that cannot be read; of several photos those are left out, with a warning.
    """
    given, found = _several(photos), []
    loaded = model if isinstance(model, Model) else load_model(os.fspath(model))
    shared = functools.cache(lambda write: results.share(loaded, write))

    def take(number: int, image: np.ndarray, pairs: Pairs) -> None:
        name = given[number].name
        found.extend(_fitted(number, name, image, *pair, loaded, shared) for pair in pairs)

    options: dict[str, Any] = {"refine": refine, "landmarks": landmarks, "batch_size": batch_size}
    _process(given, loaded, take, **options, same_person=same_person)
    return sorted(found, key=lambda face: (face.photo, face.number))


def _fitted(
    photo: int,
    name: str,
    image: np.ndarray,
    face: Face,
    found: Inference,
    loaded: Model,
    shared: Callable[[frozenset[str]], results.Shared],
) -> FittedFace:
    numbers = results.describe(name, face, found, loaded, image.shape)
    seen, hidden = photo_masks(face, found, image.shape)
    vertices, neutral = results.shapes(found, loaded)
    return FittedFace(
        photo,
        name,
        face.number,
        seen > 0,
        hidden > 0,
        vertices,
        neutral,
        np.asarray(loaded.face_model.triangles),
        np.asarray(numbers["landmarks"], np.float32),
        found.code,
        numbers,
        image,
        face,
        found,
        shared,
    )


def segment(
    photos: PhotoLike | Sequence[PhotoLike],
    *,
    model: str | os.PathLike[str] | Model = "shipped",
    per_face: bool = False,
    refine: int | None = None,
    landmarks: str | os.PathLike[str] | np.ndarray | Any = DEFAULT,
    batch_size: int = 8,
) -> list[Any]:
    """Where faces are seen: a mask bool `[h w]` at its size for each photo, also for a single one.

    Masks of JAX's and PyTorch's arrays are such arrays, too; all others NumPy's.

    With `per_face` a list of masks, one a face, for each photo. A photo without a face is False
    everywhere. One that cannot be read is None, with a warning; ValueError where it is the only
    one. Arguments are as for `reconstruct`.
    """
    given = _several(photos)
    loaded = model if isinstance(model, Model) else load_model(os.fspath(model))
    masks: list[Any] = [None] * len(given)

    def take(number: int, image: np.ndarray, pairs: Pairs) -> None:
        if per_face:
            masks[number] = [photo_masks(*pair, image.shape)[0] > 0 for pair in pairs]
        else:
            masks[number] = joined_masks(image, pairs)[0] > 0

    options: dict[str, Any] = {"refine": refine, "landmarks": landmarks, "batch_size": batch_size}
    options["look"] = infer_masks
    for number, size in _process(given, loaded, take, **options).items():
        masks[number] = [] if per_face else np.zeros(size, bool)
    kinds = [one.kind for one in given]
    return [_of_kind(mask, kind) for mask, kind in zip(masks, kinds, strict=True)]


def _of_kind(mask: Any, kind: str) -> Any:
    """A mask, or a list of them, as an array of the library that is named."""
    if isinstance(mask, list):
        return [_of_kind(one, kind) for one in mask]
    if kind == "torch" and mask is not None:
        return sys.modules["torch"].from_numpy(mask)
    return jnp.asarray(mask) if kind == "jax" and mask is not None else mask


class _Given(NamedTuple):
    photo: Photo  # for `process`, by its number
    name: str
    kind: str = "numpy"  # the library whose array it is


def _several(photos: PhotoLike | Sequence[PhotoLike]) -> list[_Given]:
    if getattr(photos, "ndim", None) == 0:
        raise ValueError("the photo is an array without axes; give uint8 [h w 3], RGB")
    # One axis has what lists paths: a column of a table, an array of names.
    one = isinstance(photos, str | os.PathLike) or getattr(photos, "ndim", 0) in (2, 3)
    listed: Any = [photos] if one else photos
    # A dict's keys and the numbers in bytes would be taken for paths.
    if not isinstance(listed, Iterable) or isinstance(listed, bytes | Mapping):
        raise _no_photo("the photo", photos)
    given = [_given(number, photo) for number, photo in enumerate(listed)]
    # `save` would write photos of one name into one folder.
    often = Counter(one.name for one in given)
    return [
        one._replace(name=f"{number:04d}/{one.name}") if often[one.name] > 1 else one
        for number, one in enumerate(given)
    ]


def _given(number: int, photo: PhotoLike) -> _Given:
    kind = type(photo).__module__.partition(".")[0]
    if hasattr(photo, "__dlpack__"):
        photo = _on_cpu(photo, f"photo {number}")
    if not isinstance(photo, np.ndarray | str | os.PathLike):
        raise _no_photo(f"photo {number}", photo)
    if not isinstance(photo, np.ndarray):
        path = Path(photo).expanduser()
        if not path.is_file():
            raise ValueError(f"there is no photo {path}")
        return _Given(Photo(path, str(number)), path.name)
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or 0 in photo.shape:
        raise ValueError(
            f"photo {number} is an array {photo.dtype} {photo.shape}; give uint8 [h w 3], RGB"
        )
    name = f"{number:04d}"
    kind = "jax" if kind == "jaxlib" else kind
    return _Given(Photo(Path(name), str(number), np.ascontiguousarray(photo)), name, kind)


def _no_photo(name: str, given: object) -> ValueError:
    kind = type(given)
    pillow = ": np.asarray(image.convert('RGB'))" if kind.__module__.startswith("PIL.") else ""
    return ValueError(
        f"{name} is of the type {kind.__name__}; give a path or an array uint8 [h w 3], RGB{pillow}"
    )


def _on_cpu(array: Any, name: str) -> np.ndarray:
    """Any library's array as NumPy's; ValueError where it lies on a device."""
    try:
        return np.from_dlpack(array)
    except (BufferError, RuntimeError, TypeError):
        raise ValueError(f"{name} is an array that NumPy cannot read; give it on the CPU") from None


def _source(landmarks: Any, given: list[_Given]) -> Source:
    """Where landmarks come from: by their name, or those that are given, a row a photo."""
    if isinstance(landmarks, str | os.PathLike):
        return landmark_source(os.fspath(landmarks))
    if hasattr(landmarks, "__dlpack__"):
        landmarks = _on_cpu(landmarks, "landmarks")
    try:
        rows = np.asarray(landmarks, np.float32)
    except (TypeError, ValueError):
        raise ValueError("landmarks are a name, or numbers [b 68 2] in pixels") from None
    if rows.shape != (len(given), 68, 2):
        raise ValueError(
            f"landmarks are {rows.shape}; of {len(given)} photos ({len(given)}, 68, 2)"
        )
    of = {one.photo.path: row for one, row in zip(given, rows, strict=True)}
    if len(of) < len(given):
        raise ValueError("a photo is given twice; with landmarks of your own give each once")

    def find(image: np.ndarray, path: Path) -> list[Detection]:
        row = of[path]
        if not np.isfinite(row).all():
            return []
        if outside(row, *image.shape[:2]).any():
            raise ValueError(f"landmarks outside the {image.shape[1]} x {image.shape[0]} photo")
        check_face(row, "landmarks")
        return [Detection(row, 1.0, "given")]

    return find


def _between(least: int, number: Any, most: int) -> bool:
    """Whether it is an integer, of NumPy's maybe, and in this range."""
    try:
        return least <= operator.index(number) <= most
    except TypeError:
        return False


def _process(
    given: list[_Given],
    model: Model,
    take: Callable[[int, np.ndarray, Pairs], None],
    *,
    refine: int | None,
    landmarks: Any,
    batch_size: int,
    look: process.Look | None = None,
    same_person: bool = False,
) -> dict[int, tuple[int, ...]]:
    """Give each photo with faces to `take`; sizes of the others that can be read. ValueError."""
    steps, at_once = process.MOST_STEPS, process.MOST_AT_ONCE
    if not (_between(0, refine or 0, steps) and _between(1, batch_size, at_once)):
        raise ValueError(
            f"refine={refine!r} must be an integer from 0 to {steps}, batch_size={batch_size!r} "
            f"one from 1 to {at_once}"
        )
    find = _source(landmarks, given)
    keep_programs()
    sizes: dict[Path, tuple[int, ...]] = {}

    def source(image: np.ndarray, path: Path) -> list[Detection]:
        sizes[path] = image.shape[:2]
        return find(image, path)

    if refine is None:
        refine = trained.UNTRAINED_STEPS if model.networks is None else 0
    photos = [g.photo for g in given], model, source
    options: dict[str, Any] = {"steps": refine, "batch_size": batch_size, "progress": False}

    def write(photo: Photo, image: np.ndarray, pairs: Pairs) -> None:
        take(int(photo.name), image, pairs)

    if same_person:
        skipped = process_people(*photos, write, **options).skipped
    else:
        skipped = process.process(*photos, write, **options, look=look).skipped
    problems, empty = [], {}
    for text in skipped:
        number, _, reason = text.partition(" (")
        one = given[int(number)]
        if reason == "no face found)":
            empty[int(number)] = sizes[one.photo.path]
        else:
            problems.append(f"{one.name} ({reason}")
    if problems and len(given) == 1:
        raise ValueError(problems[0])
    if problems:
        listed = "; ".join(problems)
        warnings.warn(f"{len(problems)} of {len(given)} photos left out: {listed}", stacklevel=3)
    return empty
