"""What goes wrong in a training without stopping it: numbers that are not finite, and collapses.

An update whose loss or gradient is not finite is not applied (`updates`); here such steps are
counted, and so are those in which the method's two known collapses last.
"""

import contextlib
import logging
import math
import traceback
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from focus_jax.training.schedule import Phase

log = logging.getLogger(__name__)

PATIENCE = 500  # steps in a row that a collapse lasts before it is named
LIGHT, DARK = 0.98, 0.02  # mean share of the rendered face that a collapsed mask keeps
# Standard deviations of the face model by which the faces of a batch differ, where people differ by
# about 1. A choice, not a measurement.
ALIKE = 0.02


class Step(NamedTuple):
    """A step that was begun: what it trained, on which records, and the numbers it gave."""

    number: int  # counted from 1
    phase: Phase
    index: Any  # of this process's records
    values: Mapping[str, Any] = {}


class Health(NamedTuple):
    """Counts that a checkpoint keeps, so that a resumed run counts on."""

    skipped: int = 0  # updates in a row
    skipped_in_all: int = 0
    light: int = 0  # steps in a row, and so below
    dark: int = 0
    alike: int = 0


WARNINGS = {
    "mask collapse, all face": (
        "the masks have kept more than 98 % of the face for {steps} steps (mean {value:.3f}): the "
        "segmenter calls occluders face; lower config.losses.area, or look at the pictures whether "
        "the rendering explains the occluders (config.decoding.light_..., albedo_limit)"
    ),
    "mask collapse, no face": (
        "the masks have kept less than 2 % of the face for {steps} steps (mean {value:.3f}): "
        "nothing is fitted any more; raise config.losses.area, or config.losses.preserve"
    ),
    "mean-face collapse": (
        "the faces of a batch have been alike for {steps} steps (they differ by {value:.4f} "
        "standard deviations): the encoder gives every photo the same face; lower "
        "config.losses.prior, or lengthen config.schedule.warmup"
    ),
}


def watch(health: Health, step: Step) -> tuple[Health, dict[str, float]]:
    """The counts after a step, and the warnings that it gives rise to: name and value.

    Masks count where the segmenter makes them, faces where the encoder learns. A warning is also
    logged, once for each collapse.
    """
    values = {k: step.values[k] for k in ("finite", "mask", "spread") if k in step.values}
    values = jax.device_get(values)
    finite = bool(values["finite"])
    health = health._replace(
        skipped=0 if finite else health.skipped + 1,
        skipped_in_all=health.skipped_in_all + (not finite),
    )
    if not finite:
        return health, {}
    checks: list[tuple[str, str, bool, float]] = []
    if "mask" in values and step.phase.stage in ("pre-training", "joint"):
        mask = float(values["mask"])
        checks.append(("light", "mask collapse, all face", mask > LIGHT, mask))
        checks.append(("dark", "mask collapse, no face", mask < DARK, mask))
    if "spread" in values and len(step.index) > 1:
        spread = float(values["spread"])
        checks.append(("alike", "mean-face collapse", spread < ALIKE, spread))
    warnings = {}
    for field, name, holds, value in checks:
        count = getattr(health, field) + 1 if holds else 0
        health = health._replace(**{field: count})
        if count == PATIENCE:
            warnings[name] = value
            text = WARNINGS[name].format(steps=PATIENCE, value=value)
            log.warning("%s at step %d: %s", name, step.number, text)
    return health, warnings


def too_many_skipped(
    step: Step, records: Sequence[Mapping[str, Any]], health: Health, checkpoint: str
) -> FloatingPointError:
    """The error that ends a run: which numbers, which step, which photos, and what is safe."""
    numbers = jax.device_get(dict(step.values))
    bad = [n for n, v in numbers.items() if n != "finite" and not math.isfinite(float(v))]
    skipped = f"{health.skipped} updates in a row were" if health.skipped > 1 else "an update was"
    return FloatingPointError(
        f"{', '.join(bad)} not finite {_where(step)}; {skipped} not applied. Photos of this step: "
        f"{_names(step, records)}. Last finite checkpoint: {checkpoint}. Look at the photos, lower "
        "config.rates in another --workdir, find the operation with --config.debug.nans=True, or "
        "allow more with --config.debug.skipped_updates"
    )


@contextlib.contextmanager
def naming_operation(step: Step, records: Sequence[Mapping[str, Any]]) -> Generator[None]:
    """With `jax.debug_nans`: say in one sentence which operation of which line gave a NaN."""
    try:
        yield
    except FloatingPointError as error:
        package = Path(__file__).parents[1]
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if package in Path(frame.filename).parents
            and Path(frame.filename).stem not in ("train", "health")
        ]
        place = ""
        if frames:
            last = frames[-1]
            name = Path(last.filename).relative_to(package.parent)
            place = f" in {last.name} ({name}:{last.lineno}: `{last.line}`)"
        raise FloatingPointError(
            f"{str(error).splitlines()[0]}{place} {_where(step)}; photos of this step: "
            f"{_names(step, records)}"
        ) from error


def _where(step: Step) -> str:
    return f"at step {step.number} ({step.phase.stage}, {step.phase.network})"


def _names(step: Step, records: Sequence[Mapping[str, Any]]) -> str:
    """The files of a step's records, or their numbers where they come from no file."""
    return ", ".join(
        str(records[int(i)].get("filename", f"record {int(i)}")) for i in np.asarray(step.index)
    )
