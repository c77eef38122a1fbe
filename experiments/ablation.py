"""The paper's ablation (its Tables 1, 3 and 5): what each part of the method contributes.

    python -m experiments.ablation --config=configs/em.py --seeds=0,1,2
    python -m experiments.ablation --config=configs/em.py:photos --config.data.root=FOLDER
    python -m experiments.ablation --config=configs/em.py:smoke --seeds=0 --misfit_faces=24

On synthetic faces with the first, on validation photos with pasted occluders with the second. What
hides a face in the photo itself counts as face there, so that FOLDER/val_landmarks.csv should list
photos of unoccluded faces. All variants of a seed begin from one autoencoder
(`experiments/runs.py`). `--areas=0.5,0.85,1.2` trains each variant with a segmenter at each area
weight on the first seed and takes the one with the best validation F1 on occluded faces, alike for
all; without it they have the config's. Of photos a third chooses and the rest is the test.
Writes `ablation.md`, `.json` and plots; repeat the command to go on.
"""

import json
import logging
import math
import sys
import time
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from experiments import runs
from experiments.runs import Scores, Variant
from focus_jax.data.occluders import OCCLUDERS
from focus_jax.evaluation import plots, report
from focus_jax.system import command
from focus_jax.training import misfit
from focus_jax.training.schedule import Schedule
from focus_jax.types import Config
from focus_jax.weights.run import load_trained

FULL = "full"
WITH_PRIOR = "full + misfit prior"
PRETRAINED = "pretrained"
LEARNT = (
    # Eq. 5 in place of both: the neighbour loss with no neighbours but the pixel itself.
    Variant(
        "baseline",
        (("losses.neighbour_window", 1), ("losses.distance", 0.0), ("losses.preserve", 0.0)),
    ),
    Variant("neighbour", (("losses.distance", 0.0), ("losses.preserve", 0.0))),
    Variant("perceptual", (("losses.neighbour", 0.0),)),
    Variant(FULL),
)
SUPERVISED = (
    Variant("true masks", (), "true"),
    Variant("true masks, cutout", (("data.cut", "cutout"),), "true"),
    Variant("true masks, cutmix", (("data.cut", "cutmix"),), "true"),
)
SUBSETS = ("occluded", "heavy", "unoccluded")
# What the paper says of its parts: a variant's column is larger than another's, on occluded faces.
CLAIMS = (
    ("learnt masks beat calling everything face, F1", (FULL, "f1"), (FULL, "everything_f1")),
    ("... and the threshold of Eq. 10", (FULL, "f1"), (FULL, "threshold_f1")),
    ("... and the baseline, Eq. 5", (FULL, "f1"), ("baseline", "f1")),
    ("the neighbour loss alone beats the baseline", ("neighbour", "f1"), ("baseline", "f1")),
    ("the perceptual losses alone do", ("perceptual", "f1"), ("baseline", "f1")),
    ("both beat the neighbour loss alone", (FULL, "f1"), ("neighbour", "f1")),
    ("masks bring colours closer, RMSE", ("no mask", "rmse"), (FULL, "rmse")),
    ("masks bring shapes closer, mm", ("no mask", "shape"), (FULL, "shape")),
    ("... and closer than true masks do, mm", ("true masks", "shape"), (FULL, "shape")),
    ("the mean face is farther off, mm", (FULL, "mean_shape"), (FULL, "shape")),
)


def variants(config: Config) -> tuple[Variant, ...]:
    """Those that a config's data allow: photos have no true masks to train with."""
    supervised = SUPERVISED if config.data.name == "synthetic" else ()
    # As many steps of the autoencoder as the others, with the segmenter as it was pre-trained.
    joint = Schedule(**config.schedule).without_masks().joint
    fields = (("schedule.joint", joint), ("schedule.segmenter_steps", 0))
    return (Variant("no mask", (), "none"), Variant(PRETRAINED, fields), *LEARNT, *supervised)


def at_area(config: Config, variant: Variant, area: float) -> Variant:
    """The variant at a weight of the area loss: itself at the config's."""
    if area == config.losses.area:
        return variant
    fields = (*variant.fields, ("losses.area", area))
    return Variant(f"{variant.name}, area {area:g}", fields, variant.masks)


def tunable(variant: Variant) -> bool:
    """Whether the area weight changes anything: a segmenter is trained in the joint stage."""
    return variant.masks == "learnt" and variant.name != PRETRAINED


def choose(candidates: dict[float, list[dict[str, Any]]]) -> float:
    """The area weight whose validation F1 on occluded faces is best in the mean over its seeds."""

    def quality(area: float) -> float:
        scores = [r["scores"] for r in candidates[area]]
        found = runs.over_seeds(scores, "validation", "occluded", "segmenter_f1")
        if found is None:
            raise ValueError("choosing area weights needs validation faces with true masks")
        return found.mean

    return max(candidates, key=quality)


