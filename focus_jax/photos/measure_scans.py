"""A model's reconstructions of pictures of scans, beside faces that saw no picture: tables in mm.

Read `measure`, then what is compared: `_unseeing`, `_quick`, `_slow`.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
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
from focus_jax.photos import results
from focus_jax.photos.first_faces import Seen, first_faces
from focus_jax.photos.now_predict import seven_landmarks
from focus_jax.photos.same_person import View, process_people
from focus_jax.photos.trained import UNTRAINED_STEPS, Model, load_model
from focus_jax.types import REGIONS, FaceModel

VERTICES = 2500  # of a scan that are measured, at most
ALIKE = 40  # scans, the first, among which the nearest is sought
SIDES = (0, 20, -20, 40, -40)  # degrees of yaw, of heads that are seen from several sides
CONSTANT = ("built-in mean face", "ICT mean face", "constant: mean of the fits")
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
    fewer: int = 16,
    ict: Path | None = None,
    batch_size: int = 8,
) -> str:
    """Markdown: each scan from all VIEWS, the first `fewer` people drawn, all people drawn.

    Then, of a trained model, the scans and the fewer from SIDES, each picture alone and all of a
    head as one person's photos. The slow ones, refined by `refine` steps or fitted without a model,
    are of the scans and of the fewer. `ict` names ICT-FaceKit, whose mean face is compared, too.
    ValueError where no picture shows a face.
    """
    of_real = [target for scan in real for target in _pictured(scan)]
    of_drawn = [target_of(one) for one in drawn]
    targets, slow = of_real + of_drawn, of_real + of_drawn[:fewer]
    fit = functools.partial(fit_first, source=source, batch_size=batch_size)
    seen, lost = fit(model, targets, 0)
    if not seen:
        raise ValueError(f"no face is found in any of the {len(targets)} pictures")
    predictions = _unseeing(targets, ict) | _quick(model, targets, seen)
    predictions |= _slow(model, fit, slow, of_real, refine, ict)
    parts = [f"{len(targets)} pictures; {len(lost)} without a face{'; '.join(['', *lost])}."]
    for title, shown, own in (
        (f"{len(real)} scan, {len(VIEWS)} pictures of each", of_real, False),
        (f"the first {fewer} of the people drawn", of_drawn[:fewer], True),
        (f"{len(drawn)} people drawn", of_drawn if len(of_drawn) > fewer else [], True),
    ):
        if shown:
            parts += tables(title, shown, predictions, own=own)
    if model.networks is not None:
        heads, several = _from_sides(model, source, real, drawn[:fewer], batch_size)
        title = f"{len(heads)} heads from {len(SIDES)} sides"
        parts += tables(title, heads, several, own=False)[:1]
    return "\n\n".join(parts) + "\n"


def _pictured(scan: Scan) -> list[Target]:
    points = outer_vertices(scan)
    return [
        _target(f"{scan.name}, yaw {yaw}, pitch {pitch}", scan, points, pose_of(yaw, pitch), None)
        for yaw, pitch in VIEWS
    ]


def target_of(drawn: Drawn) -> Target:
    """The picture of a person drawn, and the person."""
    scan = drawn.scan
    return _target(scan.name, scan, outer_vertices(scan), drawn.pose, drawn.light)


def _target(
    name: str, scan: Scan, points: np.ndarray, pose: np.ndarray, light: np.ndarray | None
) -> Target:
    pixels = picture(scan, pose, light_of() if light is None else light)
    thinned = points[:: max(1, -(-len(points) // VERTICES))]
    return Target(name, scan.name, thinned, scan.landmarks, pixels)


# --- what is compared ----------------------------------------------------------------------------


def fit_first(
    model: Model, targets: Sequence[Target], steps: int, *, source: Source, batch_size: int
) -> tuple[dict[str, Seen], list[str]]:
    photos = [Photo(Path(t.name), t.name, t.pixels) for t in targets]
    return first_faces(photos, model, source, steps=steps, batch_size=batch_size)


def _unseeing(targets: Sequence[Target], ict: Path | None) -> Predictions:
    """Faces that are the same whatever the picture."""
    found = {CONSTANT[0]: _same(load_face_model("builtin"), targets)}
    return found if ict is None else found | {CONSTANT[1]: _same(load_face_model(ict), targets)}


def _quick(model: Model, targets: Sequence[Target], seen: dict[str, Seen]) -> Predictions:
    fitted = {name: _mesh(one, model.face_model) for name, one in seen.items()}
    found = {CONSTANT[2]: _constant(fitted, targets, model.face_model)}
    found |= {"MediaPipe's mesh": _detected(seen), "fitted, 0 steps": fitted}
    return {label: of for label, of in found.items() if of}


def _from_sides(
    model: Model, source: Source, real: Sequence[Scan], drawn: Sequence[Drawn], batch_size: int
) -> tuple[list[Target], Predictions]:
    """Heads, a target each, and what is made of each side's picture alone, and of all as one."""
    lit = [(scan, None) for scan in real] + [(d.scan, d.light) for d in drawn]
    photos: list[Photo] = []
    heads: list[Target] = []
    for scan, light in lit:
        points = outer_vertices(scan)
        for yaw in SIDES:
            target = _target(scan.name, scan, points, pose_of(yaw, 0), light)
            # A folder is a person.
            photos.append(Photo(Path(f"{yaw}"), f"{scan.name}/{yaw}", target.pixels))
        heads.append(target)
    alone, _ = first_faces(photos, model, source, batch_size=batch_size)
    found: Predictions = {
        f"from yaw {yaw} alone": {
            head.name: _mesh(alone[f"{head.name}/{yaw}"], model.face_model)
            for head in heads
            if f"{head.name}/{yaw}" in alone
        }
        for yaw in SIDES
    }
    together: dict[str, Mesh] = {}

    def person(name: str, views: list[View]) -> None:
        neutral = results.shapes(views[0].found, model)[1]
        together[name] = mesh_of(np.asarray(neutral, np.float64), model.face_model)

    options = {"batch_size": batch_size, "progress": False, "person": person}
    process_people(photos, model, source, lambda *_: None, **options)
    return heads, found | {"all as one": together}


