"""An exported model whose faces are as deep as scans, in the mean over people drawn from them.

    python -m experiments.level_scans MODEL ICT SKINS OUT [--people 80] [--seed 11]

A photo's depth is guessed, and the guess can be wrong of everybody alike: chins too far in, noses
too flat. People drawn from ICT-FaceKit's statistics (`focus_jax.evaluation.pseudo_scans`; ICT and
SKINS as `focus-jax evaluate scans` takes them), other ones than any table's, have a known shape. By
a constant, within the modes of identity and along the line of sight, the faces that the encoder
finds in their pictures are brought to lie on it: the last bias. From the front nothing moves.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.level_depth import SIDEWAYS, move
from focus_jax.data.detect import Source, landmark_source
from focus_jax.evaluation import scans
from focus_jax.evaluation.pseudo_scans import draw_people
from focus_jax.photos import measure_scans
from focus_jax.photos.measure_scans import Target
from focus_jax.photos.trained import Model, load_model
from focus_jax.rendering.geometry import vertex_normals
from focus_jax.types import FaceModel

RIDGE = 0.05  # of squared deviations, a point that is compared
ROUNDS = 3  # closest points move with the face


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="shipped, a run or an export")
    parser.add_argument("ict", metavar="ICT", type=Path)
    parser.add_argument("skins", metavar="SKINS", type=Path)
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--people", type=int, default=80)
    parser.add_argument("--seed", type=int, default=11, help="0 draws those that are measured")
    arguments = parser.parse_args(argv)
    try:
        model = load_model(arguments.model)
        if model.networks is None:
            raise ValueError(f"{arguments.model} has no encoder whose codes could be moved")
        drawn = draw_people(arguments.ict, arguments.skins, arguments.people, seed=arguments.seed)
        targets = [measure_scans.target_of(one) for one in drawn]
        shapes = fitted(model, landmark_source("mediapipe"), targets)
        change = towards_scans(targets, shapes, model.face_model)
        move(arguments.model, change, arguments.out)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def fitted(model: Model, source: Source, targets: Sequence[Target]) -> dict[str, np.ndarray]:
    """Neutral faces `[v 3]` that the encoder finds, by picture; ValueError where it finds none."""
    seen, _ = measure_scans.fit_first(model, targets, 0, source=source, batch_size=8)
    if not seen:
        raise ValueError(f"no face is found in any of the {len(targets)} pictures")
    return {name: np.asarray(one.neutral, np.float64) for name, one in seen.items()}


def towards_scans(
    targets: Sequence[Target], shapes: Mapping[str, np.ndarray], face_model: FaceModel
) -> np.ndarray:
    """By what an identity code `[i]` has to change for these shapes to lie on their scans."""
    basis = np.asarray(face_model.identity_basis, np.float64)
    normals = np.asarray(vertex_normals(face_model.shape_mean, face_model.triangles), np.float64)
    change = np.zeros(basis.shape[-1])
    for _ in range(ROUNDS):
        # How far outside the face its scan lies, at each vertex: the mean over people.
        total, count = np.zeros(len(basis)), np.zeros(len(basis))
        for target in targets:
            if target.name in shapes:
                mesh = measure_scans.mesh_of(shapes[target.name] + basis @ change, face_model)
                found = scans.compare(target.points, target.landmarks, *mesh, name=target.name)
                np.add.at(total, found.vertex, found.signed)
                np.add.at(count, found.vertex, 1)
        met = np.flatnonzero(count)
        weights = np.sqrt(count[met])[:, None]
        rows = weights * normals[met, 2:] * basis[met, 2]
        sideways = np.sqrt(SIDEWAYS) * (weights[..., None] * basis[met, :2]).reshape(
            -1, len(change)
        )
        ridge = np.sqrt(RIDGE * count.sum()) * np.eye(len(change))
        off = weights[:, 0] * total[met] / count[met]
        wanted = np.concatenate([off, np.zeros(len(sideways)), -ridge @ change])
        change += np.linalg.lstsq(np.concatenate([rows, sideways, ridge]), wanted, rcond=None)[0]
    return change


if __name__ == "__main__":
    sys.exit(main())
