"""The NoW benchmark (Sanyal et al. 2019): prediction folders against face scans.

The data set holds `scans/SUBJECT/*.obj` and `scans_lmks_onlypp/SUBJECT/*.pp`; the list has a line
`SUBJECT/CHALLENGE/IMAGE.jpg` per photo; a prediction: `SUBJECT/CHALLENGE/IMAGE.obj` or `.ply` with
seven landmarks in `IMAGE.npy` or `.txt`. `photos.now_predict` writes such folders. Errors are
pooled over all vertices of all photos, as the benchmark does.
"""

import csv
import itertools
import json
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import trimesh
from tqdm import tqdm

from focus_jax.evaluation import report
from focus_jax.evaluation.scans import RADIUS, scan_errors
from focus_jax.system.files import bare, write_npz, write_whole

CHALLENGES = ("multiview_neutral", "multiview_expressions", "multiview_occlusions", "selfie")


class Result(NamedTuple):
    errors: dict[str, np.ndarray]  # of each photo: distances of its scan's vertices, mm
    missing: list[str]  # photos without a prediction


# --- files -----------------------------------------------------------------------------------


def read_images(path: Path) -> list[str]:
    """Photos of a list, `SUBJECT/CHALLENGE/IMAGE.jpg` each; ValueError names a line that is not."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give the benchmark's list of photos")
    images = []
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    for number, line in enumerate(text.splitlines(), start=1):
        parts = Path(line.strip()).parts
        if not parts:
            continue
        if len(parts) != 3 or ".." in parts:
            raise ValueError(
                f"{path}, line {number}: {line.strip()!r} is not SUBJECT/CHALLENGE/IMAGE"
            )
        images.append("/".join(parts))
    if not images:
        raise ValueError(f"{path} lists no photos")
    return images


def read_mesh(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices `[v 3]` and triangles `[t 3]` of an obj or ply, with colours or without.

    The vertices are those of the file, each once and in its order, as the benchmark counts them:
    neither doubled along the seams of a texture nor left out where no triangle has them.
    """
    try:
        if path.suffix == ".obj":
            vertices, triangles = read_obj(path)
        else:
            mesh = trimesh.load_mesh(path, process=False, fix_texture=False)
            vertices, triangles = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces)
    except Exception as problem:  # whatever a parser makes of a broken file
        raise ValueError(f"{path} is not a mesh that can be read: {problem}") from None
    if not len(vertices) or not len(triangles) or not np.isfinite(vertices).all():
        raise ValueError(f"{path}: a mesh needs triangles and finite vertices")
    return vertices, triangles


def read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The `v` and `f` lines; polygons become fans of triangles, all else is passed over."""
    vertices: list[list[str]] = []
    triangles: list[tuple[int, int, int]] = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith(("v ", "v\t")):
                vertices.append(line.split()[1:4])
            elif line.startswith(("f ", "f\t")):
                corners = [int(c.partition("/")[0]) for c in line.split()[1:]]
                # Counted from 1, or backwards from the newest vertex.
                a, *rest = (n - 1 if n > 0 else len(vertices) + n for n in corners)
                triangles += [(a, b, c) for b, c in itertools.pairwise(rest)]
    faces = np.array(triangles, np.int64).reshape(-1, 3)
    if len(faces) and not 0 <= faces.min() <= faces.max() < len(vertices):
        raise ValueError(f"a triangle names a vertex that is not among the {len(vertices)}")
    return np.array(vertices, np.float64).reshape(-1, 3), faces


def read_landmarks(path: Path) -> np.ndarray:
    """Seven points `[7 3]` of `.npy`, of `.txt` with a line each, or of MeshLab's `.pp`."""
    try:
        if path.suffix == ".npy":
            points = np.squeeze(np.load(path, allow_pickle=False))
        elif path.suffix == ".pp":
            found = ElementTree.parse(path).getroot().iter("point")
            points = np.array([[float(p.attrib[axis]) for axis in "xyz"] for p in found])
        else:
            points = np.loadtxt(path, ndmin=2)
    except (ValueError, KeyError, OSError, EOFError, ElementTree.ParseError) as problem:
        raise ValueError(f"{path}: no landmarks can be read ({problem})") from None
    if points.shape != (7, 3) or not np.isfinite(points.astype(np.float64)).all():
        raise ValueError(f"{path}: seven finite points are needed, not {points.shape}")
    return points.astype(np.float64)


def _first(folder: Path, stem: str, suffixes: Sequence[str]) -> Path | None:
    return next((p for p in (folder / (stem + s) for s in suffixes) if p.is_file()), None)


def _scan(dataset: Path, subject: str) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of a subject's scan and its landmarks."""

    def only(folder: str, suffix: str) -> Path:
        found = sorted((dataset / folder / subject).glob(f"*{suffix}"))
        if len(found) != 1:
            raise ValueError(
                f"{dataset / folder / subject} holds {len(found)} files *{suffix}; one is needed"
            )
        return found[0]

    vertices, _ = read_mesh(only("scans", ".obj"))
    return vertices, read_landmarks(only("scans_lmks_onlypp", ".pp"))


