"""The supplement's Fig. 4: the weights of the segmentation losses, changed one at a time.

    python -m experiments.hyperparameters --config=configs/em.py --seeds=0,1,2
    python -m experiments.hyperparameters --config=configs/em.py:smoke --seeds=0 --factors=0.5

Each of eta 1 to 5 is multiplied by each factor while the others keep the config's values. All runs
of a seed begin from one autoencoder; with `--workdir` that of experiments/ablation.py with the same
config, from the one that is there, whose full method is not trained again. Writes
`hyperparameters.md`, `.json` and the plot; repeat the command to go on.
"""

import logging
import sys
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from experiments import runs
from experiments.ablation import FULL
from experiments.runs import Variant
from focus_jax.evaluation import plots, report
from focus_jax.system import command
from focus_jax.types import Config

ETAS = ("neighbour", "distance", "area", "preserve", "binary")  # eta 1 to 5
SCORES = ("accuracy", "precision", "recall", "f1")


def variant(config: Config, eta: str, factor: float) -> Variant:
    """The config with one weight multiplied; at factor 1 the one run that all panels share."""
    if factor == 1:
        return Variant(FULL)
    value = factor * config.losses[eta]
    return Variant(f"{eta} {value:g}", ((f"losses.{eta}", value),))


def run(
    config: Config, root: Path, seeds: list[int], factors: tuple[float, ...]
) -> dict[str, dict[float, list[dict[str, Any]]]]:
    """Results of each seed by weight and its value. Trains what is missing."""
    if any(factor < 0 for factor in factors):
        raise ValueError(f"--factors must not be negative: {factors}")
    found: dict[str, dict[float, list[dict[str, Any]]]] = {}
    for eta in ETAS:
        for factor in sorted({*factors, 1.0}):
            chosen = variant(config, eta, factor)
            done = [runs.run(runs.seeded(config, s), chosen, root / f"seed{s}") for s in seeds]
            found.setdefault(eta, {})[factor * config.losses[eta]] = done
    return found


def collect(found: dict[str, dict[float, list[dict[str, Any]]]], out: Path, *, title: str) -> str:
    """Write table, numbers and plot of `run` (test split, occluded faces); returns the markdown."""
    rows, panels = [], {}
    for number, (eta, values) in enumerate(found.items(), start=1):
        lines: dict[str, tuple[list[float], list[float], list[float]]] = {}
        for value, results in values.items():
            scores = [r["scores"] for r in results]
            row = []
            for name in SCORES:
                spread = runs.over_seeds(scores, "test", "occluded", f"segmenter_{name}")
                row.append(spread)
                if spread is not None:
                    x, mean, deviation = lines.setdefault(name, ([], [], []))
                    x.append(value)
                    mean.append(spread.mean)
                    deviation.append(spread.deviation if len(results) > 1 else 0.0)
            kept = runs.over_seeds(scores, "test", "occluded", "kept")
            rows.append([f"eta {number}, {eta}", f"{value:g}", *row, kept])
        panels[f"eta {number}, {eta}"] = lines
    parts = [
        f"# {title}",
        "Mean ± deviation over seeds; test split, occluded faces, inside the rendered face.",
        report.table(["weight", "value", *SCORES, "kept as face"], rows),
    ]
    text = "\n\n".join(parts) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    (out / "hyperparameters.md").write_text(text)
    runs.write(out / "hyperparameters.json", found)
    plots.save(plots.sweep(panels), out / "hyperparameters")
    return text


def main(argv: list[str]) -> None:
    del argv
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    config = _CONFIG.value
    root = Path(_WORKDIR.value or f"runs/hyperparameters-{config.name}")
    factors = tuple(float(f) for f in _FACTORS.value)
    found = run(config, root, [int(s) for s in _SEEDS.value], factors)
    command = " ".join(["python -m experiments.hyperparameters", *sys.argv[1:]])
    print(collect(found, root, title=f"Loss weights of {config.name}: `{command}`"))


if __name__ == "__main__":
    _CONFIG = config_flags.DEFINE_config_file("config", None, "Settings.", lock_config=True)
    _WORKDIR = flags.DEFINE_string("workdir", None, "runs/hyperparameters-<config.name>.")
    _SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds, each a whole set of runs.")
    _FACTORS = flags.DEFINE_list("factors", ["0.25", "0.5", "2", "4"], "Of the config's weights.")
    flags.mark_flag_as_required("config")
    command.run(main)
