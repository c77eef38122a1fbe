"""The face's colours: regions, a painter, and the modes of what it paints.

The painter turns a few numbers about a person (melanin, hair, beard, ...) into an albedo; the modes
are what each number changes, at one standard deviation. Lengths are millimetres, on the base mesh.
"""

import builtin_face_mesh as mesh
import numpy as np
from scipy import sparse
from scipy.sparse.linalg import eigsh

REGIONS = (
    *("skin", "eyes", "brows", "nose", "lips", "cheeks", "forehead", "chin", "ears", "neck"),
    *("teeth", "gums", "mouth"),
)

# Albedo of skin from very light to very dark: what photographs show, as display values, divided by
# the 1.24 of the project's default light. Melanin takes blue most and red least, so that skin
# first turns yellower and redder, and loses its saturation again where nearly all light is taken.
TONES = np.array(
    [
        [0.71, 0.60, 0.54],
        [0.65, 0.515, 0.44],
        [0.56, 0.425, 0.35],
        [0.42, 0.30, 0.235],
        [0.23, 0.16, 0.13],
    ]
)
HAIR = np.array(
    [[0.05, 0.045, 0.045], [0.11, 0.08, 0.065], [0.21, 0.145, 0.10], [0.36, 0.28, 0.19]]
)
IRIS = np.array([[0.10, 0.06, 0.04], [0.19, 0.125, 0.075], [0.23, 0.25, 0.20], [0.27, 0.34, 0.40]])

# What the painter knows of a person: value of the mean person, standard deviation.
PERSON = {
    "tone": (1.92, 0.97),  # place in TONES
    "bend": (0.0, 0.7),  # departure from a straight line through TONES, see `albedo_modes`
    "yellow": (0.0, 0.045),
    "blood": (0.0, 0.035),
    "exposure": (0.0, 0.06),
    "hair": (0.9, 0.75),  # place in HAIR
    "brows": (0.66, 0.17),
    "beard": (0.13, 0.25),
    "moustache": (0.10, 0.20),
    "cheeks": (0.3, 0.3),
    "nose": (0.2, 0.35),
    "rings": (0.4, 0.4),
    "lips": (0.8, 0.35),
    "lipstick": (0.05, 0.14),
    "lids": (0.5, 0.25),
    "iris": (1.1, 0.8),  # place in IRIS
    "white": (0.0, 0.10),
    "folds": (1.0, 0.5),
}
PATCHES = 20  # smooth patterns on the skin; the first eight also in redness


