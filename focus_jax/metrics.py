"""Metrics of a run: JSON lines and TensorBoard, written by the first process only."""

import json
from collections.abc import Mapping
from pathlib import Path

import jax


class MetricWriter:
    """Appends to `workdir/metrics.jsonl`; lines after `resume_step`, which will come again, go."""

    def __init__(self, workdir: Path, resume_step: int) -> None:
        self._writes = jax.process_index() == 0
        if not self._writes:
            return
        # Here, since it imports PyTorch where that is installed, which takes seconds.
        from tensorboardX import SummaryWriter

        path = workdir / "metrics.jsonl"
        if path.exists():
            kept = [line for line in path.read_text().splitlines() if _step_of(line) <= resume_step]
            path.write_text("".join(line + "\n" for line in kept))
        self._file = path.open("a", buffering=1)
        self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=resume_step + 1)

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """One line: the step, what was measured (`train`, `evaluation`), and its values."""
        if not self._writes:
            return
        self._file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        for name, value in values.items():
            if isinstance(value, float):
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        if self._writes:
            self._file.close()
            self._board.close()


def _step_of(line: str) -> float:
    # A line cut off by a crash has no step; it is dropped like those that will be written again.
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return float("inf")
