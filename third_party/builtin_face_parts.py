"""What lies behind the skin: eyeballs, teeth with gums, tongue, the inside of the mouth.

Each is made of triangles with a region, and moves as follows. Eyeballs are the scans'; they turn
with the eyeLook units. The upper teeth stay where they are, the lower ones and the tongue follow
the jaw. In identity modes teeth and tongue take the affine map of what surrounds them.
"""

from typing import NamedTuple

import builtin_face_expression as expression
import builtin_face_mesh as mesh
import builtin_face_paint as painter
import builtin_face_registration as registration
import numpy as np
from scipy import sparse

TEETH = ("helper-upper-teeth", "helper-lower-teeth")
TONGUE = "helper-tongue"
PUPILS = np.array([32.9, 36.2, 94.7])  # of ICT's mean face; the right one mirrors it
RADIUS = 15.7  # of the rings' outline, so that the iris' edge has 5.8 mm
DEEP = 34.0  # how far behind the lips the mouth's inside may reach
JAW_UNITS = ("jawOpen", "jawForward", "jawLeft", "jawRight")
TOOTH, GUM = np.array([0.66, 0.61, 0.53]), np.array([0.50, 0.27, 0.26])
TONGUE_COLOUR = np.array([0.50, 0.26, 0.25])
CROWN = 9.0  # height of the teeth, on the base mesh
LIT, SHADOW = 10.0, 20.0  # behind the lips: full light to here, then falling to a third over this
BACK = np.array([0, 0, -2.0])  # of the teeth, which would touch the lips
UV_CORNER = 0.12  # side of the square of the texture, left below, that teeth and tongue take


class Mesh(NamedTuple):
    """The whole mesh, as mixtures of the base mesh's vertices, and which vertex belongs where."""

    triangles: np.ndarray  # [t 3]
    smooth: sparse.csr_matrix  # [v all], for places
    linear: sparse.csr_matrix  # [v all], for texture coordinates and masks
    axis: np.ndarray  # [v] distance from an eye's axis in parts of its radius; infinite off eyes
    part: np.ndarray  # [v] 0 skin, 1 eyeballs, 2 upper teeth, 3 lower teeth, 4 tongue


SKIN, EYES, UPPER, LOWER, TONGUE_PART = range(5)


def with_parts(skin: Mesh, points: np.ndarray, quads: np.ndarray, groups: np.ndarray) -> Mesh:
    """The skin's mesh with eyeballs, teeth and tongue of the base mesh `points` behind it."""
    triangles, smooth, linear = [skin.triangles], [skin.smooth], [skin.linear]
    axis, part = [skin.axis], [skin.part]

    def add(corners, places, textures, number, distance=None):
        count = sum(len(p) for p in part)
        triangles.append(corners + count)
        smooth.append(places)
        linear.append(textures)
        axis.append(np.full(places.shape[0], np.inf) if distance is None else distance)
        part.append(np.full(places.shape[0], number))

    for name in ("helper-l-eye", "helper-r-eye"):
        corners, rows, distance = mesh.eyeball(points, np.unique(quads[groups == name]))
        add(corners, rows, rows, EYES, distance)
    for name, number in zip((*TEETH, TONGUE), (UPPER, LOWER, TONGUE_PART), strict=True):
        own = quads[groups == name]
        used = np.unique(own)
        own = np.searchsorted(used, own)
        picked = sparse.identity(len(points), format="csr")[used]
        places = textures = picked
        if number != TONGUE_PART:
            own, finer, plain = mesh.catmull_clark(own, len(used))
            places, textures = finer @ picked, plain @ picked
        add(mesh.split_quads(own, places @ points), places, textures, number)
    return Mesh(
        np.concatenate(triangles),
        sparse.vstack(smooth).tocsr(),
        sparse.vstack(linear).tocsr(),
        np.concatenate(axis),
        np.concatenate(part),
    )


# --- eyeballs ------------------------------------------------------------------------------------


def eyeballs(base: np.ndarray, axis: np.ndarray, scans: registration.Scans):
    """Places `[n 3]` of the eyeballs' vertices on the scans' eyeballs, and a matrix that reads what
    the scans' vertices do there. `base` `[n 3]` and `axis` `[n]` are of the eyeballs alone."""
    places = np.zeros_like(base)
    for side in (-1, 1):
        own = base[:, 0] * side > 0
        pupil = PUPILS * [side, 1, 1]
        surface = outer_ball(scans, side)
        centre = (scans.mean[surface].min(axis=(0, 1)) + scans.mean[surface].max(axis=(0, 1))) / 2
        forwards = (pupil - centre) / np.linalg.norm(pupil - centre)
        right = np.cross([0, 1.0, 0], forwards)
        right /= np.linalg.norm(right)
        up = np.cross(forwards, right)
        middle = base[own][axis[own] == 0][0]
        spoke = (base[own] - middle)[:, :2]
        spoke /= np.maximum(np.linalg.norm(spoke, axis=1, keepdims=True), 1e-9)
        out = RADIUS * axis[own, None]
        sphere = centre + out * (spoke[:, :1] * right + spoke[:, 1:] * up)
        sphere = sphere + np.sqrt(RADIUS**2 - out**2) * forwards
        places[own] = registration.closest(sphere, scans.mean, surface)[2]
    _, triangle, place = registration.closest(places, scans.mean, scans.eyes)
    return places, registration.reading(scans.mean, scans.eyes, triangle, place)


