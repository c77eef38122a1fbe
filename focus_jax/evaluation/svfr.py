"""Single-view face reconstruction as NeRSemble's benchmark has it: posed and neutral meshes.

A prediction is `PERSON/KEY/mesh_TASK.ply`, KEY being SEQUENCE_TIMESTEP_SERIAL and TASK posed or
neutral, with NoW's seven landmarks in `landmarks_TASK.npy`; a submission is a zip of such a tree.
The truth is the same tree, its meshes point clouds in millimetres, with normals or without. The
benchmark's own are held out, and so is its code: the alignment here is NoW's.
"""

from pathlib import Path

import numpy as np
import trimesh
from scipy.spatial import KDTree
from tqdm import tqdm

from focus_jax.evaluation import report
from focus_jax.evaluation.now import read_landmarks, read_mesh
from focus_jax.evaluation.scans import compare

TASKS = ("posed", "neutral")
NEAR = 2.5  # mm, of the recall
SCORES = ("distance", "absolute", "normals", "recall")
HEADER = ("images", "missing", "L2 mm", "L1 mm", "normals", f"recall at {NEAR} mm")


def evaluate(
    truth: Path, predictions: Path, *, unit: float | None = None, progress: bool = False
) -> dict[str, dict[str, dict[str, float] | None]]:
    """Scores by task and `PERSON/KEY`; None where the prediction is missing.

    With `unit`, the millimetres in the predictions' unit, their size is taken as it is; otherwise
    they are scaled to fit. ValueError for files that cannot be used, and when there are none.
    """
    found: dict[str, dict[str, dict[str, float] | None]] = {}
    for task in TASKS:
        clouds = sorted(truth.glob(f"*/*/mesh_{task}.ply"))
        for cloud in tqdm(clouds, desc=task, unit="image", disable=not progress):
            name = cloud.parent.relative_to(truth).as_posix()
            mesh = predictions / name / cloud.name
            whole = mesh.is_file() and mesh.with_name(f"landmarks_{task}.npy").is_file()
            scores = _score(cloud, mesh, task, unit) if whole else None
            found.setdefault(task, {})[name] = scores
    if not found:
        raise ValueError(f"{truth} holds no PERSON/KEY/mesh_posed.ply or mesh_neutral.ply")
    if not any(scores for rows in found.values() for scores in rows.values()):
        raise ValueError(f"{predictions} holds no prediction for any of the meshes of {truth}")
    return found


def _score(cloud: Path, mesh: Path, task: str, unit: float | None) -> dict[str, float]:
    points, normals = read_cloud(cloud)
    marks = (read_landmarks(path.with_name(f"landmarks_{task}.npy")) for path in (cloud, mesh))
    on_cloud, on_mesh = marks
    return score(points, normals, on_cloud, *read_mesh(mesh), on_mesh, unit=unit, name=str(mesh))


def read_cloud(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Points `[n 3]` of a .ply, and their normals where it has such."""
    try:
        loaded = trimesh.load(path, process=False)
        rows = loaded.metadata["_ply_raw"]["vertex"]["data"]
        points = np.stack([rows[axis] for axis in "xyz"], axis=1).astype(np.float64)
    except Exception as problem:  # whatever a parser makes of a broken file
        raise ValueError(f"{path} is not a point cloud that can be read: {problem}") from None
    if not len(points) or not np.isfinite(points).all():
        raise ValueError(f"{path}: a point cloud needs finite points")
    if not {"nx", "ny", "nz"} <= set(rows.dtype.names):
        return points, None
    normals = np.stack([rows[f"n{axis}"] for axis in "xyz"], axis=1).astype(np.float64)
    return points, normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def score(
    points: np.ndarray,
    normals: np.ndarray | None,
    landmarks: np.ndarray,
    vertices: np.ndarray,
    triangles: np.ndarray,
    own: np.ndarray,
    *,
    unit: float | None = None,
    name: str = "prediction",
) -> dict[str, float]:
    """Of the cloud's points near the face `SCORES`: mean distance to the mesh and mean sum of its
    absolute components, mean cosine between normals (nan without), share of points within `NEAR`.

    `landmarks` are the cloud's seven, `own` the mesh's.
    """
    found = compare(points, landmarks, vertices, triangles, own, unit=unit, name=name)
    alike = np.nan
    if normals is not None:
        _, rows = KDTree(points).query(found.points)
        alike = (normals[rows] * found.normal).sum(axis=1).mean()
    absolute, near = np.abs(found.away).sum(axis=1).mean(), (found.distance < NEAR).mean()
    values = (found.distance.mean(), absolute, alike, near)
    return dict(zip(SCORES, map(float, values), strict=True))


def table(found: dict[str, dict[str, dict[str, float] | None]]) -> str:
    """Means over the images of each task as markdown."""
    rows = []
    for task, by_image in found.items():
        scores = [one for one in by_image.values() if one is not None]
        means = [float(np.mean([one[key] for one in scores])) if scores else None for key in SCORES]
        rows.append([task, len(scores), len(by_image) - len(scores), *means])
    return report.table(["SVFR", *HEADER], rows)
