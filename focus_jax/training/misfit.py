"""The misfit prior (Sec. 3.4): what the pipeline gets wrong on average, subtracted afterwards.

Trains an autoencoder without masks on synthetic faces of the model, writes the mean deviation of
its shapes as `misfit.npz`, draws it, and tests it on held-out synthetic faces: those of the run
itself, and with `--apply` as corrections of another run's results on that run's test faces. With
`--model` nothing is trained: the deviation is that of a model that is there.
"""

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from focus_jax import forward
from focus_jax.data.pipeline import evaluation_batches
from focus_jax.data.source import load_splits
from focus_jax.evaluation.shape import shape_error
from focus_jax.face_models.misfit import correct, load, save
from focus_jax.rendering import morphable
from focus_jax.rendering.render import render_mesh
from focus_jax.training.train import train
from focus_jax.types import Batch, FaceModel
from focus_jax.weights.run import Trained, load_trained

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
    trained: Trained,
) -> tuple[Float[np.ndarray, "v 3"], int]:
    """Eq. 11: the mean of predicted minus true neutral shape, and the number of faces."""
    total, faces = np.zeros(()), 0
    for batch, count in batches:
        if batch.neutral is None:
            raise ValueError(
                "the misfit prior needs true shapes, which only unaugmented synthetic faces have"
            )
        found = _predict(trained, batch)
        deviation = np.asarray(found.face.neutral, np.float64) - np.asarray(batch.neutral)
        total = total + deviation[:count].sum(axis=0)
        faces += count
    if not faces:
        raise ValueError("there are no faces to build the misfit prior from")
    return (total / faces).astype(np.float32), faces


def compare(
    batches: Iterable[tuple[Batch, int]],
    trained: Trained,
    prior: Float[np.ndarray, "v 3"],
) -> Comparison:
    """Shape errors after rigid alignment on faces with known shape, with and without the prior."""
    without: list[np.ndarray] = []
    corrected: list[np.ndarray] = []
    measure = jax.jit(shape_error)
    for batch, count in batches:
        if batch.neutral is None:
            raise ValueError("the test of a misfit prior needs true shapes: synthetic faces")
        found = _predict(trained, batch)
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


def _predict(trained: Trained, batch: Batch) -> forward.Prediction:
    return forward.predict(trained.variables, batch, trained.face_model, networks=trained.networks)


def compare_on_test(trained: Trained, prior: Float[np.ndarray, "v 3"]) -> Comparison:
    """`compare` on the test faces of a finished run."""
    data = trained.config.data
    splits = load_splits(trained.config, trained.recognizer, train=False)
    batches = evaluation_batches(splits.test, batch_size=data.batch_size, size=data.size)
    return compare(batches, trained, prior)


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


# --- all of it -------------------------------------------------------------------------------


def run(
    config: Any, workdir: Path, *, apply: str | None = None, model: str | None = None
) -> dict[str, Comparison]:
    """Train, build, draw and test a prior into a workdir; resumes the training.

    Of a trained `model` it takes no training: the config's seed and counts of faces are all that
    matters then.
    """
    if config.data.name != "synthetic":
        raise ValueError("the misfit prior is built from synthetic faces: config.data.name")
    if model is None:
        train(config, workdir, masks=False)
    trained = load_trained(workdir if model is None else model)
    # Training sees augmented versions, whose shapes are unknown; the prior is measured on faces of
    # the training set as they are.
    plain = (
        config if model is None else _judged(trained.config, config)
    ).copy_and_resolve_references()
    with plain.unlocked():  # a config need not have the field
        plain.data.versions = 0
    faces = load_splits(plain, trained.recognizer)
    sizes = {"batch_size": config.data.batch_size, "size": plain.data.size}
    prior, count = build(evaluation_batches(faces.train, **sizes), trained)
    face_model = trained.face_model
    save(workdir / "misfit.npz", prior, face_model, count)
    picture(workdir / "misfit", prior, face_model)
    tests = {"own": compare(evaluation_batches(faces.test, **sizes), trained, prior)}
    if apply is not None:
        other = load_trained(apply)
        theirs = load(workdir / "misfit.npz", other.face_model)
        tests[apply] = compare_on_test(other, theirs)
    numbers = {name: t._asdict() for name, t in tests.items()}
    (workdir / "misfit.json").write_text(json.dumps(numbers, indent=1) + "\n")
    return tests


def _judged(config: Any, faces: Any) -> Any:
    """A model's config, of the synthetic faces of another."""
    found = config.copy_and_resolve_references()
    found.seed = faces.seed
    with found.unlocked():
        found.data.update(
            name="synthetic", codes="", cut="", occluded=faces.data.get("occluded", 0.5)
        )
        for name in ("train_count", "validation_count", "test_count", "cache"):
            found.data[name] = faces.data[name]
    return found
