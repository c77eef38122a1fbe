"""The tables of a finished run on one of its splits, as the paper prints them.

Masks of everything-face, of the threshold, of the segmenter, and its soft mask; colours; shapes.
Subsets are those of the truth (occluded, heavily occluded, by occluder) or the values of a csv's
column, whose rows have the photos' names as `filename`.
"""

from pathlib import Path

import numpy as np

from focus_jax.data.occluders import OCCLUDERS
from focus_jax.data.pipeline import evaluation_batches
from focus_jax.data.source import load_splits
from focus_jax.evaluation import report
from focus_jax.evaluation.evaluate import PREDICTORS, evaluate
from focus_jax.weights.run import Trained


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
    records = getattr(load_splits(trained.config, trained.recognizer, train=False), split)
    batches = evaluation_batches(records, batch_size=data.batch_size, size=data.size)
    columns = evaluate(
        batches, trained.variables, trained.face_model, trained.networks, prior=prior
    )
    if subsets is None:
        summary = report.summarize(columns, OCCLUDERS)
    else:
        names = [records[int(i)]["filename"] for i in columns["index"]]
        summary = report.summarize_subsets(columns, report.read_subsets(subsets, names, column))
    predictors = (*PREDICTORS, "soft") if "segmenter_f1" in columns else ("none",)
    return report.subset_table(summary, predictors) + "\n\n" + report.shape_table(summary)
