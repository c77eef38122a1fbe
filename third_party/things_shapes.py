"""Shapes of what is worn, held or hung before a face, as variants that can be mixed.

Each function draws one variant for a head, the mean face: a list of pieces, each a tuple of
vertices `[v 3]`, triangles, texture coordinates `[v 2]`, shade `[v]` (what its colour is multiplied
with) and material. Variants of a family differ in places only.
"""

import cv2
import numpy as np

from focus_jax.data.occluders.head import Girth, Head
from focus_jax.data.occluders.meshes import turn, unit

CLOTH, SAME, MEDICAL, PLASTIC, DARK, WHITE, METAL, LENS, PICTURE, STRANDS = range(10)
X, Y, Z = np.eye(3)


def piece(vertices, triangles, material, uv=None, shade=None):
    count = len(vertices)
    uv = np.zeros((count, 2)) if uv is None else np.reshape(uv, (count, 2))
    if material == CLOTH:  # textures do not repeat
        uv = 0.02 + 0.96 * (uv - uv.min(axis=0)) / np.ptp(uv, axis=0)
    shade = np.ones(count) if shade is None else np.ravel(shade)
    return np.asarray(vertices, float), triangles, uv, shade, material


def joined(*meshes):
    """One mesh `(vertices, triangles)` of several."""
    counts = np.cumsum([0, *(len(v) for v, _ in meshes)])
    triangles = [t + c for (_, t), c in zip(meshes, counts, strict=False)]
    return np.concatenate([v for v, _ in meshes]), np.concatenate(triangles)


def sheet(rows: int, columns: int, around: bool = False) -> np.ndarray:
    """Triangles `[t 3]` of a grid of vertices, row by row; `around` closes the rows."""
    number = np.arange(rows * columns).reshape(rows, columns)
    right = np.roll(number, -1, axis=1) if around else number[:, 1:]
    left = number if around else number[:, :-1]
    a, b, c, d = left[:-1], right[:-1], left[1:], right[1:]
    pairs = np.stack([np.stack([a, c, b], -1), np.stack([b, c, d], -1)], axis=2)
    return pairs.reshape(-1, 3).astype(np.int32)