def read_yaws(path: Path) -> dict[str, float]:
    """Yaw in degrees of each photo, from rows `image,yaw` below such a header.

    ValueError, naming file and line, for a row without the two, or with a yaw that is no number.
    """
    found: dict[str, float] = {}
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        rows = csv.DictReader(file)
        if not {"image", "yaw"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path} needs the header image,yaw")
        for row in rows:
            try:
                found[row["image"]] = float(row["yaw"] or "")  # None where a row is too short
            except ValueError:
                found[row["image"]] = math.nan
            if not math.isfinite(found[row["image"]]):
                raise ValueError(
                    f"{path}, line {rows.line_num}: {row['yaw']!r} is no yaw of {row['image']!r}; "
                    "a row is image,yaw in degrees"
                )
    return found


# --- the protocol ----------------------------------------------------------------------------


def evaluate(
    dataset: Path,
    predictions: Path,
    images: Sequence[str],
    *,
    unit: float | None = None,
    radius: float = RADIUS,
    progress: bool = False,
) -> Result:
    """Errors of all photos that have a prediction; `unit` and `radius` as in `scan_errors`.

    A prediction is missing when its mesh or its landmarks are. ValueError for files that are there
    and cannot be used, and when nothing is there at all.
    """
    errors: dict[str, np.ndarray] = {}
    missing = []
    scans: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for image in tqdm(images, desc="NoW", unit="photo", disable=not progress):
        subject, challenge, name = image.split("/")
        folder, stem = predictions / subject / challenge, bare(Path(name)).name
        mesh = _first(folder, stem, (".obj", ".ply"))
        points = _first(folder, stem, (".npy", ".txt"))
        if mesh is None or points is None:
            missing.append(image)
            continue
        if subject not in scans:
            scans = {subject: _scan(dataset, subject)}  # lists go subject by subject
        found = scan_errors(
            *scans[subject],
            *read_mesh(mesh),
            read_landmarks(points),
            unit=unit,
            radius=radius,
            name=str(mesh),
        )
        errors[image] = found.astype(np.float32)
    if not errors:
        raise ValueError(
            f"{predictions} holds no prediction for any of the {len(images)} photos; "
            "expected SUBJECT/CHALLENGE/IMAGE.obj or .ply, with .npy or .txt landmarks beside it"
        )
    return Result(errors, missing)


def summarize(result: Result) -> dict[str, dict[str, float]]:
    """Median, mean and deviation (mm) over all vertices: of all photos, and by challenge."""

    def select(names: Mapping[str, np.ndarray] | Sequence[str], challenge: str) -> list[str]:
        return [n for n in names if challenge in ("all", n.split("/")[1])]

    rows = {}
    present = {n.split("/")[1] for n in [*result.errors, *result.missing]}
    for challenge in ("all", *(c for c in CHALLENGES if c in present), *sorted(present)):
        chosen = select(result.errors, challenge)
        row: dict[str, float] = {
            "photos": len(chosen),
            "missing": len(select(result.missing, challenge)),
        }
        if chosen:
            pooled = np.concatenate([result.errors[n] for n in chosen]).astype(np.float64)
            row |= {
                "median": float(np.median(pooled)),
                "mean": float(pooled.mean()),
                "std": float(pooled.std()),
            }
        rows.setdefault(challenge, row)
    return rows


def cumulative(errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Error levels (mm) and the percentage of vertices below each, as the public code's curve."""
    counts, edges = np.histogram(errors, bins=100_000)
    return edges[1:], 100 * np.cumsum(counts) / len(errors)


def table(summary: Mapping[str, Mapping[str, float]]) -> str:
    """The rows of `summarize` as markdown."""
    columns = ("photos", "missing", "median", "mean", "std")
    rows = [[subset, *(row.get(c) for c in columns)] for subset, row in summary.items()]
    return report.table(["NoW, mm", *columns], rows)


def write(result: Result, out: Path, *, label: str, yaws: Mapping[str, float] | None) -> str:
    """Table, numbers, distances and plots in a folder; returns the table."""
    from focus_jax.evaluation import plots

    out.mkdir(parents=True, exist_ok=True)
    summary = summarize(result)
    text = table(summary)
    write_whole(out / "now.md", text + "\n")
    numbers = {"summary": summary, "missing": result.missing}
    (out / "now.json").write_text(json.dumps(numbers, indent=1) + "\n")
    write_npz(out / "distances.npz", **result.errors)
    pooled = np.concatenate(list(result.errors.values()))
    plots.save(plots.cumulative_curves({label: cumulative(pooled)}), out / "cumulative")
    if yaws:
        known = [n for n in result.errors if n in yaws]
        bars = plots.pose_bars(
            {n: result.errors[n] for n in known},
            {n: yaws[n] for n in known},
            {n: n.split("/")[1] for n in known},
        )
        plots.save(bars, out / "poses")
    return text