def _slow(
    model: Model,
    fit: Callable[[Model, Sequence[Target], int], tuple[dict[str, Seen], list[str]]],
    targets: Sequence[Target],
    real: Sequence[Target],
    refine: int,
    ict: Path | None,
) -> Predictions:
    """Refined, and fitted without networks; by ICT-FaceKit only the real ones."""
    jobs = [(f"fitted, {refine} steps", lambda: model, targets, refine)] if refine else []
    jobs.append(("no model", lambda: load_model("none"), targets, UNTRAINED_STEPS))
    if ict is not None:
        jobs.append(("no model, ICT", lambda: load_model("none", str(ict)), real, UNTRAINED_STEPS))
    found: Predictions = {}
    for label, load, of, steps in jobs:
        if of:
            by = load()
            seen, _ = fit(by, of, steps)
            found[label] = {name: _mesh(one, by.face_model) for name, one in seen.items()}
    return found


def _same(face_model: FaceModel, targets: Sequence[Target]) -> dict[str, Mesh]:
    """The mean face, whatever the picture."""
    mean = mesh_of(np.asarray(face_model.shape_mean, np.float64), face_model)
    return dict.fromkeys((t.name for t in targets), mean)


def _mesh(seen: Seen, face_model: FaceModel) -> Mesh:
    return mesh_of(np.asarray(seen.neutral, np.float64), face_model)


def mesh_of(vertices: np.ndarray, face_model: FaceModel) -> Mesh:
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
        name: mesh_of((everything - means[of[name]]) / (len(means) - 1), face_model)
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


def tables(
    title: str, targets: Sequence[Target], predictions: Predictions, *, own: bool
) -> list[str]:
    """Distances, and where the scan lies outside (+) or inside (-) the mesh, of each prediction.

    Left out is what was not predicted of all, or nearly all, of the targets. With `own` also how
    often a mesh is nearest to its own scan.
    """
    mean = _same(load_face_model("builtin"), targets)
    builtin = np.asarray(load_face_model("builtin").region)
    regions = {name: builtin[c.vertex] for name, c in _compare(targets, mean).items()}
    header = [title, "pictures", "median mm", "mean mm", "deviation", "enlarged by", "of which"]
    if own:
        header += [f"own scan nearest of {min(ALIKE, len(targets))}", "mean rank"]
    rows, signed = [], []
    for label, meshes in predictions.items():
        found = _compare(targets, meshes)
        if len(found) < 0.9 * len(targets):
            continue
        rows.append([label, len(found), *_pooled(list(found.values()))])
        if own:
            rows[-1] += [None, None] if label in CONSTANT else _own(targets, meshes)
        signed.append([label, *_by_region(found, regions)])
    names = [f"{name}, mm" for name in SHOWN]
    return [table(header, rows), table([f"{title}: scan outside the mesh", *names], signed)]


def _compare(targets: Sequence[Target], meshes: Mapping[str, Mesh]) -> dict[str, scans.Comparison]:
    """Of each picture that has a mesh; the same mesh on the same scan is compared once."""
    known: dict[tuple[str, int], scans.Comparison] = {}
    found = {}
    for target in targets:
        if (mesh := meshes.get(target.name)) is None:
            continue
        key = target.scan, id(mesh)
        if key not in known:
            known[key] = scans.compare(target.points, target.landmarks, *mesh, name=target.name)
        found[target.name] = known[key]
    return found


def _own(targets: Sequence[Target], meshes: Mapping[str, Mesh]) -> tuple[float, float]:
    kept = [t for t in targets if t.name in meshes][:ALIKE]
    return own_nearest([(t.points, t.landmarks) for t in kept], [meshes[t.name] for t in kept])


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


def _by_region(
    found: Mapping[str, scans.Comparison], regions: Mapping[str, np.ndarray]
) -> list[float | None]:
    signed = np.concatenate([one.signed for one in found.values()])
    region = np.concatenate([regions[name] for name in found])
    inside = [signed[region == REGIONS.index(name)] for name in SHOWN]
    return [float(values.mean()) if len(values) else None for values in inside]