def tube(path: np.ndarray, radii: np.ndarray, sides: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles round a path `[k 3]`; radii are `[k]` or of two axes `[k 2]`."""
    along = unit(np.gradient(path, axis=0))
    pole = np.eye(3)[np.abs(along).mean(axis=0).argmin()]
    first = unit(np.cross(along, pole))
    second = np.cross(along, first)
    angle = np.arange(sides) * 2 * np.pi / sides
    wide = np.broadcast_to(np.reshape(radii, (len(path), -1)), (len(path), 2))
    ring = np.cos(angle)[:, None] * (wide[:, :1] * first)[:, None]
    ring = ring + np.sin(angle)[:, None] * (wide[:, 1:] * second)[:, None]
    return (path[:, None] + ring).reshape(-1, 3), sheet(len(path), sides, around=True)


def lathe(profile: np.ndarray, axis: int = 1, sides: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """A profile `[k 2]` (radius, height) turned about an axis."""
    angle = np.arange(sides) * 2 * np.pi / sides
    radius, height = profile.T[:, :, None]
    rings = [radius * np.cos(angle), radius * np.sin(angle), height + 0 * angle]
    order = [(axis + 1) % 3, (axis + 2) % 3, axis]
    vertices = np.stack([rings[order.index(k)] for k in range(3)], axis=-1)
    return vertices.reshape(-1, 3), sheet(len(profile), sides, around=True)


def noise(rng: np.random.Generator, points: np.ndarray, length: float) -> np.ndarray:
    """A smooth random function `[n]` of points `[n 3]`, of variance 1; `length` is its waves'."""
    waves = rng.normal(0, 1 / length, (points.shape[1], 8))
    return np.sin(points @ waves + rng.uniform(0, 2 * np.pi, 8)).sum(axis=1) / 2


# --- glasses -------------------------------------------------------------------------------------


def glasses(head: Head, rng: np.random.Generator, style: str) -> list:
    """Rims and bridge, temples, lenses, in the plane of the eyes."""
    points = head.landmarks
    middle = points[36:48].mean(axis=0)
    large = rng.uniform(1, 1.2)
    half = large * np.array([rng.uniform(22, 28), rng.uniform(15, 23)])
    gap, wrap, tilt = large * rng.uniform(7, 10), rng.uniform(0.0008, 0.002), rng.uniform(0.05, 0.2)
    power = 2 / rng.choice([2.0, 2.4, 3.2, 5.0])
    angle = np.arange(40) * 2 * np.pi / 40
    c, s = (np.sign(f(angle)) * np.abs(f(angle)) ** power for f in (np.cos, np.sin))
    droop = rng.uniform(0, 0.25) * (rng.random() < 0.4)  # as pilots' glasses have
    x = half[0] * c * (1 + droop * 0.4 * c * (s < 0))
    y = half[1] * (s - droop * 0.5 * (s < 0) * c)
    drop = rng.uniform(-2, 7)

    def at(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Places on the front, which bends around the face and leans forwards at the top."""
        return np.stack([x, y - drop, -wrap * x**2 + tilt * y + 12], axis=-1) + middle

    # Both outlines start at the outer side.
    outlines = [at(side * (gap + half[0] + x), y) for side in (-1, 1)]
    arch = np.linspace(-gap - 1, gap + 1, 9)
    lift = half[1] * rng.uniform(0.1, 0.5)
    bridge = at(arch, lift + 3 * (1 - (arch / gap) ** 2))
    width = {
        "thick": rng.uniform(1.3, 3.2),
        "thin": rng.uniform(0.6, 1.1),
        "rimless": 0.6,
        "browline": 2.2,
    }[style]
    wires, temples, lenses = [tube(bridge, np.full(9, max(width * 0.9, 0.8)))], [], []
    for outline, side in zip(outlines, (-1, 1), strict=True):
        if style == "browline":
            wires.append(tube(outline[:21], np.full(21, width)))
        if style != "rimless":
            thin = np.full(41, 0.5 if style == "browline" else width)
            wires.append(tube(outline[np.arange(41) % 40], thin))
        hinge = outline[4] + [side * width, 0, -1]
        ear = np.array([side * (abs(points[16, 0]) + 4), middle[1] + 6, points[16, 2] - 25])
        t = np.linspace(0, 1, 8)[:, None]
        temple = hinge + (ear - hinge) * t + [side * 3, 0, 0] * np.sin(np.pi * t)
        temple = np.concatenate([temple, np.add(ear, [[0, -8, -8], [0, -22, -14]])])
        bar = np.stack([np.full(10, 0.7), np.full(10, max(0.8, width))], axis=1)
        temples.append(tube(temple, bar))
        centre, inner = outline.mean(axis=0), np.linspace(0.02, 0.99, 4)[:, None, None]
        lens = centre + inner * (outline - centre) + [0, 0, 1.5] * (1 - inner**2)
        lens = lens.reshape(-1, 3)
        uv = 0.5 + (lens - centre)[:, :2] * [1 / 70, -1 / 70]
        lenses.append(piece(lens, sheet(4, 40, around=True), LENS, uv))
    return [piece(*joined(*wires), PLASTIC), piece(*joined(*temples), SAME), *lenses]


# --- cloth ---------------------------------------------------------------------------------------


def mask(head: Head, rng: np.random.Generator, style: str) -> list:
    """A mask, pleated, sewn or moulded, on the nose, below it or at the chin, with its loops."""
    points, girth = head.landmarks, Girth(head)
    bridge = points[27, 1] + rng.uniform(0.2, 0.75) * (points[30, 1] - points[27, 1])
    worn = rng.choice(["nose", "below", "chin"], p=[0.8, 0.13, 0.07])
    top = {"nose": bridge, "below": points[33, 1] - 2, "chin": points[57, 1] - 6}[worn]
    chin = points[8, 1]
    wide = np.deg2rad(rng.uniform(58, 78))
    rows, columns = 26, 33
    a = wide * np.linspace(-1, 1, columns)
    t = np.linspace(0, 1, rows)[:, None]
    # The edge runs from the nose down over the cheeks and up again to the ears.
    edge = rng.uniform(6, 16) * np.sin(np.minimum(np.abs(a) * 1.5, np.pi)) ** 2
    edge = top - edge * (worn == "nose")
    side = points[[3, 13], 1].mean() + rng.uniform(-6, 10)
    bottom = chin - rng.uniform(2, 14) + (side - 8 - chin) * (np.abs(a) / wide) ** 2.5
    height = edge + (np.minimum(bottom, edge - 18) - edge) * t
    smooth = 40 if style != "moulded" else 60
    reach = girth.reach(a + 0 * t, np.maximum(height, chin + 3), smooth) + rng.uniform(1.5, 3)
    under = np.clip((chin + 4 - height) / 12, 0, 1.5)
    reach = reach - 14 * under**2 - 6 * np.clip(t - 0.97, 0, 1)
    middle = np.exp(-((a / (0.5 * wide)) ** 2))
    places = girth.points(a + 0 * t, height, reach)
    shade = np.ones((rows, columns))
    if style == "pleated":
        pleat = (t * rng.uniform(3, 4.5) + 0.03 * np.sin(9 * a)) % 1
        places[..., 2] += 3.5 * pleat * (0.35 + 0.65 * middle) * (t > 0.1) * (t < 0.93)
        shade -= 0.1 * (pleat < 0.15)
    elif style == "moulded":
        places[..., 2] += rng.uniform(4, 12) * middle * np.sin(np.pi * np.clip(t * 1.1, 0, 1))
    else:
        places[..., 2] += 5 * np.exp(-((a / 0.12) ** 2)) * np.sin(np.pi * t) ** 0.5
    flat = places.reshape(-1, 3)
    calm = np.sin(np.pi * t * np.ones(columns)).reshape(-1, 1)
    flat = flat + [0, 0, 1.2] * noise(rng, flat, 12)[:, None] * calm
    shade[[0, 1, -2, -1]] *= 0.93
    uv = np.stack(np.broadcast_arrays(a / wide * 0.35 + 0.5, 0.15 + 0.7 * t), axis=-1)
    loops, grid, thick = [], flat.reshape(rows, columns, 3), rng.uniform(0.8, 1.6)
    for column, ear in ((0, 0), (-1, 16)):
        out = 4 * np.sign(points[ear, 0]) * X
        for start, lift in ((grid[1, column], 16), (grid[-2, column], -4)):
            s = np.linspace(0, 1, 8)[:, None]
            path = (
                start + (points[ear] + out + [0, lift, -28] - start) * s + out * np.sin(np.pi * s)
            )
            loops.append(tube(path, np.full(8, thick), 6))
    material = CLOTH if style == "sewn" else MEDICAL
    return [piece(flat, sheet(rows, columns), material, uv, shade), piece(*joined(*loops), WHITE)]


def scarf(head: Head, rng: np.random.Generator) -> list:
    """Cloth wound around neck and chin, up to the mouth, the nose or the eyes."""
    points, girth = head.landmarks, Girth(head)
    rows, columns = 32, 64
    a = np.linspace(-np.pi, np.pi, columns)
    t = np.linspace(0, 1, rows)[:, None]
    chin = points[8, 1]
    front = chin + rng.uniform(0.1, 0.95) * (points[28, 1] - chin)
    top = front + rng.uniform(-25, 25) * np.sin(a / 2) ** 2 + 6 * np.sin(a * 2 + rng.uniform(0, 6))
    height = top + (chin - 110 - top) * t**0.8
    low = np.clip((chin + 5 - height) / 60, 0, 1)
    reach = girth.reach(np.clip(a, -1.5, 1.5) + 0 * t, np.maximum(height, chin + 4), 50)
    reach = np.where(np.abs(a) > 1.5, 85.0, reach)
    reach = reach * (1 - low) + (88 + 45 * t) * low + rng.uniform(4, 12)
    reach = reach - 5 * np.exp(-t * 25)  # the upper edge lies against the skin
    slant, count = rng.uniform(-14, 14), rng.uniform(3, 7)
    place = np.stack(np.broadcast_arrays(a * 60, height * 2.2, 0 * a), -1)
    wave = noise(rng, place.reshape(-1, 3), 28).reshape(rows, columns)
    fold = np.sin(2 * np.pi * count * t + slant * np.sin(a) * 0.15 + 1.2 * wave)
    reach = reach + (4 * fold + 2.5 * wave) * np.clip(t * 6, 0.15, 1)
    uv = np.stack(np.broadcast_arrays(a / 4 + 0.5, t + 0.15 * np.sin(a)), axis=-1)
    places = girth.points(a + 0 * t, height, reach).reshape(-1, 3)
    return [piece(places, sheet(rows, columns), CLOTH, uv)]


def veil(head: Head, rng: np.random.Generator, before: bool) -> list:
    """A head scarf, close around the face; with a veil before it."""
    points, girth = head.landmarks, Girth(head)
    rows, columns = 30, 64
    angle = np.linspace(0, 2 * np.pi, columns)  # round the face, from below
    sin, cos = np.sin(angle), np.cos(angle)
    middle = 0.5 * (points[8] + points[27]) + [0, 18, 0]
    wide = np.abs(points[[1, 15], 0]).mean() * rng.uniform(0.8, 0.98)
    tall = np.where(cos > 0, middle[1] - points[8, 1] + 4, rng.uniform(58, 80))
    x, y = middle[0] + wide * sin, middle[1] - tall * cos
    turned = 1.1 * np.arctan2(x - girth.centre[0], 95.0)
    reach = girth.reach(turned, np.maximum(y, points[8, 1] + 3), 20) + 3
    edge = girth.points(turned, y, reach)
    skull, radii = np.array([0, 60, -75.0]), np.array([92, 108, 108.0])
    crown = skull + radii * unit(np.stack([sin, -cos, -0.75 + 0 * angle], axis=1))
    hang = np.clip(cos, 0, 1)[:, None]
    below = np.stack([156 * sin, 0 * angle - 190, 0 * angle - 10], axis=1)
    crown = crown * (1 - hang) + hang * below
    t = np.linspace(0, 1, rows)[:, None, None]
    bulge = 26 * np.sin(np.pi * t) * np.stack([sin, -cos * 0.7, 0.25 + 0 * angle], axis=1)
    bulge = bulge + [0, 0, 4] * np.sin(np.pi * np.clip(t * 5, 0, 1))
    flat = (edge * (1 - t) + crown * t + bulge).reshape(-1, 3)
    t = np.broadcast_to(t[..., 0], (rows, columns)).reshape(-1, 1)
    deep = np.linalg.norm((flat - skull) / [89, 106, 109], axis=1, keepdims=True)
    inside = (flat[:, 1:2] > 15) & (deep < 1) & (t > 0.12)
    flat = skull + (flat - skull) / np.where(inside, np.maximum(deep, 1e-3), 1)
    folds = noise(rng, flat * [1, 0.4, 1], 11)[:, None] * np.clip(t * 4, 0, 1)
    flat = girth.outside(flat + 2.5 * folds * [1, 0.3, 1], 2.0)
    uv = np.stack(np.broadcast_arrays(angle / 7, np.linspace(0, 1, rows)[:, None]), axis=-1)
    pieces = [piece(flat, sheet(rows, columns), CLOTH, uv)]
    if before:
        a, s = np.linspace(-1.25, 1.25, 41), np.linspace(0, 1, 28)[:, None]
        top = points[rng.integers(28, 34), 1] + rng.uniform(-4, 6) + 10 * (a / 1.25) ** 2
        height = top - (top - points[8, 1] + rng.uniform(30, 90)) * s
        reach = girth.reach(a + 0 * s, np.maximum(height, points[8, 1] + 4), 60) + 2 + 7 * s
        reach = reach + s * 2.5 * np.sin(a * rng.uniform(9, 16) + rng.uniform(0, 6))
        front = girth.points(a + 0 * s, height, reach).reshape(-1, 3)
        pieces.append(piece(front, sheet(28, 41), SAME))
    return pieces


def hat(head: Head, rng: np.random.Generator, style: str) -> list:
    """A knitted cap, a cap with a peak or a brimmed hat, down to the brows or higher."""
    points = head.landmarks
    half = np.abs(points[[0, 16], 0]).mean()
    rows, columns = 20, 64
    t = np.linspace(0, 1, rows)[:, None]
    a = np.linspace(-np.pi, np.pi, columns)
    low = points[[19, 24], 1].mean() + rng.uniform(-9, 16)
    tall = points[27, 1] + rng.uniform(128, 150) - low
    front = head.vertices[head.vertices[:, 1] > low - 10, 2].max() + 75
    deep = np.where(np.cos(a) > 0, front, 105.0)
    rib = 1.2 * np.sin(a * 40) if style == "knitted" else 0 * a
    seam = np.abs((a / np.pi * 4) % 1 - 0.5) > 0.46
    radius = np.cos(t * np.pi / 2) ** rng.uniform(0.4, 0.7) * (1 - 0.016 * seam)
    x, z = radius * (half + 12 + rib) * np.sin(a), radius * (deep + rib) * np.cos(a)
    y = tall * np.sin(t * np.pi / 2) - 11 * (1 - np.cos(a)) * (1 - t)
    dome = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    dome = dome * (1 + 0.012 * noise(rng, dome, 30)[:, None])
    uv = np.stack(np.broadcast_arrays(0.5 + a / np.pi * 0.5, t), axis=-1)
    spin = turn(Y, rng.normal(0, 0.12)) @ turn(X, rng.normal(0.02, 0.05))
    place = np.array([0.0, low, -70])
    pieces = [piece(dome @ spin.T + place, sheet(rows, columns), CLOTH, uv)]
    s = np.linspace(0, 1, 6)[:, None]
    if style == "knitted":
        high = rng.uniform(20, 40)
        x, z = (half + 16 + rib) * np.sin(a) + 0 * s, (deep + 4 + rib) * np.cos(a) + 0 * s
        border = np.stack([x, high * s - 11 * (1 - np.cos(a)), z], axis=-1)
    else:
        b = np.linspace(-1.15, 1.15, 25) if style == "peak" else a
        deep = np.where(np.cos(b) > 0, front, 105.0)
        if style == "peak":
            reach, sag = rng.uniform(55, 75) * np.cos(b * 1.2), rng.uniform(0.1, 0.5)
            down, wide = 10 * np.sin(b) ** 2 * s, 0.25
        else:
            reach, sag = rng.uniform(45, 95) + 0 * b, rng.uniform(-0.1, 0.25)
            down, wide = 0, 1
        y = 2 - sag * reach * s - down - 11 * (1 - np.cos(b))
        x, z = (half + 11 + wide * reach * s) * np.sin(b), (deep + reach * s) * np.cos(b)
        border = np.stack([x, y, z], axis=-1)
    border = border.reshape(-1, 3) @ spin.T + place
    return [
        *pieces,
        piece(border, sheet(6, len(border) // 6), SAME, shade=np.full(len(border), 0.95)),
    ]


# --- things --------------------------------------------------------------------------------------


def headset(head: Head, rng: np.random.Generator, boom: bool) -> list:
    """Cups over the ears, a band over the head, a microphone before the mouth."""
    points = head.landmarks
    half = np.abs(points[[0, 16], 0]).mean()
    middle = np.array([0, points[27, 1] - 8, points[[0, 16], 2].mean() - 28])
    arc = np.linspace(0, np.pi, 17)
    band = np.stack([(half + 12) * np.cos(arc), 138 * np.sin(arc), -15 * np.sin(arc)], axis=1)
    shells, pads = (
        [tube(band + middle, np.tile([rng.uniform(3, 5), rng.uniform(7, 12)], (17, 1)))],
        [],
    )
    size = rng.uniform(28, 42)
    for side in (-1, 1):
        for profile, several in (
            (((0, 22), (0.7, 22), (0.95, 17), (1, 8)), shells),
            (((1, 8), (1, 0), (0.9, -6)), pads),
        ):
            vertices, triangles = lathe(np.array(profile) * [size, 1], 0)
            vertices = vertices * [side, 1.15, 0.95] + middle + [side * (half + 8), 0, 0]
            several.append((vertices, triangles))
    if boom:
        mouth = points[54] + [rng.uniform(-8, 12), -4, rng.uniform(12, 28)]
        t = np.linspace(0, 1, 14)[:, None]
        bend = np.array([half + 22, mouth[1], middle[2] + 60])
        start = np.add(middle, [half + 20, -10, 0])
        path = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * mouth
        radius = np.where(t[:, 0] > 0.85, rng.uniform(4, 8), 1.8)
        pads.append(tube(Girth(head).outside(path, 5), radius))
    return [piece(*joined(*shells), PLASTIC), piece(*joined(*pads), DARK)]


def slab(size: np.ndarray, corner: float):
    """A rounded slab in x, y with its thickness along z, as rings from its back to its front."""
    angle = np.arange(40) * 2 * np.pi / 40
    x, y = (np.sign(f(angle)) * np.abs(f(angle)) ** (2 / 7) for f in (np.cos, np.sin))
    rings = []
    for inset, z in ((1e9, 0), (corner, 0), (0, 0.25), (0, 0.75), (corner, 1), (1e9, 1)):
        half = np.maximum(size[:2] / 2 - inset, 0)
        rings.append(np.stack([half[0] * x, half[1] * y, np.full(40, (z - 0.5) * size[2])], -1))
    return np.concatenate(rings), sheet(6, 40, around=True)


def phone(head: Head, rng: np.random.Generator) -> list:
    """In a right hand's own space."""
    vertices, triangles = slab(np.array([rng.uniform(66, 80), rng.uniform(140, 165), 9.0]), 1.5)
    place = np.array([4.0, 84, 24])
    screen = vertices[-80:] * [0.95, 0.97, 1] + [0, 0, 0.3]
    cameras = []
    for x, y in ((-18, 55), (-18, 38)):
        lens, around = lathe(np.array([(7.0, 0), (7, -1.5), (0, -1.5)]), 2)
        cameras.append((lens + place + [x, y, -4.5], around))
    front = screen + place, sheet(2, 40, around=True)
    return [piece(vertices + place, triangles, PLASTIC), piece(*joined(front, *cameras), DARK)]


def cup(head: Head, rng: np.random.Generator, lid: bool) -> list:
    """In a right hand's own space, its axis along the thumb's direction."""
    wide, tall = rng.uniform(33, 40), rng.uniform(80, 120)
    narrow, top = wide * rng.uniform(0.72, 1.0), tall / 2
    outer = [(0, -top), (narrow, -top), (wide, top)]
    inner = [(wide - 2.5, top), (narrow - 2.5, 4 - top), (0, 4 - top)]
    if lid:
        inner = [(wide + 1.5, top), (wide + 1, top + 4), (wide - 5, top + 9), (0, top + 8)]
    pieces = [lathe(np.array(p), 0) for p in (outer, inner)]
    return [
        piece(np.add(v, [5, 68, 46]), t, m)
        for (v, t), m in zip(pieces, (PLASTIC, WHITE), strict=True)
    ]


def microphone(head: Head, rng: np.random.Generator) -> list:
    """In a right hand's own space."""
    ball, place = rng.uniform(22, 27), np.array([0.0, 84, 24])
    arc = np.linspace(0.25 * np.pi, np.pi, 9)
    top = np.stack([ball * np.sin(arc), 85 - ball * np.cos(arc)], axis=1)[::-1]
    shaft = [(0, -120), (10, -120), (13, 40), (17, 66), (top[-1, 0] + 1, top[-1, 1])]
    handle, around = lathe(np.array(shaft), 0)
    metal, over = lathe(top, 0)
    grain = 0.75 + 0.25 * (np.arange(len(metal)) % 2)
    ring = [(ball * 0.97, 83.0), (ball + 1.5, 84), (ball + 1.5, 89), (ball * 0.97, 90)]
    band, round_ = lathe(np.array(ring), 0)
    return [
        piece(handle + place, around, DARK),
        piece(metal + place, over, METAL, shade=grain),
        piece(band + place, round_, METAL),
    ]


def ball(head: Head, rng: np.random.Generator) -> list:
    """A round thing, of about 60 mm."""
    arc = np.linspace(0.02, np.pi - 0.02, 14)
    vertices, triangles = lathe(np.stack([np.sin(arc), -np.cos(arc)], axis=1) * 30)
    vertices = vertices * rng.uniform(0.6, 1.3, 3)
    vertices = vertices * (1 + 0.05 * noise(rng, vertices, 20)[:, None]) @ turn(X, rng.normal()).T
    uv = np.stack(np.meshgrid(np.abs(np.linspace(-1, 1, 24)), np.linspace(0, 1, 14)), axis=-1)
    return [piece(vertices, triangles, PICTURE, uv)]


def card(head: Head, rng: np.random.Generator, bent: float) -> list:
    """A flat or bent sheet, of about 120 mm."""
    s = np.linspace(-1, 1, 15)
    grid = np.stack(np.meshgrid(s, -s), axis=-1).reshape(-1, 2)
    spin = turn(Z, rng.normal(0, 0.4)) @ turn(X, rng.normal(0, 0.25)) @ turn(Y, rng.normal(0, 0.35))
    bow = bent * rng.normal() * grid[:, :1] ** 2 + bent * rng.normal() * grid[:, 1:] ** 2
    flat = np.concatenate([grid * 60 * [1, rng.uniform(0.5, 1.4)], bow], axis=1)
    return [piece(flat @ spin.T, sheet(15, 15)[:, ::-1], PICTURE, grid * [0.5, -0.5] + 0.5)]


def fringe(head: Head, rng: np.random.Generator, style: str) -> list:
    """Strands from the hairline over the forehead, an eye or a temple, or single ones across."""
    girth, count = Girth(head), 8 if style == "strands" else 56
    brow = head.landmarks[17:27, 1].mean()
    top = head.vertices[:, 1].max()
    low = brow + rng.uniform(-30, 25)
    t = np.linspace(0, 1, 9)[:, None]
    place = np.sort(rng.uniform(-1, 1, count))
    parting = rng.uniform(-0.5, 0.5)
    if style == "straight":
        start = end = 1.05 * place
        bottom = low + 12 * place**2
    elif style == "swept":
        start = parting + 0.5 * place
        end = parting - np.sign(parting) * np.sort(rng.uniform(0.2, 1.5, count))
        bottom = low - 18 * np.abs(end - parting) + 20
    elif style == "curtain":
        away = np.where(place > parting, 1, -1)
        start = parting + 0.25 * (place - parting)
        end = away * rng.uniform(0.75, 1.25, count)
        bottom = brow - rng.uniform(20, 130, count)
    else:
        start = np.sort(parting + rng.normal(0, 0.3, count))
        end = start + rng.normal(0, 0.5, count)
        bottom = brow - rng.uniform(-5, 110, count)
    bottom = bottom + rng.normal(0, 5, count)
    wave, phase = rng.uniform(0, 0.05), rng.uniform(0, 6, count)
    ease = t**1.6 if style in ("swept", "curtain") else t
    angle = start + (end - start) * ease + wave * np.sin(7 * t + phase)
    first = top + 8 - 14 * start**2
    height = first + (bottom - first) * t
    width = rng.uniform(2.5, 5, count) if style == "strands" else rng.uniform(7, 14, count)
    # From under the hair.
    lift = rng.uniform(1.5, 7, count) + 6 * (1 - t) ** 2 - 40 * (1 - t) ** 8
    # Strands are ribbons: a middle that bulges and two edges.
    radius = girth.reach(angle, height, 12) + lift
    half = width / 2 / 70 * (1 - 0.5 * t**3)
    strip = [girth.points(angle + k * half, height, radius + 1.5 * (k == 0)) for k in (-1, 0, 1)]
    vertices = np.stack(strip, axis=2).transpose(1, 0, 2, 3).reshape(-1, 3)  # strand, along, across
    triangles = np.concatenate([sheet(9, 3) + 27 * k for k in range(count)])
    across = rng.uniform(0, 0.8, (count, 1, 1)) + 0.2 * np.linspace(0, 1, 3)
    uv = np.stack(np.broadcast_arrays(across, t[None]), axis=-1)
    shade = np.repeat(rng.uniform(0.7, 1.0, count), 27)
    return [piece(vertices, triangles, STRANDS, uv, shade)]


# --- pictures ------------------------------------------------------------------------------------


def stencil(rng: np.random.Generator) -> np.ndarray:
    """Opacity `[128 128]` of a rectangle, an ellipse, an irregular shape, or of letters."""
    plane = np.zeros((128, 128), np.uint8)
    if rng.random() < 0.25:
        rows = int(rng.integers(1, 5))
        for row in range(rows):
            word = "".join(
                rng.choice(list("ABCDEFGHIKLMNOPRSTUVWXYZabcdeghiklmnorstu0123456789"), 7)
            )
            place, size = (2, int((row + 0.8) * 128 / rows)), rng.uniform(0.9, 1.8)
            cv2.putText(
                plane, word, place, int(rng.integers(5)), size, 255, 2 + 6 // rows, cv2.LINE_AA
            )
        return plane
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius, power = np.full(40, 62.0), rng.choice([1.0, 0.15])
    if rng.random() < 0.4:
        radius = 44 + 17 * np.sin(angle * rng.integers(1, 6) + rng.uniform(0, 6)) * rng.random()
        radius = radius + rng.normal(0, 2.5, 40)
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    corners = 64 + radius[:, None] * np.sign(direction) * np.abs(direction) ** power
    return cv2.fillPoly(plane, [np.round(corners).astype(np.int32)], 255)


def strands(rng: np.random.Generator) -> np.ndarray:
    """Brightness and opacity `[128 256 2]` of hairs side by side that end in the last third."""
    hairs = cv2.GaussianBlur(rng.normal(1, 0.55, (1, 256)), (0, 0), 0.8)
    tone = np.clip(hairs * np.linspace(0.8, 1.15, 128)[:, None], 0.2, 1.8) / 2
    down = np.arange(128)[:, None]
    opaque = (down < 128 * rng.uniform(0.6, 1.0, 256)) & ~((rng.random(256) < 0.12) & (down > 40))
    return np.round(np.stack([tone, opaque], axis=-1) * 255).astype(np.uint8)


# Name: how it is drawn, how many variants.
FAMILIES = {
    "glasses_thick": (glasses, ("thick",), 12),
    "glasses_thin": (glasses, ("thin",), 12),
    "glasses_browline": (glasses, ("browline",), 6),
    "glasses_rimless": (glasses, ("rimless",), 6),
    "mask_pleated": (mask, ("pleated",), 20),
    "mask_sewn": (mask, ("sewn",), 14),
    "mask_moulded": (mask, ("moulded",), 8),
    "scarf_wound": (scarf, (), 14),
    "veil_open": (veil, (False,), 6),
    "veil_closed": (veil, (True,), 8),
    "hat_knitted": (hat, ("knitted",), 8),
    "hat_peak": (hat, ("peak",), 8),
    "hat_brim": (hat, ("brim",), 6),
    "headset_plain": (headset, (False,), 3),
    "headset_boom": (headset, (True,), 5),
    "phone_held": (phone, (), 3),
    "cup_open": (cup, (False,), 4),
    "cup_lid": (cup, (True,), 4),
    "microphone_held": (microphone, (), 3),
    "patch_ball": (ball, (), 4),
    "patch_card": (card, (20.0,), 6),
    "patch_flat": (card, (0.0,), 6),
    "fringe_straight": (fringe, ("straight",), 8),
    "fringe_swept": (fringe, ("swept",), 8),
    "fringe_curtain": (fringe, ("curtain",), 6),
    "fringe_strands": (fringe, ("strands",), 6),
}


def arrays(head: Head) -> dict[str, np.ndarray]:
    """The families as the package reads them: places in units of 0.05 mm."""
    found = {}
    for number, (name, (draw, style, count)) in enumerate(FAMILIES.items()):
        variants = [draw(head, np.random.default_rng((number, k)), *style) for k in range(count)]
        for k, pieces in enumerate(zip(*variants, strict=True)):
            vertices, triangles, uv, shade, material = zip(*pieces, strict=True)
            found |= {
                f"{name}_{k}_vertices": np.round(np.array(vertices) * 20).astype(np.int16),
                f"{name}_{k}_triangles": triangles[0].astype(np.uint16),
                f"{name}_{k}_uv": np.round(np.clip(uv[0], -1, 2) * 10000).astype(np.int16),
                f"{name}_{k}_shade": np.round(shade[0] * 255).astype(np.uint8),
                f"{name}_{k}_material": np.array(material[0], np.int8),
            }
    rng = np.random.default_rng(2)
    blue, white = (0.6, 0.77, 0.87), (0.9, 0.91, 0.93)
    rare = [(0.45, 0.7, 0.72), (0.08, 0.08, 0.09), (0.95, 0.8, 0.84)]
    found["medical"] = np.array([blue, blue, blue, white, white, *rare])
    hair = [(0.06, 0.05, 0.05), (0.13, 0.09, 0.07), (0.24, 0.16, 0.10), (0.40, 0.27, 0.16)]
    hair += [(0.66, 0.52, 0.33), (0.42, 0.20, 0.10), (0.55, 0.54, 0.53), (0.80, 0.79, 0.77)]
    found["hair_tones"] = np.repeat(hair, (25, 20, 17, 12, 10, 6, 6, 4), axis=0)
    skin = [(0.31, 0.21, 0.165), (0.55, 0.385, 0.295), (0.745, 0.57, 0.45), (0.9, 0.74, 0.65)]
    between = np.linspace(0, 3, 40)
    found["skin_tones"] = np.stack(
        [np.interp(between, range(4), c) for c in np.transpose(skin)], axis=1
    )
    found["tints"] = np.array([(12, 12, 14), (40, 22, 12), (14, 26, 18), (25, 28, 50)])
    found["greys"] = np.array([0.02, 0.02, 0.05, 0.05, 0.05, 0.12, 0.12, 0.35, 0.7])
    found["stencils"] = np.stack([stencil(rng) for _ in range(32)])
    found["strands"] = strands(rng)
    return found