def smooth(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between; reversed when low exceeds high."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def pick(table: np.ndarray, place: float) -> np.ndarray:
    """Colour at a place in a table, and on the line through its ends beyond them."""
    place = np.clip(place, -0.3, len(table) - 0.7)
    low = int(np.clip(np.floor(place), 0, len(table) - 2))
    return table[low] + (place - low) * (table[low + 1] - table[low])


def brow_distance(points: np.ndarray) -> np.ndarray:
    """Distance in the frontal plane from the line of either brow, and place along it (0 inner)."""
    line = np.array(
        [(-13.5, 748), *(mesh.RIGHT_POINTS[i] for i in (21, 20, 19, 18, 17)), (-57, 740)]
    )
    line[:, 1] -= 0.3
    steps = np.linspace(0, 6, 121)
    fine = np.stack([np.interp(steps, range(7), line[:, k]) for k in (0, 1)], axis=1)
    mirrored = np.stack([-np.abs(points[:, 0]), points[:, 1]], axis=1)
    distance = np.linalg.norm(mirrored[:, None] - fine, axis=-1)
    return np.stack([distance.min(axis=1), distance.argmin(axis=1) / 120], axis=1)


def regions(points: np.ndarray, lips: np.ndarray, lids: np.ndarray, eyeball: np.ndarray):
    """Index into REGIONS for each vertex."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    label = np.full(len(points), REGIONS.index("skin"))
    label[(x > 22) & (y > 650) & (y < 722) & (z > 80)] = REGIONS.index("cheeks")
    label[y > 757] = REGIONS.index("forehead")
    label[(y < 645) & (x < 30)] = REGIONS.index("chin")
    label[(x < 19) & (y > 677) & (y < 724)] = REGIONS.index("nose")
    label[brow_distance(points)[:, 0] < 4.0] = REGIONS.index("brows")
    label[lips > 0.5] = REGIONS.index("lips")
    label[eyeball | (lids > 0.5)] = REGIONS.index("eyes")
    return label.astype(np.int32)


# --- where paint goes ----------------------------------------------------------------------------


def neighbour_mean(triangles: np.ndarray, count: int) -> sparse.csr_matrix:
    a, b = triangles.ravel(), np.roll(triangles, 1, axis=1).ravel()
    links = sparse.coo_matrix((np.ones(len(a)), (a, b)), (count, count))
    links = ((links + links.T) > 0).astype(float)
    return sparse.diags(1 / np.maximum(np.asarray(links.sum(axis=1)).ravel(), 1)) @ links


def cavity(points: np.ndarray, triangles: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """How hollow the surface is at each vertex, in [0, 1]: where little light gets to."""
    mean = neighbour_mean(triangles, len(points))
    a, b = mean.nonzero()
    towards = points[b] - points[a]
    slope = (towards * normals[a]).sum(axis=1) / np.maximum(np.linalg.norm(towards, axis=1), 1e-6)
    hollow = np.clip(
        np.bincount(a, slope, len(points)) / np.bincount(a, minlength=len(points)), 0, 0.5
    )
    for _ in range(2):
        hollow = 0.5 * hollow + 0.5 * (mean @ hollow)
    return 2 * hollow


def paint_masks(points, triangles, lips, lids, inside, axis) -> dict[str, np.ndarray]:
    """Where each kind of paint goes, in [0, 1] `[v 1]`.

    `lips`, `lids`, `inside` are MakeHuman's masks at the vertices; `axis` is the distance from the
    eye's axis in parts of the eyeball's radius, infinite off the eyeballs.
    """
    normals = mesh.vertex_normals(points, triangles)
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    distance, along = brow_distance(points).T
    thickness = 3.1 - 1.9 * along**1.5
    ends = smooth(along, 0, 0.14) * 0.6 + 0.4
    skin = ~np.isfinite(axis) * (1 - smooth(inside, 0.3, 0.7))
    nostril = smooth(-normals[:, 1], 0.7, 0.97) * (x > 4) * (x < 13) * (y > 683) * (y < 689)
    clean = skin * (1 - smooth(lips, 0.1, 0.5))
    philtrum = 1 - 0.35 * np.exp(-((x / 3.0) ** 2))
    moustache = np.exp(-(((y - 674 - 0.12 * x) / 5.2) ** 2)) * smooth(x, 33, 14) * philtrum
    sides = 0.6 * smooth(x, 48, 66) * smooth(y, 705, 660) * smooth(z, 60, 85)
    jaw = np.maximum(smooth(y, 668, 634) * (1 - 0.4 * smooth(x, 45, 65)), sides)
    lip_shadow = 1 - 0.5 * np.exp(-(((y - 646) / 5) ** 2) - (x / 16) ** 2)
    eye = np.isfinite(axis)
    ball_x = np.where(eye, axis, 9.0)
    masks = {
        "lips": smooth(lips, 0.2, 0.85) * (normals[:, 2] > -0.3) * (1 - smooth(inside, 0.3, 0.7)),
        "mouth": smooth(inside, 0.05, 0.5),
        "brows": smooth(distance, thickness + 1.5, thickness - 1.7) * ends * skin,
        "lids": smooth(lids, 0.35, 0.9) * skin * smooth(y, 723, 731),
        "rings": np.exp(-(((x - 29) / 12) ** 2) - ((y - 717.5) / 5) ** 2) * skin,
        "nostrils": nostril * skin,
        "white": eye.astype(float),
        "shade": eye * (0.30 * smooth(y, 727, 735) + 0.22 * smooth(ball_x, 0.6, 0.95)),
        "iris": eye * smooth(ball_x, 0.40, 0.345),
        "limbus": eye * smooth(ball_x, 0.24, 0.345) * (ball_x < 0.399),
        "pupil": eye * smooth(ball_x, 0.155, 0.11),
        "beard": jaw * clean * lip_shadow,
        "moustache": moustache * clean,
        "cheeks": np.exp(-(((x - 43) / 17) ** 2) - ((y - 694) / 15) ** 2) * skin,
        "nose": np.exp(-((x / 12) ** 2) - ((y - 690) / 11) ** 2) * skin,
        "folds": cavity(points, triangles, normals) * skin,
        "skin": skin,
    }
    return {name: np.clip(mask, 0, 1)[:, None] for name, mask in masks.items()}


# --- painting ------------------------------------------------------------------------------------


def paint(masks: dict[str, np.ndarray], patch: np.ndarray | float = 0.0, **person: float):
    """Albedo `[v 3]` of a person; what is not given is the mean person's. `patch` `[v 3]` is the
    relative change of the skin's colour."""
    p = {name: mean for name, (mean, _) in PERSON.items()} | person
    tint = np.array([0.3, 0.1, -1.0]) * p["yellow"] + np.array([0.3, -0.9, -0.6]) * p["blood"]
    skin = pick(TONES, p["tone"]) * (1 + tint + p["exposure"])
    hair = pick(HAIR, p["hair"])
    face = skin * (1 + patch * masks["skin"])

    def blend(name: str, colour: np.ndarray, amount: float) -> None:
        nonlocal face
        face = face + amount * masks[name] * (colour - face)

    blend("cheeks", skin * [1.0, 0.83, 0.83], p["cheeks"])
    blend("nose", skin * [1.0, 0.84, 0.83], p["nose"])
    blend("rings", skin * [0.84, 0.78, 0.80], p["rings"])
    lip = skin * np.array([0.90, 0.70, 0.72])
    lip = lip + p["lipstick"] * (np.array([0.50, 0.13, 0.16]) - lip)
    blend("lips", lip, p["lips"])
    face = face * (1 - 0.45 * p["folds"] * masks["folds"])
    shadow = 0.5 * hair + 0.3 * skin
    blend("beard", shadow, p["beard"])
    blend("moustache", shadow, p["moustache"])
    blend("brows", 0.85 * hair + 0.12 * skin, p["brows"])
    blend("lids", skin * 0.5, p["lids"])
    blend("mouth", np.array([0.16, 0.07, 0.07]), 0.85)
    blend("nostrils", skin * 0.22, 0.85)
    iris = pick(IRIS, p["iris"])
    blend("white", np.array([0.66, 0.62, 0.59]) * (1 + p["white"]), 1.0)
    blend("iris", iris * 1.15, 1.0)
    blend("limbus", iris * 0.55, 0.8)
    blend("pupil", np.full(3, 0.025), 1.0)
    blend("shade", np.zeros(3), 1.0)
    return face


def patterns(points: np.ndarray, triangles: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Smooth patterns `[v PATCHES]` on the skin, of unit mean square: the lowest vibrations of the
    surface, but for the constant."""
    chosen = np.flatnonzero(skin)
    place = np.full(len(points), -1)
    place[chosen] = np.arange(len(chosen))
    a, b = place[triangles].ravel(), place[np.roll(triangles, 1, axis=1)].ravel()
    both = (a >= 0) & (b >= 0)
    a, b = a[both], b[both]
    length = np.linalg.norm(points[chosen[a]] - points[chosen[b]], axis=1)
    links = sparse.coo_matrix((1 / length, (a, b)), (len(chosen),) * 2)
    links = (links + links.T).tocsr()
    # A vertex stands for the ground around it: about the square of its edges' mean length.
    ground = (
        np.bincount(a, length, len(chosen)) / np.maximum(np.bincount(a, minlength=len(chosen)), 1)
    ) ** 2
    laplacian = sparse.diags(np.asarray(links.sum(axis=1)).ravel() + 1e-9) - links
    start = np.cos(np.arange(len(chosen)))  # fixed, so that a rebuild gives the same
    _, vectors = eigsh(
        laplacian.tocsc(), PATCHES + 1, sparse.diags(ground + 1e-6).tocsc(), sigma=-1e-4, v0=start
    )
    out = np.zeros((len(points), PATCHES))
    # Of unit mean square over the ground; an even limit, because patterns peak at the border.
    unit = vectors[:, 1:] * np.sqrt(ground.sum() / (ground @ vectors[:, 1:] ** 2))
    out[chosen] = 1.5 * np.tanh(unit / 1.5)
    return out


def albedo_modes(masks: dict[str, np.ndarray], waves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean person's albedo `[v 3]`, and what each number about a person changes `[v 3 modes]`
    at one standard deviation (half the difference of both sides)."""
    mean = paint(masks)
    changes = []
    for name, (value, deviation) in PERSON.items():
        if name == "bend":  # how the middle of the tones departs from the line between the ends
            reach = 1.8 * PERSON["tone"][1]
            ends = [paint(masks, tone=PERSON["tone"][0] + s * reach) for s in (-1, 1)]
            changes.append(0.25 * deviation * (ends[0] + ends[1] - 2 * mean))
            continue
        # The tone's line runs through both its far ends, so that those keep their colours.
        reach = 1.8 if name == "tone" else 1.0
        high, low = (paint(masks, **{name: value + s * reach * deviation}) for s in (1, -1))
        changes.append((high - low) / (2 * reach))
    for number, wave in enumerate(waves.T):
        size = 0.024 / (1 + 0.04 * number)
        changes.append(paint(masks, patch=size * wave[:, None] * np.ones(3)) - mean)
        if number < 8:
            changes.append(
                paint(masks, patch=0.7 * size * wave[:, None] * np.array([0.25, -0.6, -0.6])) - mean
            )
    return mean, np.stack(changes, axis=-1)
