"""The page that a run ends with: its tables against the baselines, as `summary.md`."""

from pathlib import Path
from typing import Any

from focus_jax.data.occluders import OCCLUDERS
from focus_jax.evaluation import report
from focus_jax.types import Config


def write_summary(
    config: Config,
    workdir: Path,
    scores: dict[str, report.Summary],
    without: dict[str, report.Summary] | None,
) -> str:
    """Write `workdir/summary.md` from the test scores at each stage's end, and return its text.

    `without` are the scores of the same training without masks.
    """
    final = scores["joint"]
    parts = [f"# {config.name}: results on the test split"]
    if "occluded" in final:
        parts += [
            "## Masks",
            _masks(scores),
            "## Masks by occluder",
            report.kind_table(final, OCCLUDERS),
        ]
    parts += ["## Faces", _faces(scores, without)]
    parts += ["Pictures of validation photos: `pictures/`. Settings: `config.json`."]
    text = "\n\n".join(parts) + "\n"
    (workdir / "summary.md").write_text(text)
    return text


def _masks(scores: dict[str, report.Summary]) -> str:
    rows: list[tuple[str, report.Summary, str]] = [
        ("everything is face", scores["joint"], "everything")
    ]
    if "initialisation" in scores:
        rows.append(("threshold of the initialisation", scores["initialisation"], "threshold"))
    if "pre-training" in scores:
        rows.append(("pre-trained segmenter", scores["pre-training"], "segmenter"))
    return report.mask_table([*rows, ("FOCUS", scores["joint"], "segmenter")])


def _faces(scores: dict[str, report.Summary], without: dict[str, report.Summary] | None) -> str:
    final = scores["joint"]
    mean = {
        subset: {"shape": columns["mean_shape"]}
        for subset, columns in final.items()
        if "mean_shape" in columns
    }
    rows: list[tuple[str, Any]] = [("mean face", mean)] if mean else []
    if "initialisation" in scores:
        rows.append(("after the initialisation", scores["initialisation"]))
    if without is not None:
        rows.append(("the same training without masks", without["joint"]))
    return report.face_table([*rows, ("FOCUS", final)])
