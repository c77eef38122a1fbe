"""Tables of scores: a summary of each subset as JSON, and the markdown that people read."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from focus_jax.evaluation.shape import rank_correlation
from focus_jax.types import REGIONS

Summary = dict[str, dict[str, float]]  # subset -> column -> mean over photos


def summarize(columns: Mapping[str, np.ndarray], occluders: Sequence[str]) -> Summary:
    """Means of every column over all photos, over the occluded and the unoccluded, and by kind.

    Photos without `occluder` truth form the one subset "all". "heavy" is the half of the occluded
    photos of which more is `hidden`. Each subset has its size as `count`, the deviation over its
    photos of each column as `COLUMN_std`, and, from three photos on, `rank`, the mean rank
    correlation of the identity coefficients.
    """
    count = len(columns["index"])
    subsets = {"all": np.ones(count, bool)}
    if "occluder" in columns:
        kind = columns["occluder"]
        subsets |= {"unoccluded": kind == 0, "occluded": kind > 0}
        if "hidden" in columns and (kind > 0).any():
            hidden = columns["hidden"]
            subsets["heavy"] = (kind > 0) & (hidden >= np.median(hidden[kind > 0]))
        subsets |= {name: kind == i for i, name in enumerate(occluders) if i > 0}
    return {name: _means(columns, chosen) for name, chosen in subsets.items() if chosen.any()}


def _means(columns: Mapping[str, np.ndarray], chosen: np.ndarray) -> dict[str, float]:
    means: dict[str, float] = {"count": int(chosen.sum())}
    for name, values in columns.items():
        if name in ("index", "occluder") or values.ndim > 1:
            continue
        means[name] = float(np.mean(values[chosen]))
        means[f"{name}_std"] = float(np.std(values[chosen]))
    if "identity" in columns and chosen.sum() >= 3:
        ranks = rank_correlation(columns["identity"][chosen], columns["true_identity"][chosen])
        # Coefficients that the model does not predict at all tell nobody apart: zero.
        means["rank"] = float(np.mean(np.nan_to_num(ranks)))
    return means


def read_subsets(path: Path, names: Sequence[str], column: str) -> dict[str, np.ndarray]:
    """Photos of each value of a csv's column, as masks `[n]` over `names`.

    The csv has a header with `filename` and `column`. ValueError for a missing file or column and
    for photos that it does not list.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist; write a csv with the header filename,{column}")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not {"filename", column} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path} has the columns {rows.fieldnames}, not filename and {column}")
        values = {row["filename"]: row[column] for row in rows}
    unknown = [name for name in names if name not in values]
    if unknown:
        raise ValueError(f"{path} lists {len(unknown)} photos not, such as {unknown[0]}")
    found = np.array([values[name] for name in names])
    return {value: found == value for value in sorted(set(values.values())) if value}


def summarize_subsets(
    columns: Mapping[str, np.ndarray], subsets: Mapping[str, np.ndarray]
) -> Summary:
    """As `summarize`, over given photos (masks `[n]`) and over all."""
    chosen = {"all": np.ones(len(columns["index"]), bool), **subsets}
    return {name: _means(columns, photos) for name, photos in chosen.items() if photos.any()}


def subset_table(summary: Summary, predictors: Sequence[str]) -> str:
    """The paper's Tables 1 and 4: masks by predictor and colours of each subset, mean ± deviation.

    RMSE and MAE (which the release prints) are in grey levels inside the visible true mask.
    """
    metrics = (
        *("accuracy", "precision", "recall", "f1", "iou", "image_miou"),
        *("boundary_iou", "ece"),  # the latter of the segmenter's soft mask alone
    )
    header = ["subset", "photos", "mask", *metrics, "RMSE", "MAE"]
    rows = []
    for subset, means in summary.items():
        for predictor in predictors:
            rows.append(
                [subset, int(means["count"]), predictor]
                + [_spread(means, f"{predictor}_{m}") for m in metrics]
                + [_spread(means, m, ".2f") for m in ("rmse", "mae")]
            )
    return table(header, rows)


