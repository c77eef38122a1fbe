"""The REALY benchmark (Chai et al. 2022): predictions against four regions of each scan.

DATA is laid out as its public code has it: `REALY_HIFI3D_keypoints/ID.obj` (85 points),
`REALY_scan_region/ID/REGION.obj`, `metrical_scale.txt` with a line a scan, and for each topology
NAME.obj and NAME.txt, the 85 points on it: JSON, of each a triangle and the weights of its first
two corners. A prediction is `ID.obj` or `ID_VIEW.obj`, of the template's topology. Each region is
aligned for itself; then the scan's region is deformed onto the prediction to find out which point
of it each of its vertices is, and the error is the mean distance to that one.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import trimesh
from tqdm import tqdm

from focus_jax.evaluation import nonrigid, report
from focus_jax.evaluation.nonrigid import Stage
from focus_jax.evaluation.now import read_mesh, read_obj
from focus_jax.evaluation.scans import SEVEN, Surface
from focus_jax.face_models.fitting import Similarity

REGIONS = ("nose", "mouth", "forehead", "cheek")
POINTS = 85
_EYES, _MOUTH, _NOSE = [*range(36, 48)], [*range(48, 61), 64], [*range(27, 36)]
# Points that count in a region's alignment, and those that hold its deformation.
ALIGNING = {
    "nose": [*_NOSE, 70, 71],
    "mouth": _MOUTH,
    "forehead": [*_EYES, *range(17, 27)],
    "cheek": [*_MOUTH, 76, 77, 36, 41, 40, 39, 42, 47, 46, 45, 7, 8, 9],
}
HOLDING = {"nose": _NOSE, "mouth": _MOUTH, "forehead": ALIGNING["forehead"]}
SHARE = {"cheek": 0.25}  # of a region's points beside its vertices; elsewhere all weigh as much
ROUNDS, SETTLED = 100, 1e-6  # of a region's alignment
_SOFTER = [50 * np.exp(-0.5 * k) for k in range(3)]
FREE = tuple(Stage(stiffness, 0.5**k) for k, stiffness in enumerate(_SOFTER))
HELD = (
    Stage(150.0, 2.0, most=1, nearest=False, axes=(2.0, 2.0, 3.0, 2.0), place=50.0),
    *(s._replace(most=11, place=5.0, fading=0.9) for s in FREE),
)


class Template(NamedTuple):
    """The topology of the predictions, and the 85 points on it."""

    triangles: np.ndarray  # [t 3]
    corners: np.ndarray  # [85 3] vertices
    weights: np.ndarray  # [85 3]

    def points(self, vertices: np.ndarray) -> np.ndarray:
        """The points `[85 3]` of a mesh `[v 3]`."""
        return (vertices[self.corners] * self.weights[..., None]).sum(1)


class Scan(NamedTuple):
    """What is known of one person; lengths in a unit of the scan's own."""

    points: np.ndarray  # [85 3]
    regions: dict[str, trimesh.Trimesh]
    scale: float  # millimetres in the unit


# --- files -----------------------------------------------------------------------------------


def read_template(data: Path, name: str) -> Template:
    """NAME.obj and NAME.txt; ValueError where they are not, or do not fit."""
    mesh, text = data / f"{name}.obj", data / f"{name}.txt"
    for path in (mesh, text):
        if not path.is_file():
            raise ValueError(f"there is no {path}; the template is a .obj with a .txt of points")
    _, triangles = read_mesh(mesh)
    rows = np.array(json.loads(text.read_text()), np.float64)
    if rows.shape != (POINTS, 3) or not 0 <= rows[:, 0].min() <= rows[:, 0].max() < len(triangles):
        raise ValueError(f"{text}: {POINTS} rows of a triangle of {mesh.name} and two weights")
    weights = np.concatenate([rows[:, 1:], 1 - rows[:, 1:].sum(1, keepdims=True)], axis=1)
    return Template(triangles, triangles[rows[:, 0].astype(int)], weights)


def read_scan(data: Path, number: int) -> Scan:
    """The scan of that number, which is from 1. ValueError for files that are not there."""
    scales = np.loadtxt(data / "metrical_scale.txt", ndmin=1)
    folder = data / "REALY_scan_region" / str(number)
    points = data / "REALY_HIFI3D_keypoints" / f"{number}.obj"
    if not 1 <= number <= len(scales) or not folder.is_dir() or not points.is_file():
        raise ValueError(f"{data} has no scan {number}")
    found, _ = read_obj(points)
    if found.shape != (POINTS, 3):
        raise ValueError(f"{points}: {POINTS} points are needed, not {len(found)}")
    regions = {}
    for region in REGIONS:
        vertices, triangles = read_mesh(folder / f"{region}.obj")
        regions[region] = trimesh.Trimesh(vertices, triangles, process=True)  # seams closed
    return Scan(found, regions, float(scales[number - 1]))


# --- the protocol ----------------------------------------------------------------------------


