"""Masks of whole data sets: `focus-segment PATH... --out DIR`.

For each photo DIR/NAME_mask.png (255 where a face is seen) and DIR/NAME_occlusion.png (255 where
something hides a face), in the photo's size. With --visible-skin-names only the first, as
NAME_visible_skin_mask.png.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from focus_jax.data.detect import landmark_source
from focus_jax.data.faces import Face, Found, Photo
from focus_jax.photos import process
from focus_jax.photos.inference import Inference
from focus_jax.photos.reconstruct import common_arguments, prepare, run, settings
from focus_jax.photos.results import photo_masks, write_image


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = common_arguments(__doc__)
    parser.add_argument("--visible-skin-names", action="store_true", help="see above")
    parser.set_defaults(refine=None, face_model=None)
    return run(parser.parse_args(argv), _segment)


def mask_names(photo: str, *, visible_skin: bool) -> list[str]:
    """Names of a photo's masks: of the face, and of what hides it."""
    stem = PurePosixPath(photo).with_suffix("").as_posix()
    if visible_skin:
        return [f"{stem}_visible_skin_mask.png"]
    return [f"{stem}_mask.png", f"{stem}_occlusion.png"]


def _segment(arguments: argparse.Namespace, out: Path, found: Found) -> process.Summary:
    names = {
        p.name: mask_names(p.name, visible_skin=arguments.visible_skin_names) for p in found.photos
    }
    _refuse_clashes(names)
    process.check_inside(out, [name for masks in names.values() for name in masks])
    model, steps = prepare(arguments)
    process.claim_folder(out, settings(arguments, model, steps), resume=arguments.resume)

    def write(photo: Photo, image: np.ndarray, faces: list[tuple[Face, Inference]]) -> None:
        masks = [photo_masks(face, inference, image.shape) for face, inference in faces]
        # Seen by one face is seen, though another's outline may cover the same place.
        seen = np.maximum.reduce([m[0] for m in masks])
        hidden = np.where(seen > 0, 0, np.maximum.reduce([m[1] for m in masks]))
        # The first is written last: it says that the photo is done.
        for name, mask in reversed(list(zip(names[photo.name], (seen, hidden), strict=False))):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            write_image(out / name, mask.astype(np.uint8))

    summary = process.process(
        found.photos,
        model,
        landmark_source(arguments.landmarks),
        write,
        steps=steps,
        batch_size=arguments.batch_size,
        done=lambda photo: arguments.resume and (out / names[photo.name][0]).is_file(),
    )
    videos = [f"{v.name} (a video; focus-reconstruct takes those)" for v in found.videos]
    return summary._replace(skipped=found.problems + videos + summary.skipped)


def _refuse_clashes(names: dict[str, list[str]]) -> None:
    owners: dict[str, str] = {}
    for photo, masks in names.items():
        if masks[0] in owners:
            raise ValueError(
                f"the masks of {owners[masks[0]]} and {photo} would have one name; rename one"
            )
        owners[masks[0]] = photo


if __name__ == "__main__":
    sys.exit(main())
