"""The page that a run ends with: tables against the baselines, and what they say, `summary.md`."""

from pathlib import Path
from typing import Any

from focus_jax.data.occluders import OCCLUDERS
from focus_jax.evaluation import report
from focus_jax.system.files import write_whole
from focus_jax.types import Config

EVERYTHING = "everything is face"
THRESHOLD = "threshold of the initialisation"
PRETRAINED = "pre-trained segmenter"
MEAN = "mean face"
INITIALISED = "after the initialisation"
WITHOUT = "the same training without masks"
FOCUS = "FOCUS"
MASK_ROWS = {
    EVERYTHING: "what finding nothing scores",
    THRESHOLD: "Eq. 10: no network, the rendering's distance alone",
    PRETRAINED: "before the alternation",
    FOCUS: "the whole method",
}
FACE_ROWS = {
    MEAN: "what seeing no photo scores",
    INITIALISED: "Eq. 9: a robust loss, no masks yet",
    WITHOUT: "occluders are fitted as if they were face",
    FOCUS: "the masks that were learnt leave them out",
}


def write_summary(
    config: Config,
    workdir: Path,
    scores: dict[str, report.Summary],
    without: dict[str, report.Summary] | None,
) -> str:
    """Write `workdir/summary.md` from the test scores at each stage's end, and return its text.

    `without` are the scores of the same training without masks.
    """
    if "joint" not in scores:
        text = f"# {config.name}: no joint stage, so nothing to judge; see scores/\n"
        write_whole(workdir / "summary.md", text)
        return text
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
    if claims := _claims(final, without["joint"] if without else None):
        parts += ["## What the method promises", "\n".join(f"- {claim}" for claim in claims)]
    parts += ["Pictures of validation photos: `pictures/`. Settings: `config.json`."]
    text = "\n\n".join(parts) + "\n"
    write_whole(workdir / "summary.md", text)
    return text


def _masks(scores: dict[str, report.Summary]) -> str:
    rows = [(EVERYTHING, scores["joint"], "everything")]
    if "initialisation" in scores:
        rows.append((THRESHOLD, scores["initialisation"], "threshold"))
    if "pre-training" in scores:
        rows.append((PRETRAINED, scores["pre-training"], "segmenter"))
    return report.mask_table([*rows, (FOCUS, scores["joint"], "segmenter")], MASK_ROWS)


def _faces(scores: dict[str, report.Summary], without: dict[str, report.Summary] | None) -> str:
    final = scores["joint"]
    mean = {
        subset: {"shape": columns["mean_shape"]}
        for subset, columns in final.items()
        if "mean_shape" in columns
    }
    rows: list[tuple[str, Any]] = [(MEAN, mean)] if mean else []
    if "initialisation" in scores:
        rows.append((INITIALISED, scores["initialisation"]))
    if without is not None:
        rows.append((WITHOUT, without["joint"]))
    return report.face_table([*rows, (FOCUS, final)], FACE_ROWS)


def _claims(final: report.Summary, without: report.Summary | None) -> list[str]:
    """A sentence for each of the paper's claims that the scores can tell of: holds, by how much."""
    hard, claims = final.get("occluded", {}), []
    bare = (without or {}).get("occluded", {})

    def claim(what: str, better: float, by: str) -> None:
        claims.append(f"{what}: {'holds' if better > 0 else 'does not hold'}, by {by}.")

    if "segmenter_f1" in hard:
        gain = hard["segmenter_f1"] - hard["everything_f1"]
        claim(
            "Masks find what hides a face", gain, f"{gain:+.3f} in F1 over calling all of it face"
        )
        kinds = {
            kind: final[kind]["segmenter_f1"] - final[kind]["everything_f1"]
            for kind in OCCLUDERS[1:]
            if kind in final
        }
        least = min(kinds, key=kinds.__getitem__)
        claim(
            "So they do for every kind of occluder",
            kinds[least],
            f"{kinds[least]:+.3f} for {least}, the least",
        )
    if "rmse" in bare:
        gain = bare["rmse"] - hard["rmse"]
        claim("Masks bring colours closer", gain, f"{gain:+.2f} grey levels against no masks")
    if "shape" in bare:
        gain = bare["shape"] - hard["shape"]
        claim("Masks bring shapes closer", gain, f"{gain:+.3f} mm against no masks")
    if "mean_shape" in hard:
        gain = hard["mean_shape"] - hard["shape"]
        claim("Shapes are of who is seen", gain, f"{gain:+.3f} mm against the mean face")
    return claims
