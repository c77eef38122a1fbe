"""Masks of whole data sets: `focus-jax segment PATH... --out DIR`.

For each photo DIR/NAME_mask.png (255 where a face is seen) and DIR/NAME_occlusion.png (255 where
something hides a face), in the photo's size. With --visible-skin-names only the first, as
NAME_visible_skin_mask.png. NAME is the photo's name without its suffix, or with it where two photos
would share a mask; masks.jsonl says which masks are whose.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from focus_jax.commands import arguments as common
from focus_jax.data.detect import landmark_source
from focus_jax.data.faces import Found
from focus_jax.photos import process
from focus_jax.photos.segment import check_names, clear_all, segment_files


def main(argv: Sequence[str] | None = None, *, program: str = "focus-segment") -> int:
    """The command; returns its exit status."""
    parser = common.of_photos(program, __doc__)
    parser.add_argument("--visible-skin-names", action="store_true", help="see above")
    parser.set_defaults(refine=None)
    return common.run(parser.parse_args(argv), _job)


def _job(arguments: argparse.Namespace, out: Path, found: Found) -> process.Summary:
    names = check_names(found, out, visible_skin=arguments.visible_skin_names)
    model, steps = common.model_and_steps(arguments)
    settings = process.settings(model, steps, arguments.landmarks)
    if process.claim_folder(out, settings, resume=arguments.resume, overwrite=arguments.overwrite):
        clear_all(out)
    return segment_files(
        found,
        out,
        names,
        model,
        landmark_source(arguments.landmarks),
        steps=steps,
        batch_size=arguments.batch_size,
        resume=arguments.resume,
    )
