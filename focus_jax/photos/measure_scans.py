"""A model's reconstructions of pictures of scans, beside faces that saw no picture: tables in mm.

Read `measure`, then `_predict`, which lists all that is compared.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import Delaunay

from focus_jax.data.detect import Source
from focus_jax.data.faces import Photo
from focus_jax.data.mesh_landmarks import IBUG
from focus_jax.evaluation import scans
from focus_jax.evaluation.nearest import own_nearest
from focus_jax.evaluation.pseudo_scans import Drawn
from focus_jax.evaluation.report import table
from focus_jax.evaluation.scan_pictures import (
    VIEWS,
    Scan,
    light_of,
    outer_vertices,
    picture,
    pose_of,
)
from focus_jax.face_models import load_face_model
from focus_jax.photos.first_faces import Seen, first_faces
from focus_jax.photos.now_predict import seven_landmarks
from focus_jax.photos.trained import UNTRAINED_STEPS, Model, load_model
from focus_jax.types import REGIONS, FaceModel

VERTICES = 10_000  # of a scan that are measured, at most
SHOWN = ("eyes", "brows", "nose", "lips", "cheeks", "forehead", "chin", "skin")


class Mesh(NamedTuple):
    """What somebody says a face's shape is."""

    vertices: Float[np.ndarray, "v 3"]
    triangles: Int[np.ndarray, "t 3"]
    landmarks: Float[np.ndarray, "7 3"]


class Target(NamedTuple):
    """A picture of a scan, and what its reconstruction is measured against."""

    name: str  # of the picture
    scan: str
    points: Float[np.ndarray, "n 3"]
    landmarks: Float[np.ndarray, "7 3"]
    pixels: np.ndarray


Predictions = dict[str, dict[str, Mesh]]  # by what, then by picture


def measure(
    model: Model,
    source: Source,
    real: Sequence[Scan],
    drawn: Sequence[Drawn],
    *,
    refine: int = 60,
    fewer: int = 30,
    ict: Path | None = None,
    batch_size: int = 8,
) -> str:
    """Markdown: each scan from all VIEWS, the first `fewer` people drawn, all people drawn.

    The slow ones, refined by `refine` steps or fitted without a model, are of the scans and of the
    fewer. `ict` names ICT-FaceKit, whose mean face is compared, too. ValueError where no picture
    shows a face.
    """
    of_real = [target for scan in real for target in _pictured(scan)]
    of_drawn = [
        _target(d.scan.name, d.scan, outer_vertices(d.scan), d.pose, d.light) for d in drawn
    ]
    targets, slow = of_real + of_drawn, of_real + of_drawn[:fewer]
    options = {"refine": refine, "ict": ict, "batch_size": batch_size}
    predictions, lost = _predict(model, source, targets, slow, **options)
    quick = {k: of for k, of in predictions.items() if len(of) > len(slow)}
    parts = [f"{len(targets)} pictures; {len(lost)} without a face{'; '.join(['', *lost])}."]
    if real:
        parts += _tables(f"{len(real)} scan, {len(VIEWS)} pictures each", of_real, predictions)
    if drawn and len(slow) < len(targets):
        parts += _tables(f"the first {fewer} people drawn", of_drawn[:fewer], predictions, True)
    if drawn:
        known = predictions if len(slow) == len(targets) else quick
        parts += _tables(f"{len(drawn)} people drawn", of_drawn, known, True)
    return "\n\n".join(parts) + "\n"


def _pictured(scan: Scan) -> list[Target]:
    points = outer_vertices(scan)
    return [
        _target(f"{scan.name}, yaw {yaw}, pitch {pitch}", scan, points, pose_of(yaw, pitch), None)
        for yaw, pitch in VIEWS
    ]


