"""How well face models describe people: distances to scans, and pictures of what they can draw.

    python -m experiments.face_model_report NAME=MODEL ... --ict ICT.npz --scan SCAN.glb --out DIR

MODEL is what `load_face_model` reads. For each, on a scan of a real head (the "Infinite" scan of
Lee Perry-Smith, whose seven landmarks are below) and on people drawn from ICT-FaceKit's modes: the
distance of the mean face, scaled and laid over the scan as the NoW benchmark does; and that of the
face fitted in its identity modes, by closest points, where a squared coefficient is worth LAMBDA of
mean squared distance. DIR gets report.md, and for each model faces drawn at random and the first
modes of each basis.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import trimesh
from tqdm import tqdm

from focus_jax.evaluation import scans
from focus_jax.evaluation.report import table
from focus_jax.face_models import fitting, load_face_model
from focus_jax.rendering import camera, morphable, pictures
from focus_jax.rendering.rasterize import rasterize
from focus_jax.rendering.render import render_mesh
from focus_jax.types import FaceModel

LAMBDA = 0.01  # mm^2
ROUNDS = 12
RADIUS = 1.1  # of the crop, in face sizes: what all models cover
PEOPLE = 100
THINNING = 6  # every sixth vertex of a drawn person is enough
SEED = 7
ALL = 10_000  # modes: as many as there are
ICT_FACE = 9409  # vertices of ICT's mesh that are face and neck
# Vertices of the real scan that show the seven landmarks of `evaluation.scans`, placed by eye.
LANDMARKS = (5634, 5523, 826, 484, 7131, 7388, 2714)
OUTER_EYES = 90.0  # mm, of the real scan, whose unit is unknown
VIEWS = (-0.9, 0.0, 0.9)  # radians of yaw from which a vertex may be seen
PIXELS, BACK = 768, 1200.0  # of these views, and how much farther off than in training (mm)
KINDS = ("identity", "expression", "albedo")
SHOWN, FACES, DEVIATIONS = 8, 24, 2.0
MINIMAL_LIGHT = ((0, 3.0), (1, -0.3), (2, -1.0), (3, 0.5))  # coefficients of each colour


class Scan(NamedTuple):
    points: np.ndarray  # [n 3] in mm
    landmarks: np.ndarray  # [7 3]


# --- scans ---------------------------------------------------------------------------------------


def real_scan(path: Path) -> Scan:
    """The scan in millimetres, cropped to the face."""
    mesh = trimesh.load_mesh(path, process=False)
    mesh = next(iter(mesh.geometry.values())) if isinstance(mesh, trimesh.Scene) else mesh
    points = np.asarray(mesh.vertices, np.float64)
    landmarks = points[list(LANDMARKS)]
    unit = OUTER_EYES / np.linalg.norm(landmarks[0] - landmarks[3])
    outside = points[visible(unit * points, np.asarray(mesh.faces))]
    return Scan(scans.crop(unit * outside, unit * landmarks, radius=RADIUS), unit * landmarks)


def drawn_scans(path: Path, count: int, seed: int) -> list[Scan]:
    """People of ICT-FaceKit's modes, all of them, in millimetres, cropped to the face."""
    with np.load(path) as file:
        mean, basis = 10.0 * file["mean"], 10.0 * file["id_basis"].astype(np.float32)
        face = file["orig_index"] < ICT_FACE
        triangles = file["triangles"][face[file["triangles"]].all(axis=1)]
        face &= visible(mean, triangles)
        seven = file["lm68"][list(scans.SEVEN)]
    found = []
    for code in np.random.default_rng(seed).normal(size=(count, len(basis))):
        person = (mean + np.einsum("k,kvc->vc", code, basis)).astype(np.float64)
        points = scans.crop(person[face][::THINNING], person[seven], radius=RADIUS)
        found.append(Scan(points, person[seven]))
    return found


