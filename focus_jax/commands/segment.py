"""Masks of whole data sets: `focus-jax segment PATH... --out DIR`.

For each photo DIR/NAME_mask.png (255 where a face is seen) and DIR/NAME_occlusion.png (255 where
something hides a face), in the photo's size. With --visible-skin-names only the first, as
NAME_visible_skin_mask.png. NAME is the photo's name without its suffix, or with it where two photos
would share a mask; masks.jsonl says which masks are whose.

A PATH may be a .tar of photos. Many processes share the work by --shard, or under srun by
themselves; --pack writes an archive a shard, in which the masks have the same names, and a csv of
what was skipped.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from focus_jax.commands import arguments as common
from focus_jax.data.detect import landmark_source
from focus_jax.data.faces import Found
from focus_jax.photos import packs, process
from focus_jax.photos.segment import check_names, check_own, clear_all, segment_files, segment_pack


def main(argv: Sequence[str] | None = None, *, program: str = "focus-segment") -> int:
    """The command; returns its exit status."""
    parser = common.of_photos(program, __doc__)
    parser.add_argument("--visible-skin-names", action="store_true", help="see above")
    parser.add_argument(
        "--tfds",
        metavar="NAME",
        help="photos of a data set of tensorflow-datasets, instead of PATHs, or the folder of one "
        "that was built as array_record",
    )
    parser.add_argument(
        "--shard",
        metavar="i/n",
        help="the i-th of n parts of the photos, i from 0; of all parts the same --out (default: "
        "under srun each task's part, else all)",
    )
    parser.add_argument(
        "--pack",
        choices=packs.KINDS,
        help="one archive of all masks instead of files: tar (PNG in it) or npz (arrays)",
    )
    parser.set_defaults(refine=None)
    return common.run(parser.parse_args(argv), _job)


def _job(arguments: argparse.Namespace, out: Path, found: Found) -> process.Summary:
    shard, visible = packs.parse_shard(arguments.shard), arguments.visible_skin_names
    if arguments.overwrite and (arguments.pack or shard.count > 1):
        raise ValueError("--overwrite is not for shards or archives; give another --out")
    names = check_names(found, out, visible_skin=visible)
    if shard.count > 1:
        print(f"shard {shard.number} of {shard.count}", file=sys.stderr)
        found = packs.part_of(found, shard)
        names = {photo.name: names[photo.name] for photo in found.photos}
    if not arguments.pack:
        check_own(out, names)
    model, steps = common.model_and_steps(arguments)
    # What is refused is refused before results of before are removed.
    given = model, landmark_source(arguments.landmarks)
    settings = process.settings("segment", model, steps, arguments.landmarks)
    if shard.count > 1 or arguments.pack:
        settings |= {"shards": shard.count, "pack": arguments.pack, "visible_skin": visible}
    resume, overwrite = arguments.resume, arguments.overwrite
    if process.claim_folder(out, settings, resume=resume, overwrite=overwrite):
        clear_all(out)
    options = {"steps": steps, "batch_size": arguments.batch_size}
    part = shard.count > 1
    if not arguments.pack:
        record, listing = f"{shard.named('masks')}.jsonl", f"{shard.named('skipped')}.txt"
        summary = segment_files(found, out, names, *given, **options, resume=resume, record=record)
        return summary._replace(part=part, listing=listing)
    with packs.Pack(out, shard, arguments.pack, names, resume=resume) as pack:
        return segment_pack(found, pack, *given, **options)._replace(part=part, listing=None)
