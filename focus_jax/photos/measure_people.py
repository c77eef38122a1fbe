"""A model, and what finds its landmarks, against people with points placed by hand: four tables.

Read `measure` first. People whom crops of the model's training show are left out and counted.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from focus_jax.data.detect import Source
from focus_jax.data.faces import Photo
from focus_jax.evaluation import identity, landmarks
from focus_jax.evaluation.people import (
    Person,
    read_people,
    read_points,
    read_zoom,
    shown_in_training,
)
from focus_jax.evaluation.report import table
from focus_jax.photos.first_faces import Seen, first_faces
from focus_jax.photos.trained import Model
from focus_jax.rendering import morphable

GROUPS = (*landmarks.POINTS, "points", *landmarks.CURVES, "pupils")
Scores = dict[str, dict[str, float]]  # of each person: group or "width" -> value
NOSE_TIP, JAW_ENDS = 30, (0, 16)  # iBUG


def measure(
    model: Model,
    source: Source,
    folder: Path,
    *,
    refine: int = 60,
    split: str = "train",
    trained_on: Path | None = None,
    batch_size: int = 8,
) -> str:
    """Markdown: landmarks, also by group of people; identity; perspective.

    Fitted without and with `refine` steps. `split` and `trained_on` as in `evaluation.people`.
    ValueError, in one sentence, for a folder that is none of such people.
    """
    everybody, seen = read_people(folder, split), shown_in_training(folder, trained_on)
    people = [person for person in everybody if person.name not in seen]
    if not people:
        raise ValueError(f"crops of the training show all {len(everybody)} people of {split}")
    zoom = read_zoom(folder)
    photos = _photos(people, zoom)
    runs, lost = {}, []
    for steps in dict.fromkeys((0, refine)):
        runs[steps], skipped = first_faces(
            photos, model, source, steps=steps, batch_size=batch_size
        )
        lost += [text for text in skipped if text not in lost]
    parts = [
        f"{len(people)} of the {len(everybody)} people ({split}); crops of the training show the "
        f"other {len(everybody) - len(people)}. {len(lost)} of {len(photos)} photos without a face"
        + (f": {'; '.join(lost)}." if lost else "."),
        *_landmark_parts(people, runs),
        _identity_part(people, runs),
    ]
    return "\n\n".join(parts + ([_perspective_part(model, zoom, runs)] if zoom else [])) + "\n"


def _photos(people: Sequence[Person], zoom: Sequence[tuple[int, Path]]) -> list[Photo]:
    paths = [p.neutral for p in people] + [p.smiling for p in people if p.smiling is not None]
    return [Photo(path, str(path)) for path in paths + [path for _, path in zoom]]


# --- landmarks -----------------------------------------------------------------------------------


def _landmark_parts(people: Sequence[Person], runs: dict[int, dict[str, Seen]]) -> list[str]:
    scores = _scored(people, runs)
    header = ["% of the outer-eye distance", "people", *GROUPS, "mouth width"]
    rows = [
        [label, len(of), *(_mean(of.values(), g) for g in (*GROUPS, "width"))]
        for label, of in scores.items()
    ]
    fits = [label for label in scores if label.startswith("fitted")]
    columns = [("detected", "points"), *((label, "points") for label in fits)]
    columns += [(label, kind) for label in fits for kind in ("mouth corners", "jaw", "width")]
    by_group = [
        [name, len(members)]
        + [_mean((scores[label].get(p.name, {}) for p in members), kind) for label, kind in columns]
        for name, members in _groups(people)
    ]
    names = [f"{label}: {'mouth width' if kind == 'width' else kind}" for label, kind in columns]
    return [table(header, rows), table(["people", "number", *names], by_group)]


def _scored(people: Sequence[Person], runs: dict[int, dict[str, Seen]]) -> dict[str, Scores]:
    """Of each way to find them, the scores of each person whose neutral photo has a face."""
    scores: dict[str, Scores] = {"detected": {}, "detected, of 478": {}}
    scores |= {_fitted(steps): {} for steps in runs}
    for person in people:
        hand = read_points(person.neutral)
        for steps, found in runs.items():
            if (seen := found.get(str(person.neutral))) is None:
                continue
            scores["detected"][person.name] = _both(seen.detected, hand)
            scores[_fitted(steps)][person.name] = _both(seen.fitted, hand)
            if seen.mesh is not None:
                scores["detected, of 478"][person.name] = landmarks.mesh_errors(seen.mesh, hand)
    return {label: of for label, of in scores.items() if of}


def _both(found: np.ndarray, hand: np.ndarray) -> dict[str, float]:
    return landmarks.errors(found, hand) | {"width": landmarks.mouth_width(found, hand)}


def _fitted(steps: int) -> str:
    return f"fitted, {steps} steps"


def _mean(scores: Any, group: str) -> float | None:
    values = [one[group] for one in scores if group in one]
    return float(np.mean(values)) if values else None


def _groups(people: Sequence[Person]) -> list[tuple[str, list[Person]]]:
    kinds: list[Callable[[Person], str]] = [
        lambda p: f"of the {p.split} people",
        lambda p: p.sex,
        lambda p: p.age,
        lambda p: p.ethnicity,
    ]
    groups = [("all", list(people))]
    for kind in kinds:
        for value in sorted({kind(p) for p in people}):
            groups.append((value, [p for p in people if kind(p) == value]))
    return groups


# --- identity, perspective -----------------------------------------------------------------------


def _identity_part(people: Sequence[Person], runs: dict[int, dict[str, Seen]]) -> str:
    header = ["identity", "people", "cosine same", "different", "AUC", "first rank"]
    rows = []
    for steps, found in runs.items():
        pairs = [
            (found[str(p.neutral)].identity, found[str(p.smiling)].identity)
            for p in people
            if str(p.neutral) in found and str(p.smiling) in found
        ]
        if len(pairs) > 1:
            first, second = (np.stack(side) for side in zip(*pairs, strict=True))
            rows.append([_fitted(steps), *identity.tell_apart(first, second)])
    return table(header, rows) if rows else "Identity: fewer than two people were seen twice."


def _perspective_part(
    model: Model, zoom: Sequence[tuple[int, Path]], runs: dict[int, dict[str, Seen]]
) -> str:
    """One person from several distances: the depth that is found should not depend on them."""
    header = ["one person, depth to width"]
    header += [*(f"{distance} cm" for distance, _ in zoom), "largest to smallest", "distances"]
    rows = []
    for steps, found in runs.items():
        seen = [found.get(str(path)) for _, path in zoom]
        ratios = [None if s is None else depth_to_width(model, s.neutral) for s in seen]
        known = [r for r in ratios if r is not None]
        far = [s.distance for s in seen if s is not None]
        spread = max(known) / min(known) if known else None
        rows.append([_fitted(steps), *ratios, spread, _order(far)])
    return table(header, rows)


def depth_to_width(model: Model, neutral: Float[np.ndarray, "v 3"]) -> float:
    """How far the tip of the nose lies before the ends of the jaw, in the distance of these."""
    points = np.asarray(morphable.landmarks(model.face_model, neutral))
    ends = points[list(JAW_ENDS)]
    return float((points[NOSE_TIP] - ends.mean(axis=0))[2] / np.linalg.norm(ends[0] - ends[1]))


def _order(far: Sequence[float]) -> str:
    """Distances as found, of photos from near to far, and how many pairs are in order."""
    pairs = [b > a for i, a in enumerate(far) for b in far[i + 1 :]]
    return f"{', '.join(f'{d:.0f}' for d in far)} ({sum(pairs)} of {len(pairs)} pairs in order)"
