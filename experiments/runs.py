"""Training runs of an experiment: variants of one config on several seeds, resumed and collected.

    ROOT/seed0/warm-up       the common beginning of every variant
    ROOT/seed0/initialised   the initialised autoencoder and the pre-trained segmenter
    ROOT/seed0/VARIANT       a run, begun from one of them; `result.json` says that it is finished

Everything continues where it stopped, and a finished variant is not trained again.
"""

import dataclasses
import json
import logging
import math
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from focus_jax.data.occluders import OCCLUDERS
from focus_jax.data.pipeline import evaluation_batches
from focus_jax.data.source import Records, load_splits
from focus_jax.evaluation import report
from focus_jax.evaluation.evaluate import evaluate
from focus_jax.training.schedule import Schedule
from focus_jax.training.train import train
from focus_jax.types import Config
from focus_jax.weights.run import Trained, load_trained

log = logging.getLogger(__name__)

Scores = dict[str, report.Summary]  # split -> subset -> column -> mean over photos


@dataclasses.dataclass(frozen=True)
class Variant:
    """A run that differs from the config in some fields.

    `masks` are what the autoencoder leaves out: those it learns, none, or the true ones.
    """

    name: str
    fields: tuple[tuple[str, Any], ...] = ()  # of the config: ("losses.area", 1.0)
    masks: str = "learnt"  # "none", "true"


class Spread(NamedTuple):
    mean: float
    deviation: float  # over seeds; NaN for a single one

    def __str__(self) -> str:
        if math.isnan(self.deviation):
            return f"{self.mean:.3f}"
        return f"{self.mean:.3f} ± {self.deviation:.3f}"


# --- training ----------------------------------------------------------------------------------


def seeded(config: Config, seed: int) -> Config:
    """The config with another seed, which is also that of its synthetic faces."""
    mine = config.copy_and_resolve_references()
    mine.seed = seed
    mine.compare = False
    return mine


def _stage(config: Config, **lengths: int) -> Config:
    mine = config.copy_and_resolve_references()
    mine.schedule.update(lengths)
    return mine


def share(config: Config, root: Path) -> tuple[Path | None, Path]:
    """Workdirs of a seed's warm-up, if its schedule has one, and of its initialisation.

    The warm-up includes the steps on renderings before it.
    """
    warm, initialised = root / "warm-up", root / "initialised"
    warms = config.schedule.warmup + config.schedule.get("renderings", 0) > 0
    if warms:
        _once(_stage(config, initialisation=0, pretraining=0, joint=0), warm)
        begin(warm, initialised)
    _once(_stage(config, joint=0), initialised)
    return warm if warms else None, initialised


def _once(config: Config, workdir: Path) -> None:
    # A finished run starts nothing, but it loads its data to find that out.
    if not (workdir / "finished").exists():
        train(config, workdir)
        (workdir / "finished").touch()


def begin(source: Path, workdir: Path) -> None:
    """Let a new workdir go on from the checkpoint that another run ended with."""
    if (workdir / "checkpoints").exists():
        return
    workdir.mkdir(parents=True, exist_ok=True)
    for name in ("scores", "checkpoints"):  # in this order: the second says that it is complete
        whole = workdir / f"{name}.partly"
        shutil.rmtree(whole, ignore_errors=True)
        shutil.rmtree(workdir / name, ignore_errors=True)
        shutil.copytree(source / name, whole)
        os.replace(whole, workdir / name)


def run(config: Config, variant: Variant, root: Path) -> dict[str, Any]:
    """Train a variant of a seed's config, or read what it gave: `scores`, `rounds`, `seconds`."""
    workdir = root / variant.name
    path = workdir / "result.json"
    if path.is_file():
        return json.loads(path.read_text())
    # Where a variant stops sharing: one that never sees Eq. 10's mask leaves after the warm-up.
    warm, initialised = share(config, root)
    source = initialised if variant.masks == "learnt" else warm
    mine = config.copy_and_resolve_references()
    with mine.unlocked():  # for fields of the data that a config need not have
        mine.update_from_flattened_dict(dict(variant.fields))
    if source is not None:
        begin(source, workdir)
    begun = time.monotonic()
    log.info("training %s", workdir)
    train(mine, workdir, masks=variant.masks != "none", true_masks=variant.masks == "true")
    seconds = time.monotonic() - begun
    result = {
        "variant": variant.name,
        "seed": config.seed,
        # Of this process: a run that was interrupted took longer.
        "seconds": round(seconds, 1),
        "commit": commit(),
        "scores": score(load_trained(workdir)),
        "rounds": rounds(workdir, config),
    }
    write(path, result)
    return result


