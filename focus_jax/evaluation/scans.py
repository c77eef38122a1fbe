"""Distance from a face scan to a reconstructed mesh, as the NoW benchmark defines it.

Formulas are those of its public code (now_evaluation): a crop of the scan around seven landmarks, a
similarity alignment of the mesh by them, then a refinement on the distances themselves. Everything
is float64 NumPy; lengths are the scan's, millimetres.
"""

from typing import NamedTuple

import igl
import numpy as np
from scipy.spatial.transform import Rotation

from focus_jax.face_models.fitting import Similarity, similarity

# Outer and inner corner of the subject's right eye, inner and outer of the left, the point below
# the nose, right and left corner of the mouth: indices among the 68 iBUG landmarks.
SEVEN = (36, 39, 42, 45, 33, 48, 54)
MIRRORED = (3, 2, 1, 0, 4, 6, 5)
RADIUS = 1.4  # of the crop, in face sizes; FG2018 (Stirling) uses 1.2
MAX_RESIDUAL = 10.0  # mm of the seven landmarks after alignment; more means another order


def crop(scan: np.ndarray, landmarks: np.ndarray, *, radius: float = RADIUS) -> np.ndarray:
    """Vertices `[n 3]` of the face: a ball around a point between nose and eyes.

    Its radius is `radius` times the mean of the outer-eye distance and the nose's length.
    """
    below_nose, bridge = landmarks[4], landmarks[1:3].mean(axis=0)
    centre = below_nose + 0.3 * (bridge - below_nose)
    outer_eyes = np.linalg.norm(landmarks[0] - landmarks[3])
    size = (outer_eyes + np.linalg.norm(bridge - below_nose)) / 2
    return scan[np.linalg.norm(scan - centre, axis=1) <= radius * size]


def check_landmarks(source: np.ndarray, target: np.ndarray, name: str) -> None:
    """Raise ValueError when seven landmarks `[7 3]` cannot be in the order of `target`'s."""

    def residual(points: np.ndarray) -> float:
        moved = similarity(points, target)(points)
        return float(np.sqrt(((moved - target) ** 2).sum(axis=1).mean()))

    if not np.isfinite(source).all() or np.ptp(source, axis=0).max() == 0:
        raise ValueError(f"{name}: the landmarks are not seven different finite points")
    given, mirrored = residual(source), residual(source[list(MIRRORED)])
    if mirrored < min(given, MAX_RESIDUAL):
        raise ValueError(
            f"{name}: the landmarks fit with left and right exchanged ({mirrored:.1f} mm instead "
            f"of {given:.1f}); write the subject's right eye first"
        )
    if given > MAX_RESIDUAL:
        raise ValueError(
            f"{name}: after alignment the landmarks are {given:.1f} mm from the scan's; their "
            "order is right outer and inner eye corner, left inner and outer, below the nose, "
            "right and left corner of the mouth"
        )


def clean(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The triangles `[t 3]` that have an area; others make the search for closest points crawl."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    return np.ascontiguousarray(triangles[area > 1e-12 * max(area.max(initial=0), 1e-300)])


class Surface:
    """A mesh that is asked many times for its closest points."""

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray) -> None:
        """Mesh `[v 3]`, `[t 3]`; ValueError if it has no triangle with an area."""
        self.vertices = np.ascontiguousarray(vertices, np.float64)
        self.triangles = clean(self.vertices, np.asarray(triangles, np.int64))
        if not len(self.triangles):
            raise ValueError("the mesh has no triangle with an area")
        self._tree = igl.AABB()
        self._tree.init(self.vertices, self.triangles)

    def closest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Closest points `[n 3]` of the surface, and their triangles `[n]`."""
        found = self._tree.squared_distance(
            self.vertices, self.triangles, np.ascontiguousarray(points, np.float64)
        )
        return np.asarray(found[2]), np.asarray(found[1])

    def normals(self, numbers: np.ndarray) -> np.ndarray:
        """Unit normals `[n 3]` of triangles."""
        a, b, c = (self.vertices[self.triangles[numbers, i]] for i in range(3))
        normal = np.cross(b - a, c - a)
        return normal / np.linalg.norm(normal, axis=1, keepdims=True)


def distances(scan: np.ndarray, surface: Surface, motion: Similarity) -> np.ndarray:
    """Distance `[n]` of each scan vertex to the closest point of the moved surface, in mm."""
    points = motion.back(scan)
    closest, _ = surface.closest(points)
    return motion.scale * np.linalg.norm(points - closest, axis=1)


def refine(
    scan: np.ndarray, surface: Surface, start: Similarity, *, scale: bool = True, steps: int = 50
) -> Similarity:
    """The motion of `surface` that minimises the sum of squared distances of the scan to it.

    Levenberg-Marquardt on rotation, translation and, unless `scale` is false, scale. A distance
    changes with the part of the motion along the line to the closest point, so each step is one
    search and one system of seven unknowns.
    """
    motion, damping = start, 1e-3
    cost, system = _linearised(scan, surface, motion, scale)
    for _ in range(steps):
        hessian, gradient, centre = system
        step = -np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), gradient)
        trial = _moved(motion, step, centre)
        trial_cost, trial_system = _linearised(scan, surface, trial, scale)
        if trial_cost < cost:
            small = cost - trial_cost < 1e-9 * cost
            motion, cost, system = trial, trial_cost, trial_system
            damping = max(damping / 5, 1e-9)
            if small:
                break
        else:
            damping *= 10
            if damping > 1e6:
                break
    return motion


def _linearised(
    scan: np.ndarray, surface: Surface, motion: Similarity, scale: bool
) -> tuple[float, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Sum of squares, and the normal equations in (rotation, translation, log scale)."""
    points = motion.back(scan)
    found, numbers = surface.closest(points)
    closest = motion(found)
    error = scan - closest
    distance = np.linalg.norm(error, axis=1)
    # On the surface the direction to the closest point is undefined: the normal is its limit.
    away = distance > 1e-9
    direction = surface.normals(numbers) @ motion.rotation
    direction[away] = error[away] / distance[away, None]
    residual = np.where(away, distance, 0.0)
    centre = closest.mean(axis=0)
    arm = closest - centre
    columns = [-np.cross(arm, direction), -direction]
    if scale:
        columns.append(-(arm * direction).sum(axis=1, keepdims=True))
    jacobian = np.concatenate(columns, axis=1)
    # A plane fixes only three of the unknowns.
    hessian = jacobian.T @ jacobian
    hessian += 1e-12 * np.trace(hessian) * np.eye(len(hessian))
    return float(residual @ residual), (hessian, jacobian.T @ residual, centre)


