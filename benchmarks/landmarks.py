"""What each source of landmarks finds in a folder of photos, and in what time.

    python -m benchmarks.landmarks FOLDER [--sources mediapipe dlib] [--every 1]
    python -m benchmarks.landmarks --turned 24 [--sources mediapipe dlib] [--face-model builtin]
    python -m benchmarks.landmarks --hidden 256 [--sources mediapipe dlib] [--face-model builtin]

FOLDER has the layout of the README: photos in Dataset/, one labelled face in each, its landmarks in
train_landmarks.csv and val_landmarks.csv. Photos are grouped by their names up to the first
underscore. A labelled face is found where some face's points have a box that overlaps its box by
0.3 (intersection over union). Prints a table in Markdown: of the photos of each group the share
with any face, and with the labelled one, and the seconds of a photo, one after the other, without
reading it. A source that made the labels finds all of them.

With `--turned` that many faces of a face model are drawn, each turned by 0 to 90 degrees to either
side before a random background: the share found by angle, and, in percent of the distance of the
outer corners of the eyes, how far the landmarks lie from the model's own (median): brows, nose,
eyes and mouth where they are seen, and the jaw.

With `--hidden` that many synthetic photos, four of five with an occluder: the errors of what is
seen and of what is not, root mean square by the same distance without their median over the photos,
and the part of the hidden features' squared error that all those of a face have together.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from focus_jax.data.belief import JAW
from focus_jax.data.decode import read_photo
from focus_jax.data.detect import landmark_source
from focus_jax.data.landmarks import LandmarkRow, Source, read_landmarks
from focus_jax.data.photos import CSV
from focus_jax.data.synthetic import faces as synthetic
from focus_jax.data.synthetic.backgrounds import background
from focus_jax.evaluation.report import table
from focus_jax.face_models import load_face_model
from focus_jax.rendering import camera, fragments, morphable
from focus_jax.rendering.rasterize import rasterize
from focus_jax.rendering.render import render_mesh
from focus_jax.types import FaceModel

OVERLAP = 0.3
ANGLES = (0, 15, 30, 45, 60, 75, 90)  # degrees
SIDE, BACK = 512, 400.0  # pixels of a drawn picture; millimetres further away than in training
AMBIENT = 4.0  # coefficient of the constant harmonic
HIDDEN_SIDE, FRAME = (
    192,
    40,
)  # pixels of a synthetic photo, and of its edge's continuation around it
LABELS_HIDING = 2  # of `synthesize`, from hair on


class Looked(NamedTuple):
    """What a source made of a photo."""

    group: str
    labelled: bool
    seconds: float  # on the wall clock
    processor: float  # of all cores together, which another process disturbs less


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of the bounding boxes of two faces' points `[n 2]`."""
    low = np.maximum(one.min(0), other.min(0))
    high = np.minimum(one.max(0), other.max(0))
    common = np.maximum(high - low, 0).prod()
    return float(common / (np.ptp(one, 0).prod() + np.ptp(other, 0).prod() - common))


def look(source: Source, folder: Path, rows: Sequence[LandmarkRow]) -> list[Looked]:
    """Every photo through a source, in turn."""
    found = []
    for row in tqdm(rows, unit="photo"):
        path = folder / "Dataset" / row.filename
        photo = read_photo(path)
        start, used = time.perf_counter(), time.process_time()
        faces = source(photo, path)
        seconds, processor = time.perf_counter() - start, time.process_time() - used
        labelled = any(overlap(face.landmarks, row.landmarks) > OVERLAP for face in faces)
        group = Path(row.filename).name.partition("_")[0]
        found.append(Looked(group, labelled, seconds, processor))
    return found


def table_rows(source: str, found: Sequence[Looked]) -> list[list[str]]:
    """A row a group, the largest first, after one for all."""
    names = [one.group for one in found]
    groups = sorted(set(names), key=lambda name: -names.count(name))
    rows = []
    for group in ("all", *groups):
        here = [one for one in found if group in ("all", one.group)]
        means = np.array([one[1:] for one in here], float).mean(0)
        shares, times = (f"{100 * n:.1f}" for n in means[:2]), (f"{n:.3f}" for n in means[2:])
        rows.append([source, group, str(len(here)), *shares, *times])
    return rows


class Drawn(NamedTuple):
    """A picture of a face model's face."""

    picture: np.ndarray  # uint8 [s s 3]
    landmarks: np.ndarray  # [68 2], the truth
    seen: np.ndarray  # [68] bool
    eyes: float  # pixels between their outer corners, were they seen from the front


