"""What `segment` and `reconstruct` take, files and all, before beside after, as Markdown tables.

    git worktree add ../before a2d74cb
    python -m benchmarks.commands ../before [--photos FOLDER] [--count 24]     about fifteen minutes

Each checkout runs with its own compiled programs: one photo without any (cold), the same with them
(warm), then all photos; what a face takes is the difference, divided. The checkouts take turns.
"clock" is seconds as they pass, "cpu" seconds of the processor, which other work on the machine
changes less. The photos are a folder's, or copies of scikit-image's astronaut; the video is the
astronaut, moved, a hundred frames at 720p.

A second table says where the processor's time of a face goes in this checkout.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import measure

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {
    "segment": ["segment"],
    "reconstruct": ["reconstruct"],
    "reconstruct --refine 20": ["reconstruct", "--refine", "20"],
}
FRAMES = 100


class Spent(NamedTuple):
    clock: float
    cpu: float  # of the command and its children
    peak: float  # GB
    size: int  # bytes of all that it wrote


def run(tree: Path, words: list[str], given: Path, programs: Path) -> Spent:
    """One command of a checkout. RuntimeError with the end of its messages when it fails."""
    with tempfile.TemporaryDirectory() as folder:
        out, messages = Path(folder) / "out", Path(folder) / "messages"
        word, *options = words
        line = [sys.executable, "-m", "focus_jax", word, str(given), "--out", str(out), *options]
        # The checkout's own code, wherever the command is started and whatever is installed.
        kept = {
            **os.environ,
            "PYTHONPATH": str(tree),
            "JAX_COMPILATION_CACHE_DIR": str(programs),
        }
        begun = time.monotonic()
        with (
            messages.open("w") as log,
            subprocess.Popen(line, env=kept, stdout=log, stderr=log, cwd=folder) as child,
        ):
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise RuntimeError(f"{tree}: {' '.join(words)}: {messages.read_text()[-2000:]}")
        clock, cpu = time.monotonic() - begun, used.ru_utime + used.ru_stime
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        return Spent(clock, cpu, used.ru_maxrss / 2**20, size)


def rows(trees: list[Path], name: str, photos: list[Path], folder: Path) -> list[list[Any]]:
    """Rows of one command: what, and clock and processor of each checkout."""
    one, many = (_folder(folder, chosen) for chosen in (photos[:1], photos))
    caches = [folder / f"programs {number} {name}" for number in range(len(trees))]
    words, found = COMMANDS[name], []
    for given in (one, one, many):
        pairs = zip(trees, caches, strict=True)
        found.append([run(tree, words, given, cache) for tree, cache in pairs])
    cold, warm, all_of_them = found
    more = len(photos) - 1

    def row(what: str, values: list[Any]) -> list[Any]:
        return [f"{name}: {what}", *values]

    per_face = [
        ((a.clock - w.clock) / more, (a.cpu - w.cpu) / more)
        for a, w in zip(all_of_them, warm, strict=True)
    ]
    return [
        row("one photo, cold, s", [x for s in cold for x in (s.clock, s.cpu)]),
        row("one photo, warm, s", [x for s in warm for x in (s.clock, s.cpu)]),
        row("each further photo, s", [x for pair in per_face for x in pair]),
        row("photos / s", [x for pair in per_face for x in (1 / pair[0], 1 / pair[1])]),
        row("kB a photo", [x for s in all_of_them for x in (s.size / len(photos) / 1e3, "")]),
        row("peak, GB", [x for s in all_of_them for x in (s.peak, "")]),
    ]


def video_rows(trees: list[Path], folder: Path) -> list[list[Any]]:
    """A video, with the programs that `reconstruct` left; the first run is not counted."""
    path = _video(folder)
    found = []
    for number, tree in enumerate(trees):
        cache = folder / f"programs {number} reconstruct"
        found.append([run(tree, ["reconstruct"], path, cache) for _ in range(2)][1])
    return [[f"{FRAMES} frames at 720p, warm, s", *[x for s in found for x in (s.clock, s.cpu)]]]


def stages(photos: list[Path]) -> list[list[Any]]:
    """Milliseconds of the processor, of all threads, that each stage takes a face."""
    from focus_jax.data.detect import landmark_source
    from focus_jax.photos.trained import load_model
    from focus_jax.system import cpu

    cpu.prepare()
    given = load_model("shipped"), landmark_source("mediapipe"), photos[:8]
    _spent(*given)  # compiles
    return [[name, 1000 * seconds / 8] for name, seconds in _spent(*given).items()]


def _spent(model: Any, find: Any, paths: list[Path]) -> dict[str, float]:
    """Seconds of each stage, for a batch."""
    import jax
    import numpy as np

    from focus_jax.data.decode import read_photo
    from focus_jax.data.faces import align_faces
    from focus_jax.photos import results
    from focus_jax.photos.inference import infer
    from focus_jax.photos.masks import joined_masks
    from focus_jax.photos.trained import make_batch

    spent: dict[str, float] = {}

    def timed(name: str, work: Any, *arguments: Any, **options: Any) -> Any:
        begun = time.process_time()
        result = work(*arguments, **options)
        spent[name] = spent.get(name, 0.0) + time.process_time() - begun
        return result

    images = [timed("decoding", read_photo, path) for path in paths]
    detected = [timed("detection", find, image, Path())[:1] for image in images]
    fixed = {"fix_y_offset": model.fix_y_offset}
    faces = [
        timed("alignment", align_faces, *pair, model.record_size, **fixed)[0]
        for pair in zip(images, detected, strict=True)
    ]
    fields = ("crop", "landmarks", "dense_landmarks")
    stacked = [np.stack([getattr(face, name) for face in faces]) for name in fields]
    batch = timed("white balance, recognizer", make_batch, model, *stacked)
    found = timed("encoder, segmenter, drawing", lambda: jax.device_get(infer(model, batch)))
    pairs = [(f, jax.tree.map(lambda x, k=k: np.asarray(x)[k], found)) for k, f in enumerate(faces)]
    for image, pair in zip(images, pairs, strict=True):
        timed("masks in the photo", joined_masks, image, [pair])
    with tempfile.TemporaryDirectory() as out:
        for kind in results.KINDS:
            shared = results.share(model, [kind])
            for path, image, pair in zip(paths, images, pairs, strict=True):
                place = Path(out), path.name, image
                timed(f"files: {kind}", results.write_face, *place, *pair, shared)
    for kind in results.KINDS:
        if kind != "numbers":  # which are written with each
            spent[f"files: {kind}"] -= spent["files: numbers"]
    return spent


def _folder(folder: Path, photos: list[Path]) -> Path:
    made = folder / f"photos {len(photos)}"
    if not made.exists():
        made.mkdir()
        for number, path in enumerate(photos):
            shutil.copy(path, made / f"{number:04}{path.suffix}")
    return made


def _photos(given: Path | None, count: int, folder: Path) -> list[Path]:
    if given is not None:
        suffixes = (".jpg", ".jpeg", ".png")
        return sorted(p for p in given.iterdir() if p.suffix.lower() in suffixes)[:count]
    import cv2
    import skimage.data

    path = folder / "astronaut.jpg"
    cv2.imwrite(str(path), skimage.data.astronaut()[..., ::-1])
    return [path] * count


def _video(folder: Path) -> Path:
    import cv2
    import numpy as np
    import skimage.data

    path = folder / "moved.mp4"
    code = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), code, 25, (1280, 720))
    whole = cv2.resize(skimage.data.astronaut()[..., ::-1], (720, 720))
    for number in range(FRAMES):
        frame = np.full((720, 1280, 3), 90, np.uint8)
        left = 200 + round(150 * np.sin(number / 15))
        frame[:, left : left + 720] = whole
        writer.write(frame)
    writer.release()
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", nargs="?", type=Path, help="the other checkout's folder")
    parser.add_argument("--photos", type=Path, help="a folder of photos with one face each")
    parser.add_argument("--count", type=int, default=24, help="photos taken (default: 24)")
    parser.add_argument("--commands", nargs="+", default=list(COMMANDS), choices=COMMANDS)
    parser.add_argument("--no-video", action="store_true")
    parser.add_argument("--no-stages", action="store_true")
    options = parser.parse_args()
    if options.before is not None and not (options.before / "focus_jax").is_dir():
        parser.error(f"{options.before} is no checkout of focus_jax")
    trees = [ROOT] if options.before is None else [options.before.resolve(), ROOT]
    names = ["after"] if options.before is None else ["before", "after"]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        photos = _photos(options.photos, options.count, folder)
        if len(photos) < 2:
            parser.error(f"{options.photos} holds {len(photos)} photos; two are the least")
        header = ["command", *(f"{name}, {what}" for name in names for what in ("clock", "cpu"))]

        def measured() -> Iterator[list[Any]]:
            for name in options.commands:
                yield from rows(trees, name, photos, folder)
            if not options.no_video and "reconstruct" in options.commands:
                yield from video_rows(trees, folder)

        measure.print_table(header, measured())
        if not options.no_stages:
            measure.print_table(["stage", "cpu, ms a face"], stages(photos))
    print(measure.machine("jax"))


if __name__ == "__main__":
    main()
