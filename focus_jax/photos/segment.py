"""Masks of files, written into a folder: two pictures a photo, whatever faces it has."""

from pathlib import Path, PurePosixPath

import numpy as np

from focus_jax.data.detect import Source
from focus_jax.data.faces import Face, Found, Photo
from focus_jax.photos import process
from focus_jax.photos.inference import Inference
from focus_jax.photos.results import photo_masks, write_image
from focus_jax.photos.trained import Model


def mask_names(photo: str, *, visible_skin: bool) -> list[str]:
    """Names of a photo's masks: of the face, and of what hides it."""
    stem = PurePosixPath(photo).with_suffix("").as_posix()
    if visible_skin:
        return [f"{stem}_visible_skin_mask.png"]
    return [f"{stem}_mask.png", f"{stem}_occlusion.png"]


def check_names(found: Found, out: Path, *, visible_skin: bool = False) -> dict[str, list[str]]:
    """`mask_names` of each photo; ValueError where two would be one, or a link leads elsewhere."""
    names = {p.name: mask_names(p.name, visible_skin=visible_skin) for p in found.photos}
    owners: dict[str, str] = {}
    for photo, masks in names.items():
        if masks[0] in owners:
            raise ValueError(
                f"the masks of {owners[masks[0]]} and {photo} would have one name; rename one"
            )
        owners[masks[0]] = photo
    process.check_inside(out, [name for masks in names.values() for name in masks])
    return names


def joined_masks(
    image: np.ndarray, faces: list[tuple[Face, Inference]]
) -> tuple[np.ndarray, np.ndarray]:
    """Where any face of a photo is seen, and where one is hidden: uint8 `[h w]`, 0 or 255."""
    masks = [photo_masks(face, inference, image.shape) for face, inference in faces]
    # Seen by one face is seen, though another's outline may cover the same place.
    seen = np.maximum.reduce([m[0] for m in masks])
    hidden = np.where(seen > 0, 0, np.maximum.reduce([m[1] for m in masks]))
    return seen, hidden.astype(np.uint8)


def segment_files(
    found: Found,
    out: Path,
    names: dict[str, list[str]],
    model: Model,
    source: Source,
    *,
    steps: int = 0,
    batch_size: int = 8,
    resume: bool = False,
) -> process.Summary:
    """Write the masks of every photo below `out` by its `names` (`check_names`).

    With `resume` photos that are done are passed over; one that fails is skipped and counted.
    OSError where results cannot be written.
    """

    def write(photo: Photo, image: np.ndarray, faces: list[tuple[Face, Inference]]) -> None:
        masks = joined_masks(image, faces)
        # The first is written last: it says that the photo is done.
        for name, mask in reversed(list(zip(names[photo.name], masks, strict=False))):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            write_image(out / name, mask)

    summary = process.process(
        found.photos,
        model,
        source,
        write,
        steps=steps,
        batch_size=batch_size,
        done=lambda photo: resume and (out / names[photo.name][0]).is_file(),
    )
    videos = [f"{v.name} (a video; focus-jax reconstruct takes those)" for v in found.videos]
    return summary._replace(skipped=found.problems + videos + summary.skipped)
