"""What a run measures and draws of itself while it trains, over all its devices."""

import dataclasses
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from focus_jax.data.occluders import OCCLUDERS
from focus_jax.data.pipeline import evaluation_batches
from focus_jax.data.source import Records, Splits
from focus_jax.evaluation import report
from focus_jax.evaluation.evaluate import evaluate
from focus_jax.rendering import pictures
from focus_jax.system import sharding
from focus_jax.system.files import write_whole
from focus_jax.training import updates
from focus_jax.training.mean_albedo import correct_mean_albedo
from focus_jax.types import Batch, Config, TrainState


@dataclasses.dataclass(frozen=True)
class Appraiser:
    """What all measurements of a run share. Files are written by the first process."""

    splits: Splits
    constants: updates.Constants
    method: updates.Method
    config: Config
    mesh: Mesh
    workdir: Path

    def evaluation(self, state: TrainState) -> dict[str, float]:
        """Scores of the validation split, as `subset/column`; its picture is written."""
        summary = self._summary(self.splits.validation, state)
        self._picture(self.splits.validation, state, "")
        return {f"{s}/{k}": float(v) for s, columns in summary.items() for k, v in columns.items()}

    def scores(self, state: TrainState, stage: str) -> None:
        """Write the scores of the test split at a stage's end, and its picture."""
        summary = self._summary(self.splits.test, state)
        if sharding.is_first():
            path = self.workdir / "scores" / f"{stage}.json"
            path.parent.mkdir(exist_ok=True)
            write_whole(path, json.dumps(summary, indent=1) + "\n")
        self._picture(self.splits.test, state, "_test")

    def mean_albedo(self, state: TrainState) -> Any:
        """The state's mean albedo, corrected by the first 1,024 training photos."""
        batches = self._batches(self.splits.train)
        first = itertools.islice(batches, math.ceil(1024 / self.config.data.batch_size))
        mean = correct_mean_albedo(state, first, self.constants, self.method)
        return sharding.replicate(mean, self.mesh)

    def _batches(self, records: Records) -> Iterator[tuple[Batch, int]]:
        data = self.config.data
        for batch, count in evaluation_batches(records, batch_size=data.batch_size, size=data.size):
            if self.mesh.size > 1:
                batch = sharding.split(sharding.own_part(batch), self.mesh)
            yield batch, count

    def _summary(self, records: Records, state: TrainState) -> report.Summary:
        found = evaluate(
            self._batches(records),
            {"encoder": state.encoder, "segmenter": state.segmenter},
            updates.face_model_of(state, self.constants),
            self.method.networks,
        )
        return report.summarize(found, OCCLUDERS)

    def _picture(self, records: Records, state: TrainState, suffix: str) -> None:
        """Photo, rendering, overlay, mask and, if known, true mask of the first records."""
        batch, count = next(self._batches(records))
        found = updates.predict(state, batch, self.constants, method=self.method)
        found, batch = sharding.gather((found, batch))
        rendering = found.face.rendering
        columns = [
            batch.image,
            rendering.image,
            pictures.overlay(batch.image, rendering.image, rendering.coverage),
            found.mask,
            batch.mask,
        ]
        count = min(count, 16)
        grid = pictures.grid([None if c is None else np.asarray(c)[:count] for c in columns])
        if sharding.is_first():
            path = self.workdir / "pictures" / f"{int(state.step):07d}{suffix}.png"
            pictures.write_png(path, grid)