def draw(face_model: FaceModel, yaw: float, number: int) -> Drawn:
    """A face, which the number tells, turned by `yaw` degrees."""
    rng = np.random.default_rng(number)
    own = synthetic.draw(face_model, rng)
    shape = morphable.vertices(face_model, own.identity, own.expression)
    albedo = jnp.clip(morphable.albedo(face_model, own.albedo), 0.01, 1.0)
    pose = np.array([[0.0, np.radians(yaw), 0.0, 0.0, 0.0, BACK]], np.float32)
    light = np.zeros((1, 27), np.float32)
    light[:, [0, 9, 18]] = AMBIENT
    rendering = render_mesh(
        shape[None], albedo[None], face_model.triangles, pose, light, SIDE, SIDE
    )
    screen, triangles = rendering.screen_vertices, face_model.triangles
    seen = fragments.visible_points(
        rasterize(screen, triangles, SIDE, SIDE),
        screen,
        triangles,
        face_model.landmark_vertices,
        face_model.landmark_weights,
    )
    coverage = np.asarray(rendering.coverage[0])
    picture = np.asarray(rendering.image[0]).clip(0, 1) + (1 - coverage) * background(rng, SIDE)
    places, depth = np.asarray(morphable.landmarks(face_model, shape)), float(screen[..., 2].mean())
    eyes = np.linalg.norm(places[45] - places[36]) * camera.FOCAL * SIDE / 2 / depth
    points = np.asarray(morphable.landmarks(face_model, screen))[0, :, :2]
    return Drawn((255 * picture).astype(np.uint8), points, np.asarray(seen)[0], float(eyes))


def turned_rows(source: Source, name: str, face_model: FaceModel, count: int) -> list[list[str]]:
    """A row an angle."""
    rows = []
    for angle in tqdm(ANGLES, desc=name, unit="angle"):
        features, jaw = [], []
        for number in range(count):
            one = draw(face_model, angle if number % 2 else -angle, number)
            faces = source(one.picture, Path("drawn"))
            faces = [f for f in faces if overlap(f.landmarks, one.landmarks) > OVERLAP]
            if faces:
                away = 100 * np.linalg.norm(faces[0].landmarks - one.landmarks, axis=1) / one.eyes
                features.append(np.median(away[17:][one.seen[17:]]))
                jaw.append(np.median(away[:17]))
        errors = (f"{np.median(e):.1f}" if e else "-" for e in (features, jaw))
        rows.append([name, str(angle), f"{100 * len(jaw) / count:.0f}", *errors])
    return rows


def hidden_row(source: Source, name: str, face_model: FaceModel, count: int) -> list[str]:
    """How far points lie that something hides."""
    records = list(
        synthetic.synthesize(
            face_model, count, size=HIDDEN_SIDE, seed=5, occluded=0.8, noise=False, truths=True
        )
    )
    errors, hidden = [], []
    for record in tqdm(records, desc=name, unit="photo"):
        sides = (FRAME, FRAME, FRAME, FRAME, cv2.BORDER_REPLICATE)
        faces = source(cv2.copyMakeBorder(record["image"], *sides), Path("drawn"))
        true = record["landmarks"]
        faces = [f for f in faces if overlap(f.landmarks - FRAME, true) > OVERLAP]
        if faces:
            errors.append((faces[0].landmarks - FRAME - true) / synthetic.eye_distance(true))
            x, y = np.clip(true.round().astype(int), 0, HIDDEN_SIDE - 1).T
            hidden.append(record["labels"][y, x] >= LABELS_HIDING)
    error, behind = np.stack(errors), np.stack(hidden)
    error -= np.median(error, axis=0)  # where the two place points otherwise
    jaw = np.arange(68) < JAW
    sizes = [
        100 * np.sqrt(np.mean(error[chosen & part] ** 2))
        for chosen in (~behind, behind)
        for part in (~jaw, jaw)
    ]
    faces = [e[h & ~jaw] for e, h in zip(error, behind, strict=True) if (h & ~jaw).sum() >= 8]
    together = sum((e.mean(0) ** 2).sum() for e in faces) / sum((e**2).mean(0).sum() for e in faces)
    found = f"{100 * len(error) / count:.0f}"
    return [name, found, *(f"{size:.1f}" for size in sizes), f"{together:.2f}"]


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--sources", nargs="+", default=["mediapipe"])
    parser.add_argument("--every", type=int, default=1, help="only each n-th photo (default: 1)")
    parser.add_argument("--turned", type=int, metavar="FACES", help="draw so many, and turn them")
    parser.add_argument("--hidden", type=int, metavar="FACES", help="so many synthetic photos")
    parser.add_argument("--face-model", default="builtin", help="whose faces; builtin, or a file")
    options = parser.parse_args(argv)
    if options.turned:
        face_model = jax.tree.map(jnp.asarray, load_face_model(options.face_model))
        lines = []
        for name in options.sources:
            lines += turned_rows(landmark_source(name), name, face_model, options.turned)
        print(table(["source", "degrees", "found, %", "features, %", "jaw, %"], lines))
        return
    if options.hidden:
        model = load_face_model(options.face_model)
        rows = [hidden_row(landmark_source(n), n, model, options.hidden) for n in options.sources]
        heads = ["source", "found, %", "features seen, %", "jaw seen, %", "features hidden, %"]
        print(table([*heads, "jaw hidden, %", "of hidden features together"], rows))
        return
    if options.folder is None:
        parser.error("give a folder of photos, --turned or --hidden")
    rows = [row for name in CSV.values() for row in read_landmarks(options.folder / name)]
    rows = sorted(rows, key=lambda row: row.filename)[:: options.every]
    lines = []
    for name in options.sources:
        lines += table_rows(name, look(landmark_source(name), options.folder, rows))
    heads = ["source", "group", "photos", "any face, %", "labelled face, %"]
    heads += ["seconds a photo", "of the processor"]
    print(table(heads, lines))


if __name__ == "__main__":
    main()
