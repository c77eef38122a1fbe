"""The misfit prior (Sec. 3.4): what the pipeline gets wrong on average, subtracted afterwards.

    python -m focus_jax.training.misfit --config=configs/misfit_prior.py [--workdir=DIR] [--apply=RUN]

Trains an autoencoder without masks on synthetic faces of the model, writes the mean deviation of
its shapes as `misfit.npz`, draws it, and tests it on held-out synthetic faces: those of the run
itself, and with `--apply` as corrections of another run's results on that run's test faces.
"""

import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from focus_jax.evaluation.shape import shape_error
from focus_jax.rendering import morphable
from focus_jax.rendering.render import render_mesh
from focus_jax.training import updates
from focus_jax.types import Batch, FaceModel, TrainState

log = logging.getLogger(__name__)
AXES = ("x", "y", "z")


class Comparison(NamedTuple):
    """Mean shape error (mm) of the same faces with and without the prior, and a paired t-test."""

    without: float
    corrected: float
    p: float  # two-sided
    faces: int


def build(
    batches: Iterable[tuple[Batch, int]],
    state: TrainState,
    constants: updates.Constants,
    method: updates.Method,
) -> tuple[Float[np.ndarray, "v 3"], int]:
    """Eq. 11: the mean of predicted minus true neutral shape, and the number of faces."""
    total, faces = np.zeros(()), 0
    for batch, count in batches:
        if batch.neutral is None:
            raise ValueError(
                "the misfit prior needs true shapes, which only unaugmented synthetic faces have"
            )
        found = updates.predict(state, batch, constants, method=method)
        deviation = np.asarray(found.face.neutral, np.float64) - np.asarray(batch.neutral)
        total = total + deviation[:count].sum(axis=0)
        faces += count
    if not faces:
        raise ValueError("there are no faces to build the misfit prior from")
    return (total / faces).astype(np.float32), faces


def correct(
    vertices: Float[np.ndarray | Array, "*b v 3"], prior: Float[np.ndarray, "v 3"]
) -> np.ndarray:
    """Predicted neutral shapes minus the prior, in the face model's coordinates."""
    if vertices.shape[-2:] != prior.shape:
        raise ValueError(
            f"the misfit prior is of {len(prior)} vertices, the shapes have {vertices.shape[-2]}; "
            "build it with their face model"
        )
    return np.asarray(vertices) - prior


def _digest(face_model: FaceModel) -> str:
    # Mean and triangles: fewer modes of one model share a prior's coordinates.
    digest = hashlib.sha256(np.asarray(face_model.shape_mean, np.float32).tobytes())
    digest.update(np.asarray(face_model.triangles, np.int32).tobytes())
    return digest.hexdigest()