def outer_ball(scans: registration.Scans, side: int) -> np.ndarray:
    """Triangles of the cornea and white of one eye; ICT's iris is a second surface within."""
    own = scans.eyes[scans.mean[scans.eyes[:, 0], 0] * side > 0]
    edges = registration.edges_of(own)
    count = len(scans.mean)
    graph = sparse.coo_matrix((np.ones(len(edges)), tuple(edges.T)), (count, count))
    label = sparse.csgraph.connected_components(graph, directed=False)[1][own[:, 0]]
    front = {part: scans.mean[own[label == part], 2].max() for part in np.unique(label)}
    return own[label == max(front, key=lambda part: front[part])]


def turn_eyes(change: np.ndarray, points: np.ndarray, unit: str, eyes: np.ndarray) -> None:
    """Let the eyeballs of `points` follow an eyeLook unit, in place."""
    side = 1 if unit.endswith("Left") else -1
    ball = np.flatnonzero(eyes & (points[:, 0] * side > 0))
    centre = np.linalg.lstsq(
        np.c_[2 * points[ball], np.ones(len(ball))], (points[ball] ** 2).sum(axis=1), rcond=None
    )[0][:3]
    change[ball] = expression.turned(points[ball], centre, unit)


# --- the mouth -----------------------------------------------------------------------------------


def place_mouth(points: np.ndarray, start: np.ndarray, part: np.ndarray, bag: np.ndarray) -> None:
    """Move teeth and tongue, in place, as the mouth's inside near them moved from `start`."""
    for number in (UPPER, LOWER, TONGUE_PART):
        own = part == number
        carry = affine(start[bag], start[own])
        points[own] = start[own] + carry @ (points[bag] - start[bag]) + BACK


def affine(around: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Matrix `[n m]` that carries displacements of `around` `[m 3]` over to `within` `[n 3]` as
    the affine map that fits them best, those nearby most."""
    centre = within.mean(axis=0)
    gap = np.linalg.norm(around - centre, axis=1) / np.linalg.norm(within - centre, axis=1).max()
    weight = np.sqrt(np.exp(-(gap**2)))
    columns = np.c_[around - centre, np.ones(len(around))]
    solve = np.linalg.pinv(weight[:, None] * columns, rcond=1e-3) * weight
    return np.c_[within - centre, np.ones(len(within))] @ solve


def flatten_bag(points: np.ndarray, bag: np.ndarray, rim: np.ndarray) -> None:
    """Pull the mouth's inside forwards, in place, where it would reach out of the face."""
    front = points[rim].mean(axis=0)
    depth = np.maximum(front[2] - points[bag, 2], 0)
    flatter = DEEP * np.tanh(depth / DEEP)
    share = 1 - 0.45 * depth / (depth + DEEP)
    points[bag, 2] += depth - flatter
    points[bag, 1] = front[1] + share * (points[bag, 1] - front[1])


def texture_corner(uv: np.ndarray, base: np.ndarray, part: np.ndarray) -> None:
    """Give teeth and tongue a free place in the texture, in place: seen from the front, one beside
    the other."""
    for place, number in enumerate((UPPER, LOWER, TONGUE_PART)):
        own = part == number
        flat = base[own][:, :2] - base[own][:, :2].min(axis=0)
        uv[own] = 0.9 * UV_CORNER / 3 * flat / flat.max() + [UV_CORNER / 3 * place + 0.002, 0.002]


def crown(base: np.ndarray) -> np.ndarray:
    """Which vertices of the teeth, on the base mesh, are not gums. The biting edge rises towards
    the back."""
    return np.abs(base[:, 1] - 660 - 0.24 * (147 - base[:, 2])) < CROWN


def regions(label: np.ndarray, base: np.ndarray, part: np.ndarray, bag: np.ndarray) -> None:
    """Say of the mouth's parts what they are, in place: numbers of painter.REGIONS."""
    label[bag] = painter.REGIONS.index("mouth")
    label[part == TONGUE_PART] = painter.REGIONS.index("mouth")
    teeth = (part == UPPER) | (part == LOWER)
    names = np.where(crown(base[teeth]), "teeth", "gums")
    label[teeth] = [painter.REGIONS.index(name) for name in names]


def paint(
    colour: np.ndarray, points: np.ndarray, part: np.ndarray, base: np.ndarray, front: float
) -> None:
    """Give teeth, gums and tongue `colour` `[v 3]`, in place: darker the farther they lie behind
    `front`, that of the lips, for the renderer casts no shadows."""
    for number in (UPPER, LOWER, TONGUE_PART):
        own = part == number
        behind = np.clip(front - LIT - points[own, 2], 0, None)[:, None]
        paint = TONGUE_COLOUR
        if number != TONGUE_PART:
            paint = np.where(crown(base[own])[:, None], TOOTH, GUM)
        colour[own] = paint * np.exp(-behind / SHADOW)