def run(
    config: Config,
    root: Path,
    seeds: list[int],
    *,
    areas: tuple[float, ...] = (),
    misfit_faces: int = 5000,
    only: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Train what is missing; results of each seed by variant, and what was chosen."""
    results: dict[str, list[dict[str, Any]]] = {}
    chosen: dict[str, float] = {}
    for variant in variants(config):
        if only and variant.name not in only:
            continue

        def train(v: Variant, seeds: list[int]) -> list[dict[str, Any]]:
            return [runs.run(runs.seeded(config, s), v, root / f"seed{s}") for s in seeds]

        if areas and tunable(variant):
            found = {area: train(at_area(config, variant, area), seeds[:1]) for area in areas}
            area = chosen[variant.name] = choose(found)
            results[variant.name] = train(at_area(config, variant, area), seeds)
        else:
            results[variant.name] = train(variant, seeds)
    tests = {}
    if misfit_faces and FULL in results:
        area = chosen.get(FULL, config.losses.area)
        name = at_area(config, Variant(FULL), area).name
        done = [with_prior(config, root / f"seed{s}", s, name, misfit_faces) for s in seeds]
        results[WITH_PRIOR] = done
        tests = {f"seed {s}": d["test"] for s, d in zip(seeds, done, strict=True) if d["test"]}
    return {"results": results, "areas": chosen, "misfit": tests}


def with_prior(config: Config, root: Path, seed: int, name: str, faces: int) -> dict[str, Any]:
    """Scores of a finished run after the misfit prior of a separately trained autoencoder."""
    path = root / "misfit" / f"{name}.json"
    if path.is_file():
        return json.loads(path.read_text())
    # Its own faces: another seed than that of the run which it corrects and is tested on.
    mine = runs.seeded(config, 1000 + seed)
    mine.data.name, mine.data.train_count = "synthetic", faces
    for field, least in (("validation_count", 100), ("test_count", 200)):
        mine.data[field] = mine.data[field] or least
    with mine.unlocked():
        mine.data.occluded = 0.0
    begun = time.monotonic()
    misfit.run(mine, root / "misfit")
    trained = load_trained(root / name)
    prior = misfit.load(root / "misfit" / "misfit.npz", trained.face_model)
    scores = runs.score(trained, prior=prior)
    test = None
    if trained.config.data.name == "synthetic":
        test = misfit.compare_on_test(trained, prior)._asdict()
    result = {
        "variant": WITH_PRIOR,
        "seed": seed,
        "seconds": round(time.monotonic() - begun, 1),
        "commit": runs.commit(),
        "scores": scores,
        "rounds": [],
        "test": test,
    }
    runs.write(path, result)
    return result


# --- the page ----------------------------------------------------------------------------------


def collect(found: dict[str, Any], out: Path, *, title: str) -> str:
    """Write the tables, numbers and plots of `run`; returns the markdown."""
    results: dict[str, list[dict[str, Any]]] = found["results"]
    scores: dict[str, list[Scores]] = {n: [r["scores"] for r in rs] for n, rs in results.items()}
    reference = scores[FULL] if FULL in scores else next(iter(scores.values()))
    rows = [
        ("everything is face", reference, "everything"),
        ("threshold (Eq. 10)", reference, "threshold"),
        ("mean face", reference, "mean face"),
    ]
    for name, theirs in scores.items():
        learnt = name in {v.name for v in LEARNT} | {PRETRAINED, WITH_PRIOR}
        rows.append((name, theirs, "segmenter" if learnt else ""))
    seeds = [r["seed"] for r in next(iter(results.values()))]
    parts = [f"# {title}", f"Mean ± deviation over the seeds {seeds}; test split."]
    if found["areas"]:
        parts.append(f"Area weights chosen on the first seed's validation split: {found['areas']}.")
    scored = [subset for subset in SUBSETS if any(subset in r["test"] for r in reference)]
    parts += [runs.scores_table(rows, subset) for subset in scored]
    parts += ["## Claims, on occluded faces", _claims(scores)]
    if FULL in scores:
        parts += ["## By occluder", _kinds(scores[FULL])]
        parts += ["## By EM round (validation, occluded)", _rounds(results[FULL])]
    if found["misfit"]:
        parts += ["## Misfit prior, shape error on the test faces", _tests(found["misfit"])]
    parts += ["## Time", _times(results)]
    text = "\n\n".join(parts) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    (out / "ablation.md").write_text(text)
    runs.write(out / "ablation.json", found)
    for column, label in (("segmenter_f1", "F1"), ("rmse", "RMSE"), ("shape", "shape error [mm]")):
        groups = {}
        for name, theirs, predictor in rows:
            value = runs.over_seeds(theirs, "test", "occluded", column)
            masks = column == "segmenter_f1"
            if value is None or (predictor != "segmenter" and (masks or predictor)):
                continue
            deviation = 0.0 if math.isnan(value.deviation) else value.deviation
            groups[name] = (value.mean, deviation)
        if groups:
            plots.save(plots.bars(groups, f"{label}, occluded faces"), out / f"ablation_{column}")
    return text


def _claims(scores: dict[str, list[Scores]]) -> str:
    """Mean differences over the seeds. Within three standard errors of none one may be chance."""
    rows = []
    for claim, *both in CLAIMS:
        larger, smaller = (_of_seeds(scores.get(name, []), column) for name, column in both)
        if not larger or len(larger) != len(smaller):
            continue
        found = runs.spread([a - b for a, b in zip(larger, smaller, strict=True)])
        error = found.deviation / math.sqrt(len(larger))
        holds = "one seed" if math.isnan(error) else "no" if found.mean <= 0 else "within chance"
        if found.mean > 3 * error:
            holds = "yes"
        rows.append([claim, f"{found.mean:+.3f}", f"{error:.3f}", holds])
    return report.table(["claim", "larger by", "standard error", "holds"], rows)


def _of_seeds(theirs: list[Scores], column: str) -> list[float]:
    column = f"segmenter_{column}" if column == "f1" else column
    means = [of_seed["test"]["occluded"] for of_seed in theirs]
    return [float(m[column]) for m in means if column in m]


def _kinds(theirs: list[Scores]) -> str:
    columns = ("segmenter_f1", "everything_f1", "segmenter_iou", "everything_iou", "shape")
    rows = []
    for kind in OCCLUDERS[1:]:
        values = [runs.over_seeds(theirs, "test", kind, c) for c in columns]
        if any(value is not None for value in values):
            rows.append([kind, *values])
    header = ["full", "F1", "everything F1", "IoU", "everything IoU", "shape mm"]
    return report.table(header, rows)


def _rounds(theirs: list[dict[str, Any]]) -> str:
    # Seeds share one schedule, hence their evaluations too.
    rows = []
    for of_seeds in zip(*(r["rounds"] for r in theirs), strict=False):
        values = []
        for column in ("f1", "shape", "rmse"):
            numbers = [r[column] for r in of_seeds if column in r]
            values.append(runs.spread(numbers) if len(numbers) == len(of_seeds) else None)
        rows.append([f"{of_seeds[0]['round']:.2f}", *values])
    return report.table(["round", "F1", "shape mm", "RMSE"], rows)


def _tests(tests: dict[str, dict[str, float]]) -> str:
    header = ["", "faces", "without mm", "with mm", "p (paired t-test)"]
    rows = [
        [name, t["faces"], t["without"], t["corrected"], f"{t['p']:.1e}"]
        for name, t in tests.items()
    ]
    return report.table(header, rows)


def _times(results: dict[str, list[dict[str, Any]]]) -> str:
    rows = [
        [name, ", ".join(f"{r['seconds']:.0f}" for r in rs), ", ".join({r["commit"] for r in rs})]
        for name, rs in results.items()
    ]
    return report.table(["variant", "seconds of each seed", "commit"], rows)


def main(argv: list[str]) -> None:
    del argv
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    config = _CONFIG.value
    root = Path(_WORKDIR.value or f"runs/ablation-{config.name}")
    found = run(
        config,
        root,
        [int(s) for s in _SEEDS.value],
        areas=tuple(float(a) for a in _AREAS.value),
        misfit_faces=_MISFIT_FACES.value,
        only=tuple(_ONLY.value),
    )
    command = " ".join(["python -m experiments.ablation", *sys.argv[1:]])
    print(collect(found, root, title=f"Ablation of {config.name}: `{command}`"))


if __name__ == "__main__":
    _CONFIG = config_flags.DEFINE_config_file("config", None, "Settings.", lock_config=True)
    _WORKDIR = flags.DEFINE_string("workdir", None, "Where runs go; runs/ablation-<config.name>.")
    _SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds, each a whole set of runs.")
    _AREAS = flags.DEFINE_list("areas", [], "Area weights to choose from on the first seed.")
    _MISFIT_FACES = flags.DEFINE_integer("misfit_faces", 5000, "Of the misfit prior; 0: without.")
    _ONLY = flags.DEFINE_list("only", [], "Names of the variants to run; by default all.")
    flags.mark_flag_as_required("config")
    command.run(main)