def evaluate(data: Path, predictions: Path, template: str, *, progress: bool = False) -> dict:
    """Errors `[4]` in mm of each prediction, by its name, in the order of `REGIONS`. ValueError."""
    topology = read_template(data, template)
    paths = [path for path in predictions.glob("*.obj") if path.stem.split("_")[0].isdigit()]
    if not paths:
        raise ValueError(f"{predictions} holds no prediction; expected ID.obj or ID_VIEW.obj")
    errors = {}
    for path in tqdm(sorted(paths, key=_order), desc="REALY", disable=not progress):
        vertices, triangles = read_mesh(path)
        if not np.array_equal(triangles, topology.triangles):
            raise ValueError(f"{path} has not the triangles of {template}.obj, in their order")
        errors[path.stem] = region_errors(
            vertices, topology, read_scan(data, int(path.stem.split("_")[0]))
        )
    return errors


def _order(path: Path) -> tuple[int, str]:
    return int(path.stem.split("_")[0]), path.stem


def region_errors(vertices: np.ndarray, template: Template, scan: Scan) -> np.ndarray:
    """Errors `[4]` in mm of a prediction `[v 3]`."""
    start = _by_points(template.points(vertices)[list(SEVEN)], scan.points[list(SEVEN)])
    surface = Surface(start(vertices), template.triangles)
    points = template.points(surface.vertices)
    return scan.scale * np.array([_error(surface, points, scan, region) for region in REGIONS])


def _by_points(source: np.ndarray, target: np.ndarray) -> Similarity:
    """As the public code's: turned by least squares, its scale by sums of absolute lengths."""
    turned = _rigid(source, target, np.ones(len(source)))
    a, b = source - source.mean(0), target - target.mean(0)
    scale = float(np.abs(b).sum() / np.abs(a @ turned.rotation).sum())
    return Similarity(scale, turned.rotation, target.mean(0) - scale * source.mean(0) @ turned[1])


def _rigid(source: np.ndarray, target: np.ndarray, weights: np.ndarray) -> Similarity:
    """The motion that brings points nearest to their targets, without scale."""
    shares = weights[:, None] / weights.sum()
    middle, aim = (source * shares).sum(0), (target * shares).sum(0)
    u, _, vt = np.linalg.svd((shares * (source - middle)).T @ (target - aim))
    rotation = (u * [1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    return Similarity(1.0, rotation, aim - middle @ rotation)


def _aligned(surface: Surface, points: np.ndarray, scan: Scan, region: str) -> Similarity:
    """The rigid motion of a prediction to one region: its vertices to the nearest places of the
    surface, and its points to the prediction's, together as heavy as they are."""
    near = np.asarray(scan.regions[region].vertices)
    chosen = ALIGNING[region]
    times = int(SHARE.get(region, 1.0) * len(near) / len(chosen))
    target = np.concatenate([near, scan.points[chosen]])
    weights = np.concatenate([np.ones(len(near)), np.full(len(chosen), float(times))])
    motion, before = Similarity(1.0, np.eye(3), np.zeros(3)), 0.0
    for _ in range(ROUNDS):
        closest, _ = surface.closest(motion.back(near))
        found = _rigid(np.concatenate([closest, points[chosen]]), target, weights)
        moved = found(np.concatenate([closest, points[chosen]]))
        error = float((weights * ((moved - target) ** 2).sum(1)).sum() / weights.sum())
        if abs(error - before) < SETTLED:
            break
        motion, before = found, error
    return motion


def _error(surface: Surface, points: np.ndarray, scan: Scan, region: str) -> float:
    """The mean distance of a region's vertices to what they are on the prediction."""
    motion = _aligned(surface, points, scan, region)
    moved = Surface(motion(surface.vertices), surface.triangles)
    mesh = scan.regions[region]
    vertices, triangles = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    closest, _ = moved.closest(vertices)
    if region in HOLDING:
        chosen = HOLDING[region]
        away = np.linalg.norm(vertices[:, None] - scan.points[chosen], axis=-1)
        held = away.argmin(0), motion(points[chosen])
        deformed = nonrigid.deform(vertices, triangles, closest, HELD, *held)
    else:
        deformed = nonrigid.deform(vertices, triangles, closest, FREE)
    found, _ = moved.closest(deformed)
    return float(np.linalg.norm(found - vertices, axis=1).mean())


def table(errors: dict[str, np.ndarray]) -> str:
    """Mean, median and deviation of each region as markdown; all is the mean of their means."""
    values = np.stack(list(errors.values()))
    spread = values.std(0, ddof=1) if len(values) > 1 else np.full(len(REGIONS), np.nan)
    rows = [
        [region, *numbers]
        for region, *numbers in zip(
            REGIONS, values.mean(0), np.median(values, axis=0), spread, strict=True
        )
    ]
    rows.append(["all", float(values.mean()), None, None])
    return report.table([f"REALY, mm, {len(values)} predictions", "mean", "median", "std"], rows)