def _moved(motion: Similarity, step: np.ndarray, centre: np.ndarray) -> Similarity:
    """The motion followed by a small one about `centre`."""
    turn = Rotation.from_rotvec(step[:3]).as_matrix().T
    factor = float(np.exp(np.clip(step[6], -0.5, 0.5))) if len(step) > 6 else 1.0
    shift = factor * (motion.translation - centre) @ turn + centre + step[3:6]
    return Similarity(motion.scale * factor, motion.rotation @ turn, shift)


class Comparison(NamedTuple):
    """A mesh aligned to a scan: what is left, at each of the n scan vertices near the face."""

    points: np.ndarray  # [n 3] of the scan, mm
    distance: np.ndarray  # [n] mm
    signed: np.ndarray  # [n] mm, positive where the scan lies outside the mesh
    vertex: np.ndarray  # [n] of the mesh, near the closest point
    away: np.ndarray  # [n 3] mm, from the mesh to the scan
    normal: np.ndarray  # [n 3] of the mesh at the closest point
    scale: float  # by which the mesh was enlarged


def compare(
    scan: np.ndarray,
    scan_landmarks: np.ndarray,
    vertices: np.ndarray,
    triangles: np.ndarray,
    landmarks: np.ndarray,
    *,
    unit: float | None = None,
    radius: float = RADIUS,
    name: str = "prediction",
) -> Comparison:
    """The cropped scan beside a mesh aligned by 7 landmarks, then by the distances.

    With `unit`, the millimetres in the mesh's unit, its size is taken as it is (the benchmark's
    metrical variant); without, the mesh is scaled to fit. ValueError, naming `name`, for
    landmarks that do not fit and for meshes without a surface.
    """
    check_landmarks(landmarks, scan_landmarks, name)
    start = similarity(landmarks, scan_landmarks)
    if unit is not None:
        # Only the size: the public code keeps the scaled fit's rotation and translation, which
        # matters where the refinement starts and not where it ends.
        middle = landmarks.mean(axis=0)
        start = Similarity(unit, start.rotation, start(middle) - unit * middle @ start.rotation)
    cropped = crop(scan, scan_landmarks, radius=radius)
    if not len(cropped):
        raise ValueError(f"{name}: no vertex of the scan lies near its landmarks")
    try:
        surface = Surface(vertices, triangles)
    except ValueError as problem:
        raise ValueError(f"{name}: {problem}") from None
    motion = refine(cropped, surface, start, scale=unit is None)
    return _left(cropped, surface, motion)


def _left(scan: np.ndarray, surface: Surface, motion: Similarity) -> Comparison:
    points = motion.back(scan)
    closest, triangle = surface.closest(points)
    away = motion.scale * (points - closest)
    distance = np.linalg.norm(away, axis=1)
    normal = surface.normals(triangle)
    side = np.where((away * normal).sum(axis=1) < 0, -1.0, 1.0)
    vertex = surface.triangles[triangle, 0]
    turned = away @ motion.rotation, normal @ motion.rotation
    return Comparison(scan, distance, side * distance, vertex, *turned, motion.scale)


def scan_errors(
    scan: np.ndarray,
    scan_landmarks: np.ndarray,
    vertices: np.ndarray,
    triangles: np.ndarray,
    landmarks: np.ndarray,
    *,
    unit: float | None = None,
    radius: float = RADIUS,
    name: str = "prediction",
) -> np.ndarray:
    """The distances `[n]` of `compare`, in mm, as the benchmark takes them."""
    options = {"unit": unit, "radius": radius, "name": name}
    return compare(scan, scan_landmarks, vertices, triangles, landmarks, **options).distance