def save(path: Path, prior: np.ndarray, face_model: FaceModel, faces: int) -> None:
    """Write a prior with what it belongs to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, misfit=prior, face_model=_digest(face_model), faces=faces)


def load(path: Path, face_model: FaceModel) -> Float[np.ndarray, "v 3"]:
    """Read a prior; ValueError if it is none or of another face model."""
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist; build it with python -m focus_jax.training.misfit"
        )
    try:
        with np.load(path, allow_pickle=False) as arrays:
            prior, digest = arrays["misfit"], str(arrays["face_model"])
    except Exception as problem:  # what NumPy makes of a damaged archive is not foreseeable
        raise ValueError(f"{path} is not a misfit prior ({problem})") from None
    if digest != _digest(face_model):
        raise ValueError(
            f"{path} belongs to another face model; build it with this one: "
            "python -m focus_jax.training.misfit --config.face_model.name=..."
        )
    return prior


def compare(
    batches: Iterable[tuple[Batch, int]],
    state: TrainState,
    constants: updates.Constants,
    method: updates.Method,
    prior: Float[np.ndarray, "v 3"],
) -> Comparison:
    """Shape errors after rigid alignment on faces with known shape, with and without the prior."""
    without: list[np.ndarray] = []
    corrected: list[np.ndarray] = []
    measure = jax.jit(shape_error)
    for batch, count in batches:
        if batch.neutral is None:
            raise ValueError("the test of a misfit prior needs true shapes: synthetic faces")
        found = updates.predict(state, batch, constants, method=method)
        neutral = jnp.asarray(found.face.neutral)
        without.append(np.asarray(measure(neutral, batch.neutral))[:count])
        corrected.append(np.asarray(measure(correct(neutral, prior), batch.neutral))[:count])
    if not without:
        raise ValueError("there are no faces to test the misfit prior on")
    return paired(np.concatenate(without), np.concatenate(corrected))


def paired(without: np.ndarray, corrected: np.ndarray) -> Comparison:
    """Means of paired errors `[n]`, and the two-sided p-value that they are equal."""
    from scipy.stats import ttest_rel  # here: slow to import, and reading priors does without

    p = float(ttest_rel(without, corrected).pvalue)
    return Comparison(float(without.mean()), float(corrected.mean()), p, len(without))


def compare_on_test(trained: Any, prior: Float[np.ndarray, "v 3"]) -> Comparison:
    """`compare` on the test faces of a finished run (`workdir.load_trained`)."""
    from focus_jax.data.pipeline import evaluation_batches
    from focus_jax.data.source import load_splits

    data = trained.config.data
    splits = load_splits(trained.config, trained.constants.recognizer)
    batches = evaluation_batches(splits.test, batch_size=data.batch_size, size=data.size)
    return compare(batches, trained.state, trained.constants, trained.method, prior)


# --- picture -----------------------------------------------------------------------------------


def picture(path: Path, prior: np.ndarray, face_model: FaceModel, *, side: int = 320) -> None:
    """Fig. 4: the mean face from the front and the side, and the misfit along x, y and z."""
    from matplotlib import colormaps

    from focus_jax.evaluation.plots import Figure, save

    limit = float(np.abs(prior).max()) or 1.0
    colour = colormaps["coolwarm"]
    grey = np.full_like(prior, 0.7)
    panels = [("mean face", _render(face_model, grey, 0.0, side, lit=True))]
    panels += [("from the side", _render(face_model, grey, 0.9, side, lit=True))]
    for i, axis in enumerate(AXES):
        shown = colour(0.5 + 0.5 * prior[:, i] / limit)[:, :3].astype(np.float32)
        panels.append((f"along {axis}", _render(face_model, shown, 0.0, side, lit=False)))
    figure = Figure(figsize=(2.4 * len(panels), 2.8), layout="constrained")
    grid = figure.subplots(1, len(panels))
    for axes, (title, image) in zip(grid, panels, strict=True):
        axes.imshow(image)
        axes.set_title(title)
        axes.axis("off")
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = ScalarMappable(Normalize(-limit, limit), colour)
    figure.colorbar(scale, ax=grid[-1], label=f"predicted - true [{face_model.units}]")
    save(figure, path)


def _render(
    face_model: FaceModel, colours: np.ndarray, yaw: float, side: int, *, lit: bool
) -> np.ndarray:
    """The mean face in given vertex colours `[v 3]` on white."""
    none = jnp.zeros((1, 0))
    vertices = morphable.vertices(face_model, none, none)
    pose = jnp.zeros((1, 6)).at[0, 1].set(yaw)
    # Pure ambient light shows colours as they are; a lamp before the face shows its relief.
    light = np.zeros((1, 3, 9), np.float32)
    light[..., 0] = 2.6 if lit else 1 / 0.28209479
    light[..., 2] = -0.7 if lit else 0.0
    found = render_mesh(
        vertices,
        jnp.asarray(colours)[None],
        jnp.asarray(face_model.triangles),
        pose,
        jnp.asarray(light.reshape(1, 27)),
        side,
        side,
    )
    return np.clip(np.asarray(found.image + (1 - found.coverage))[0], 0, 1)


# --- the command -------------------------------------------------------------------------------


def run(config: Any, workdir: Path, *, apply: Path | None = None) -> dict[str, Comparison]:
    """Train, build, draw and test a prior into a workdir; resumes the training."""
    from focus_jax.data.pipeline import evaluation_batches
    from focus_jax.data.source import load_splits
    from focus_jax.training.train import train
    from focus_jax.weights.run import load_trained

    if config.data.name != "synthetic":
        raise ValueError("the misfit prior is built from synthetic faces: config.data.name")
    # Training sees augmented versions, whose shapes are unknown; the prior is measured on faces of
    # the training set as they are.
    train(config, workdir, masks=False)
    trained = load_trained(workdir)
    plain = config.copy_and_resolve_references()
    plain.data.versions = 0
    faces = load_splits(plain, trained.constants.recognizer)
    sizes = {"batch_size": config.data.batch_size, "size": config.data.size}
    network = (trained.state, trained.constants, trained.method)
    prior, count = build(evaluation_batches(faces.train, **sizes), *network)
    face_model = trained.constants.face_model
    save(workdir / "misfit.npz", prior, face_model, count)
    picture(workdir / "misfit", prior, face_model)
    tests = {"own": compare(evaluation_batches(faces.test, **sizes), *network, prior)}
    if apply is not None:
        other = load_trained(apply)
        theirs = load(workdir / "misfit.npz", other.constants.face_model)
        tests[str(apply)] = compare_on_test(other, theirs)
    numbers = {name: t._asdict() for name, t in tests.items()}
    (workdir / "misfit.json").write_text(json.dumps(numbers, indent=1) + "\n")
    return tests


def main(argv: list[str]) -> None:
    del argv
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    config = _CONFIG.value
    workdir = Path(_WORKDIR.value or f"runs/{config.name}")
    apply = Path(_APPLY.value) if _APPLY.value else None
    for name, t in run(config, workdir, apply=apply).items():
        print(
            f"{name}: shape error {t.without:.3f} mm, with the prior {t.corrected:.3f} mm "
            f"(paired t-test on {t.faces} faces: p = {t.p:.1e})"
        )


if __name__ == "__main__":
    from absl import flags
    from ml_collections import config_flags

    from focus_jax.system import command

    _CONFIG = config_flags.DEFINE_config_file("config", None, "Settings.", lock_config=True)
    _WORKDIR = flags.DEFINE_string("workdir", None, "Where results go; runs/<config.name>.")
    _APPLY = flags.DEFINE_string("apply", None, "Workdir of a run whose results to correct too.")
    flags.mark_flag_as_required("config")
    command.run(main)