def score(trained: Trained, *, prior: np.ndarray | None = None) -> Scores:
    """Summaries of the validation and the test split, after a misfit prior if one is given.

    Validation photos as they are have no true masks to choose weights by: of those with an occluder
    pasted on, which are the test split of photos, a third is the validation split here.
    """
    config = trained.config
    splits = load_splits(config, trained.recognizer, train=False)
    if config.data.name == "photos":
        validation, test = divided(splits.test)
        splits = splits._replace(validation=validation, test=test)
    scores = {}
    for name in ("validation", "test"):
        records = getattr(splits, name)
        if not len(records):
            continue
        batches = evaluation_batches(
            records, batch_size=config.data.batch_size, size=config.data.size
        )
        columns = evaluate(
            batches, trained.variables, trained.face_model, trained.networks, prior=prior
        )
        scores[name] = report.summarize(columns, OCCLUDERS)
    return scores


def divided(records: Records) -> tuple[Records, Records]:
    """A third of the records, and the rest, both with every kind of occluder alike.

    Kinds come in turn, so it is every third turn; of less than three the first part is empty.
    """
    kinds = len(OCCLUDERS) - 1
    parts: tuple[list, list] = ([], [])
    for number in range(len(records)):
        parts[number // kinds % 3 != 2].append(records[number])
    return parts


def rounds(workdir: Path, config: Config) -> list[dict[str, float]]:
    """Validation scores during the joint stage, at EM rounds that may be fractions."""
    schedule = Schedule(**config.schedule)
    start = schedule.total - schedule.joint
    wanted = {"f1": "occluded/segmenter_f1", "shape": "occluded/shape", "rmse": "occluded/rmse"}
    found = []
    for line in (workdir / "metrics.jsonl").read_text().splitlines():
        values = json.loads(line)
        if values["kind"] == "evaluation" and values["step"] > start:
            scores = {name: values[column] for name, column in wanted.items() if column in values}
            found.append({"round": (values["step"] - start) / schedule.period, **scores})
    return found


def write(path: Path, result: Mapping[str, Any]) -> None:
    """Write JSON in one piece, so that a file that exists is complete."""
    partly = path.with_suffix(".partly")
    partly.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(partly, path)


def commit() -> str:
    """The commit that ran, with a mark if files differed from it; "unknown" outside a clone."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    folder = Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


# --- collecting --------------------------------------------------------------------------------


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample deviation of one value per seed."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return Spread(float(np.mean(values)), deviation)


def over_seeds(results: Sequence[Scores], split: str, subset: str, column: str) -> Spread | None:
    """A column's mean and deviation over the seeds; None where a seed lacks it."""
    values = [r.get(split, {}).get(subset, {}).get(column) for r in results]
    if not values or any(value is None for value in values):
        return None
    return spread([float(value) for value in values if value is not None])


def scores_table(
    rows: Sequence[tuple[str, Sequence[Scores], str]], subset: str, *, split: str = "test"
) -> str:
    """Masks, colours and shapes of a subset. Rows: label, scores of each seed, mask predictor.

    Without a predictor a row has no masks; "mean face" as predictor leaves only its shape.
    """
    metrics = ("accuracy", "precision", "recall", "f1", "iou")
    faces = ("rmse", "mae", "nme", "shape", "rank")
    header = [subset, *metrics, "RMSE", "MAE", "NME %", "shape mm", "rank"]
    lines = []
    for label, results, predictor in rows:
        masks = [f"{predictor}_{m}" for m in metrics]
        shown = ["", "", "", "mean_shape", ""] if predictor == "mean face" else list(faces)
        if predictor in ("everything", "threshold"):
            shown = [""] * len(faces)  # of a mask alone
        lines.append([label, *(over_seeds(results, split, subset, c) for c in [*masks, *shown])])
    return report.table(header, lines)