def visible(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Vertices of triangles that are seen from the front or half from the side.

    Scans and heads have surfaces within: eye sockets, the mouth, the nose.
    """
    mesh = jnp.asarray(points - points.mean(axis=0), jnp.float32)[None]
    found = np.zeros(len(points), bool)
    for yaw in VIEWS:
        pose = jnp.zeros((1, 6)).at[0, 1].set(yaw).at[0, 5].set(BACK)
        rotation, translation = camera.extrinsics(pose)
        screen = camera.project(mesh, rotation, translation, camera.intrinsics(PIXELS, PIXELS))
        seen = rasterize(screen, jnp.asarray(triangles, jnp.int32), PIXELS, PIXELS).triangle_id
        found[triangles[np.unique(seen[seen >= 0])]] = True
    return found


# --- distances -----------------------------------------------------------------------------------


def mean_distance(scan: Scan, model: FaceModel) -> float:
    """Mean distance in mm of a scan to the model's mean face, laid over it."""
    vertices = np.asarray(model.shape_mean, np.float64)
    return float(
        scans.scan_errors(
            scan.points,
            scan.landmarks,
            vertices,
            np.asarray(model.triangles),
            fitting.landmark_points(model)[list(scans.SEVEN)],
            radius=RADIUS,
        ).mean()
    )


def fit_distance(scan: Scan, model: FaceModel) -> float:
    """Mean distance in mm of a scan to the nearest face of the model, see the module."""
    mean = np.asarray(model.shape_mean, np.float64)
    basis = np.asarray(model.identity_basis, np.float64)
    triangles = scans.clean(mean, np.asarray(model.triangles, np.int64))
    motion = fitting.similarity(fitting.landmark_points(model)[list(scans.SEVEN)], scan.landmarks)
    code = np.zeros(basis.shape[-1])
    for _ in range(ROUNDS):
        surface = scans.Surface(mean + basis @ code, triangles)
        motion = scans.refine(scan.points, surface, motion, steps=3)
        points = motion.back(scan.points)
        found, number = surface.closest(points)
        away = points - found
        direction = surface.normals(number)
        shares = barycentric(found, surface, number)
        modes = np.einsum("nj,njck->nck", shares, basis[surface.triangles[number]])
        across = np.einsum("nc,nck->nk", direction, modes)
        gap = (away * direction).sum(axis=1) + across @ code
        weight = motion.scale**2
        matrix = weight * across.T @ across + LAMBDA * len(points) * np.eye(len(code))
        code = np.linalg.solve(matrix, weight * across.T @ gap)
    surface = scans.Surface(mean + basis @ code, triangles)
    motion = scans.refine(scan.points, surface, motion, steps=5)
    return float(scans.distances(scan.points, surface, motion).mean())


def barycentric(points: np.ndarray, surface: scans.Surface, number: np.ndarray) -> np.ndarray:
    """Weights `[n 3]` of the corners of the triangles in which points lie."""
    corners = surface.vertices[surface.triangles[number]]
    return np.asarray(trimesh.triangles.points_to_barycentric(corners, points))


def measure(models: dict[str, FaceModel], real: Scan, people: list[Scan]) -> str:
    """The table of distances."""
    rows = []
    for name, model in models.items():
        means = [mean_distance(scan, model) for scan in tqdm(people, desc=f"{name}, mean face")]
        fits = [fit_distance(scan, model) for scan in tqdm(people, desc=f"{name}, fit")]
        drawn = f"{np.mean(means):.3f}", f"{np.mean(fits):.3f}"
        own = f"{mean_distance(real, model):.3f}", f"{fit_distance(real, model):.3f}"
        rows.append([name, *own, *drawn])
    heads = ["model", "real scan: mean face", "fit", f"{len(people)} drawn: mean face", "fit"]
    return table(heads, rows)


# --- pictures ------------------------------------------------------------------------------------


def view(model: FaceModel, codes: dict[str, np.ndarray], *, yaw: float = 0.0, side: int = 192):
    """Picture `[side side 3]` of a face in soft light on grey."""
    given = {kind: jnp.asarray(codes.get(kind, np.zeros(0)), jnp.float32) for kind in KINDS}
    shape = morphable.vertices(model, given["identity"], given["expression"])
    colour = morphable.albedo(model, given["albedo"])
    light = jnp.zeros((3, 9))
    for place, value in MINIMAL_LIGHT:
        light = light.at[:, place].set(value)
    pose = jnp.zeros((1, 6)).at[0, 1].set(yaw).at[0, 5].set(120.0)
    seen = render_mesh(
        shape[None],
        colour[None],
        jnp.asarray(model.triangles),
        pose,
        light.reshape(1, 27),
        2 * side,
        2 * side,
    )
    return np.asarray(jnp.clip(seen.image + 0.9 * (1 - seen.coverage), 0, 1))[0]


def random_faces(model: FaceModel, count: int = FACES) -> np.ndarray:
    """Faces whose coefficients are drawn from the model's own distribution, in rows of eight."""
    rng = np.random.default_rng(SEED)
    faces = []
    for _ in range(count):
        codes = {kind: rng.normal(size=getattr(model, f"{kind}_basis").shape[-1]) for kind in KINDS}
        codes["expression"] *= 0.5  # people who are photographed are mostly calm
        faces.append(view(model, codes, yaw=float(rng.uniform(-0.4, 0.4))))
    return pictures.grid([np.stack(faces[k::8]) for k in range(8)], side=192)


def mode_faces(model: FaceModel, kind: str) -> np.ndarray:
    """The first modes of a basis, two deviations below and above the mean, a column each."""
    columns = []
    for mode in range(min(SHOWN, getattr(model, f"{kind}_basis").shape[-1])):
        code = np.zeros(mode + 1)
        column = []
        for sign in (-DEVIATIONS, DEVIATIONS):
            code[mode] = sign
            column.append(view(model, {kind: code}, yaw=0.35 if kind == "identity" else 0.0))
        columns.append(np.stack(column))
    return pictures.grid(columns, side=192)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL")
    parser.add_argument("--ict", type=Path, required=True, help="ICT-FaceKit as one npz")
    parser.add_argument("--scan", type=Path, required=True, help="the real head, .glb")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--people", type=int, default=PEOPLE, help="drawn from ICT's modes")
    options = parser.parse_args(argv)
    try:
        models = {}
        for given in options.models:
            name, equals, path = given.partition("=")
            if not equals:
                raise ValueError(f"{given} is not NAME=MODEL")
            models[name] = load_face_model(path, identity=ALL, expression=ALL, albedo=ALL)
        real = real_scan(options.scan)
        people = drawn_scans(options.ict, options.people, SEED)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    report = measure(models, real, people)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "report.md").write_text(report + "\n")
    print(report)
    for name, model in models.items():
        pictures.write_image(options.out / f"{name}_faces.jpg", random_faces(model))
        for kind in KINDS:
            pictures.write_image(options.out / f"{name}_{kind}.jpg", mode_faces(model, kind))
    return 0


if __name__ == "__main__":
    sys.exit(main())
