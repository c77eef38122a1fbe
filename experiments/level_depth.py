"""An exported model whose mean face over photos is as deep as the face model's mean.

    python -m experiments.level_depth MODEL DATA OUT

From the front a photo shows little of depth, so codes that were fitted to photos drift in it, all
of them alike: flat noses, receding chins. Many people's mean face is the face model's mean, whose
depth scans have measured. So the encoder's mean code of DATA's training photos (a data set in the
layout of docs/training.md) is moved by a constant, within the modes of identity, that brings the
depth of its vertices there and leaves them where they are from the front: the last bias.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.refined_codes import photo_batches
from focus_jax import weights
from focus_jax.photos.inference import find_codes
from focus_jax.photos.trained import Model, load_model
from focus_jax.types import FaceModel
from focus_jax.weights import hub
from focus_jax.weights.run import export

SIDEWAYS = 0.3  # weight of squared movements across the view, beside those left in depth
RIDGE = 0.01  # of squared deviations, a vertex


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="shipped, a run or an export")
    parser.add_argument("data", metavar="DATA", type=Path)
    parser.add_argument("out", metavar="OUT", type=Path)
    arguments = parser.parse_args(argv)
    try:
        model = load_model(arguments.model)
        if model.networks is None:
            raise ValueError(f"{arguments.model} has no encoder whose codes could be moved")
        mean = mean_identity(model, arguments.data)
        change = towards_mean_depth(mean, model.face_model)
        move(arguments.model, change, arguments.out)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    basis = np.asarray(model.face_model.identity_basis)
    before, after = (np.sqrt(np.mean((basis @ m) ** 2, 0)) for m in (mean, mean + change))
    print("| mean face off the face model's, mm | x | y | z |\n| --- | --- | --- | --- |")
    for name, apart in (("before", before), ("after", after)):
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in apart) + " |")
    return 0


def mean_identity(model: Model, data: Path) -> np.ndarray:
    """The mean identity code `[i]` of a data set's training photos; ValueError without any."""
    total, count = np.zeros(model.face_model.identity_basis.shape[-1]), 0
    for chosen, batch in photo_batches(model, data):
        total += np.asarray(find_codes(model, batch).code.identity)[: len(chosen)].sum(0)
        count += len(chosen)
    if not count:
        raise ValueError(f"{data} has no training photos")
    return total / count


def towards_mean_depth(mean: np.ndarray, face_model: FaceModel) -> np.ndarray:
    """By what an identity code `[i]` has to change to be as deep as the mean, and look the same."""
    basis = np.asarray(face_model.identity_basis, np.float64)
    count, _, modes = basis.shape
    sideways = np.sqrt(SIDEWAYS) * basis[:, :2].reshape(-1, modes)
    rows = np.concatenate([basis[:, 2], sideways, np.sqrt(RIDGE * count) * np.eye(modes)])
    wanted = np.concatenate([-basis[:, 2] @ mean, np.zeros(2 * count + modes)])
    return np.linalg.lstsq(rows, wanted, rcond=None)[0]


def move(name: str, change: np.ndarray, out: Path) -> None:
    """The model exported to `out`, whose encoder adds `change [i]` to all identity codes.

    ValueError for a folder that is there.
    """
    if out.exists():
        raise ValueError(f"{out} exists; give a folder that does not")
    export(name, out)
    encoder = weights.load(out / "encoder.safetensors")
    last = encoder["params"]["fc"]  # its first outputs are identity's
    bias = np.array(last["bias"], np.float32)
    bias[: len(change)] += change
    last["bias"] = bias
    weights.save(out / "encoder.safetensors", weights.halved(encoder))
    hub.write_sums(out)


if __name__ == "__main__":
    sys.exit(main())
