"""Tables of scores: a summary of each subset as JSON, and the markdown that people read."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Summary = dict[str, dict[str, float]]  # subset -> column -> mean over its photos


def summarize(columns: Mapping[str, np.ndarray], occluders: Sequence[str]) -> Summary:
    """Means of every column over all photos, over the occluded and the unoccluded, and by kind.

    Photos without `occluder` truth form the one subset "all". Each subset has its size as `count`.
    """
    count = len(columns["index"])
    subsets = {"all": np.ones(count, bool)}
    if "occluder" in columns:
        kind = columns["occluder"]
        subsets |= {"unoccluded": kind == 0, "occluded": kind > 0}
        subsets |= {name: kind == i for i, name in enumerate(occluders) if i > 0}
    means = {}
    for subset, chosen in subsets.items():
        if chosen.any():
            values = {
                k: float(np.mean(v[chosen]))
                for k, v in columns.items()
                if k not in ("index", "occluder")
            }
            means[subset] = {"count": int(chosen.sum()), **values}
    return means


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A markdown table; floats to three decimals, missing values as a dash."""

    def cell(value: Any) -> str:
        if value is None:
            return "-"
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(cell(v) for v in row) + " |" for row in rows]
    return "\n".join(lines)


def mask_table(results: Sequence[tuple[str, Summary, str]]) -> str:
    """Rows of (label, summary, predictor): mask scores of the occluded and unoccluded photos."""
    metrics = ("accuracy", "precision", "recall", "f1", "iou")
    header = [
        "inside the rendered face",
        *(f"occluded {m}" for m in metrics),
        "unoccluded f1",
        "unoccluded iou",
    ]
    rows = []
    for label, summary, predictor in results:
        hard, easy = summary.get("occluded", {}), summary.get("unoccluded", {})
        rows.append(
            [label]
            + [hard.get(f"{predictor}_{m}") for m in metrics]
            + [easy.get(f"{predictor}_{m}") for m in ("f1", "iou")]
        )
    return table(header, rows)


def kind_table(summary: Summary, occluders: Sequence[str]) -> str:
    """F1 and IoU of the segmenter and of everything-face for each kind of occluder."""
    header = ["occluder", "photos", "f1", "everything f1", "iou", "everything iou"]
    rows = [
        [
            kind,
            int(summary[kind]["count"]),
            *(
                summary[kind].get(f"{p}_{m}")
                for m in ("f1", "iou")
                for p in ("segmenter", "everything")
            ),
        ]
        for kind in occluders[1:]
        if kind in summary
    ]
    return table(header, rows)


def face_table(results: Sequence[tuple[str, Summary]]) -> str:
    """Photometric, landmark and shape errors of the occluded and the unoccluded photos."""
    header = ["reconstruction"]
    for subset in ("occluded", "unoccluded"):
        header += [f"{subset} RMSE", f"{subset} NME %", f"{subset} shape mm"]
    rows = []
    for label, summary in results:
        row: list[Any] = [label]
        for subset in ("occluded", "unoccluded"):
            row += [summary.get(subset, {}).get(k) for k in ("rmse", "nme", "shape")]
        rows.append(row)
    return table(header, rows)