def _target(
    name: str, scan: Scan, points: np.ndarray, pose: np.ndarray, light: np.ndarray | None
) -> Target:
    pixels = picture(scan, pose, light_of() if light is None else light)
    thinned = points[:: max(1, -(-len(points) // VERTICES))]
    return Target(name, scan.name, thinned, scan.landmarks, pixels)


# --- what is compared ----------------------------------------------------------------------------


def _predict(
    model: Model,
    source: Source,
    targets: Sequence[Target],
    slow: Sequence[Target],
    *,
    refine: int,
    ict: Path | None,
    batch_size: int,
) -> tuple[Predictions, list[str]]:
    """Meshes of all pictures, and the pictures in which no face was found."""

    def fit(by: Model, of: Sequence[Target], steps: int) -> tuple[dict[str, Seen], list[str]]:
        photos = [Photo(Path(t.name), t.name, t.pixels) for t in of]
        return first_faces(photos, by, source, steps=steps, batch_size=batch_size)

    found: Predictions = {"built-in mean face": _same(load_face_model("builtin"), targets)}
    if ict is not None:
        found["ICT mean face"] = _same(load_face_model(ict), targets)
    seen, lost = fit(model, targets, 0)
    if not seen:
        raise ValueError(f"no face is found in any of the {len(targets)} pictures")
    fitted = {name: _mesh(one, model.face_model) for name, one in seen.items()}
    found |= {"constant: mean of the fits": _constant(fitted, targets, model.face_model)}
    found |= {"MediaPipe's mesh": _detected(seen), "fitted, 0 steps": fitted}
    if refine:
        refined, _ = fit(model, slow, refine)
        label = f"fitted, {refine} steps"
        found[label] = {k: _mesh(one, model.face_model) for k, one in refined.items()}
    for name, face_model in {"no model": None, "no model, ICT": ict}.items():
        if name == "no model" or ict is not None:
            other = load_model("none", None if face_model is None else str(face_model))
            without, _ = fit(other, slow, UNTRAINED_STEPS)
            found[name] = {k: _mesh(one, other.face_model) for k, one in without.items()}
    return {label: of for label, of in found.items() if of}, lost


def _same(face_model: FaceModel, targets: Sequence[Target]) -> dict[str, Mesh]:
    """The mean face, whatever the picture."""
    mean = _shape(np.asarray(face_model.shape_mean, np.float64), face_model)
    return dict.fromkeys((t.name for t in targets), mean)


def _mesh(seen: Seen, face_model: FaceModel) -> Mesh:
    return _shape(np.asarray(seen.neutral, np.float64), face_model)


def _shape(vertices: np.ndarray, face_model: FaceModel) -> Mesh:
    landmarks = np.asarray(seven_landmarks(face_model, vertices), np.float64)
    return Mesh(vertices, np.asarray(face_model.triangles), landmarks)


def _constant(
    fitted: Mapping[str, Mesh], targets: Sequence[Target], face_model: FaceModel
) -> dict[str, Mesh]:
    """The mean of the reconstructions of all other scans, as if nobody were told apart."""
    of = {t.name: t.scan for t in targets}
    total, count = {}, {}
    for name, mesh in fitted.items():
        total[of[name]] = total.get(of[name], 0) + mesh.vertices
        count[of[name]] = count.get(of[name], 0) + 1
    means = {scan: total[scan] / count[scan] for scan in total}  # a scan counts once
    if len(means) < 2:
        return {}
    everything = sum(means.values())
    return {
        name: _shape((everything - means[of[name]]) / (len(means) - 1), face_model)
        for name in fitted
    }


def _detected(seen: Mapping[str, Seen]) -> dict[str, Mesh]:
    """The detector's own mesh, where it has one, without the irises.

    Its triangles are those of Delaunay in the most frontal picture.
    """
    meshes = {name: one.mesh[:468] for name, one in seen.items() if one.mesh is not None}
    if not meshes:
        return {}

    def turned(mesh: np.ndarray) -> float:
        sides = np.linalg.norm(mesh[[234, 454], :2] - mesh[1, :2], axis=1)
        return abs(np.log(sides[0] / sides[1]))

    # y up, and z towards the viewer: a rotation, so that left stays left.
    upright = {name: mesh * np.array([1.0, -1.0, -1.0]) for name, mesh in meshes.items()}
    front = upright[min(meshes, key=lambda name: turned(meshes[name]))]
    triangles = Delaunay(front[:, :2]).simplices
    a, b, c = (front[triangles[:, k], :2] for k in range(3))
    clockwise = np.linalg.det(np.stack([b - a, c - a], axis=1)) < 0
    triangles = np.where(clockwise[:, None], triangles[:, ::-1], triangles)
    first, second, share = (np.array(column) for column in zip(*IBUG, strict=True))
    seven = list(scans.SEVEN)

    def landmarks(mesh: np.ndarray) -> np.ndarray:
        near, far = mesh[first[seven]], mesh[second[seven]]
        return near + share[seven, None] * (far - near)

    return {name: Mesh(mesh, triangles, landmarks(mesh)) for name, mesh in upright.items()}


# --- tables --------------------------------------------------------------------------------------


def _tables(
    title: str, targets: Sequence[Target], predictions: Predictions, own: bool = False
) -> list[str]:
    builtin = load_face_model("builtin")
    mean = _shape(np.asarray(builtin.shape_mean, np.float64), builtin)
    regions = {t.scan: builtin.region[_compare(t, mean).vertex] for t in _once(targets)}
    header = [title, "pictures", "median mm", "mean mm", "deviation", "enlarged by", "of which"]
    header += ["own scan nearest", "mean rank"] if own else []
    rows, signed = [], []
    for label, meshes in predictions.items():
        kept = [t for t in targets if t.name in meshes]
        if not kept:
            continue
        found = [_compare(t, meshes[t.name]) for t in kept]
        rows.append([label, len(kept), *_pooled(found)])
        if own:
            rows[-1] += own_nearest(
                [(t.points, t.landmarks) for t in kept], [meshes[t.name] for t in kept]
            )
        signed.append([label, *_by_region(found, [regions[t.scan] for t in kept])])
    names = [f"{name}, mm" for name in SHOWN]
    return [table(header, rows), table([f"{title}: scan outside the mesh", *names], signed)]


def _once(targets: Sequence[Target]) -> list[Target]:
    return list({t.scan: t for t in targets}.values())


def _compare(target: Target, mesh: Mesh) -> scans.Comparison:
    return scans.compare(target.points, target.landmarks, *mesh, name=target.name)


def _pooled(found: Sequence[scans.Comparison]) -> list:
    distance = np.concatenate([one.distance for one in found])
    scale = np.array([one.scale for one in found])
    return [
        float(np.median(distance)),
        float(distance.mean()),
        float(distance.std()),
        float(scale.mean()),
        f"± {scale.std():.3f}",
    ]


def _by_region(found: Sequence[scans.Comparison], regions: Sequence[np.ndarray]) -> list:
    signed, region = np.concatenate([one.signed for one in found]), np.concatenate(regions)
    inside = [signed[region == REGIONS.index(name)] for name in SHOWN]
    return [float(values.mean()) if len(values) else None for values in inside]