def _spread(means: Mapping[str, float], name: str, form: str = ".3f") -> str | None:
    if name not in means:
        return None
    return f"{means[name]:{form}} ± {means[name + '_std']:{form}}"


def shape_table(summary: Summary) -> str:
    """Shape of each subset: rigid and similarity alignment, regions, ranks, the mean face."""
    names = {n for means in summary.values() for n in means if n.startswith("shape_")}
    regions = [f"shape_{r}" for r in REGIONS if f"shape_{r}" in names]
    columns = ["shape", "mean_shape", "shape_scaled", "rank", "nme", *regions]
    header = ["subset", "photos", "rigid mm", "mean face mm", "similarity mm", "rank", "NME %"]
    header += [r.removeprefix("shape_") for r in regions]
    rows = [
        [subset, int(means["count"]), *(means.get(c) for c in columns)]
        for subset, means in summary.items()
    ]
    return table(header, rows)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A markdown table; floats to three decimals, missing values as a dash."""

    def cell(value: Any) -> str:
        if value is None:
            return "-"
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(cell(v) for v in row) + " |" for row in rows]
    return "\n".join(lines)


def mask_table(
    results: Sequence[tuple[str, Summary, str]], shows: Mapping[str, str] | None = None
) -> str:
    """Rows of (label, summary, predictor): mask scores of the occluded and unoccluded photos.

    `shows` says of each label what its row is there for, in a column of its own.
    """
    metrics = ("accuracy", "precision", "recall", "f1", "iou", "boundary_iou", "ece")
    header = [
        "inside the rendered face",
        *(f"occluded {m.replace('_', ' ')}" for m in metrics),
        "unoccluded f1",
        "unoccluded iou",
        *(["what it shows"] if shows else []),
    ]
    rows = []
    for label, summary, predictor in results:
        hard, easy = summary.get("occluded", {}), summary.get("unoccluded", {})
        rows.append(
            [label]
            + [hard.get(f"{predictor}_{m}") for m in metrics]
            + [easy.get(f"{predictor}_{m}") for m in ("f1", "iou")]
            + ([shows.get(label)] if shows else [])
        )
    return table(header, rows)


def kind_table(summary: Summary, occluders: Sequence[str]) -> str:
    """F1 and IoU of the segmenter and of everything-face for each kind of occluder.

    And the segmenter's Boundary IoU and the calibration error of its soft mask.
    """
    header = ["occluder", "photos", "f1", "everything f1", "iou", "everything iou"]
    header += ["boundary iou", "ece"]
    rows = [
        [
            kind,
            int(summary[kind]["count"]),
            *(
                summary[kind].get(f"{p}_{m}")
                for m in ("f1", "iou")
                for p in ("segmenter", "everything")
            ),
            *(summary[kind].get(f"segmenter_{m}") for m in ("boundary_iou", "ece")),
        ]
        for kind in occluders[1:]
        if kind in summary
    ]
    return table(header, rows)


def face_table(
    results: Sequence[tuple[str, Summary]], shows: Mapping[str, str] | None = None
) -> str:
    """Photometric, landmark and shape errors of the occluded and the unoccluded photos.

    `shows` as in `mask_table`.
    """
    header = ["reconstruction"]
    for subset in ("occluded", "unoccluded"):
        header += [f"{subset} RMSE", f"{subset} NME %", f"{subset} shape mm"]
    rows = []
    for label, summary in results:
        row: list[Any] = [label]
        for subset in ("occluded", "unoccluded"):
            row += [summary.get(subset, {}).get(k) for k in ("rmse", "nme", "shape")]
        rows.append(row + ([shows.get(label)] if shows else []))
    return table(header + (["what it shows"] if shows else []), rows)
