"""The tables of a finished run on one of its splits, as the paper prints them.

    python -m focus_jax.evaluation.tables --workdir=runs/em [--split=test] [--misfit=misfit.npz]
    python -m focus_jax.evaluation.tables --workdir=runs/em-photos --split=validation \\
        --subsets=kinds.csv --column=kind

Masks of everything-face, of the threshold, of the segmenter, and its soft mask; colours; shapes.
Subsets are those of the truth (occluded, heavily occluded, by occluder) or the values of a csv's
column, whose rows have the photos' names as `filename`.
"""

from pathlib import Path

import numpy as np
from absl import flags

from focus_jax.data.occluders import OCCLUDERS
from focus_jax.data.pipeline import evaluation_batches
from focus_jax.data.source import load_splits
from focus_jax.evaluation import report
from focus_jax.evaluation.evaluate import PREDICTORS, evaluate
from focus_jax.system import command
from focus_jax.training import misfit
from focus_jax.weights.run import Trained, load_trained


def tables(
    trained: Trained,
    split: str,
    *,
    subsets: Path | None = None,
    column: str = "",
    prior: np.ndarray | None = None,
) -> str:
    """Markdown of the masks, colours and, where they are known, shapes of a split."""
    data = trained.config.data
    records = getattr(load_splits(trained.config, trained.constants.recognizer), split)
    batches = evaluation_batches(records, batch_size=data.batch_size, size=data.size)
    columns = evaluate(batches, trained.state, trained.constants, trained.method, prior=prior)
    if subsets is None:
        summary = report.summarize(columns, OCCLUDERS)
    else:
        names = [records[int(i)]["filename"] for i in columns["index"]]
        summary = report.summarize_subsets(columns, report.read_subsets(subsets, names, column))
    predictors = (*PREDICTORS, "soft") if "segmenter_f1" in columns else ("none",)
    return report.subset_table(summary, predictors) + "\n\n" + report.shape_table(summary)


def main(argv: list[str]) -> None:
    del argv
    trained = load_trained(Path(_WORKDIR.value))
    face_model = trained.constants.face_model
    print(
        tables(
            trained,
            _SPLIT.value,
            subsets=Path(_SUBSETS.value) if _SUBSETS.value else None,
            column=_COLUMN.value,
            prior=misfit.load(Path(_MISFIT.value), face_model) if _MISFIT.value else None,
        )
    )


if __name__ == "__main__":
    _WORKDIR = flags.DEFINE_string("workdir", None, "Of a training run.", required=True)
    _SPLIT = flags.DEFINE_enum("split", "test", ("validation", "test"), "Which photos.")
    _SUBSETS = flags.DEFINE_string("subsets", None, "Csv with the columns filename and --column.")
    _COLUMN = flags.DEFINE_string("column", "subset", "The csv's column that names subsets.")
    _MISFIT = flags.DEFINE_string("misfit", None, "Misfit prior to subtract.")
    command.run(main)
