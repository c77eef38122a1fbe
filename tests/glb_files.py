"""Reads GLB as its specification says, for tests of what is written as such."""

import json
from pathlib import Path

import numpy as np

KINDS = {5126: np.float32, 5123: np.uint16, 5125: np.uint32}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}


def read_glb(path: Path):
    """The tree of a file, and a function from an accessor to its array."""
    content = path.read_bytes()
    length = int.from_bytes(content[12:16], "little")
    tree, body = json.loads(content[20 : 20 + length]), content[28 + length :]

    def piece(view: int, kind: int, width: int, count: int) -> np.ndarray:
        start = tree["bufferViews"][view]["byteOffset"]
        found = np.frombuffer(body, KINDS[kind], count * width, start)
        return found.reshape(count, width) if width > 1 else found

    def array(accessor: dict) -> np.ndarray:
        kind, width = accessor["componentType"], WIDTHS[accessor["type"]]
        if "bufferView" in accessor:
            return piece(accessor["bufferView"], kind, width, accessor["count"])
        found, sparse = np.zeros((accessor["count"], width), KINDS[kind]), accessor.get("sparse")
        if sparse:
            indices, count = sparse["indices"], sparse["count"]
            rows = piece(indices["bufferView"], indices["componentType"], 1, count)
            found[rows] = piece(sparse["values"]["bufferView"], kind, width, count)
        return found

    return tree, array


def targets(tree: dict, array) -> np.ndarray:
    """Shifts `[m v 3]` of the morph targets; their bounds are as the file says."""
    found = []
    for target in tree["meshes"][0]["primitives"][0]["targets"]:
        accessor = tree["accessors"][target["POSITION"]]
        found.append(array(accessor))
        np.testing.assert_array_equal(found[-1].min(0), np.float32(accessor["min"]))
        np.testing.assert_array_equal(found[-1].max(0), np.float32(accessor["max"]))
    return np.stack(found)
