"""Metrics of a run: JSON lines and TensorBoard, written by the first process only."""

import contextlib
import json
import math
import os
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from focus_jax.system import storage
from focus_jax.system.files import is_remote, write_whole
from focus_jax.system.sharding import is_first


class MetricWriter:
    """Appends to `workdir/metrics.jsonl`; lines after `resume_step`, which will come again, go."""

    def __init__(self, workdir: Path, resume_step: int) -> None:
        self._writes = is_first()
        if not self._writes:
            return
        # Here, since it imports PyTorch where that is installed, which takes seconds.
        from tensorboardX.proto import event_pb2
        from tensorboardX.record_writer import RecordWriter
        from tensorboardX.summary import scalar

        proto: Any = event_pb2  # protobuf makes its classes when it is imported
        self._event, self._scalar = proto.Event, scalar
        self._workdir, self._here = workdir, workdir
        if is_remote(workdir):  # whose objects do not grow: they are put there anew by `sync`
            self._copy = tempfile.TemporaryDirectory()
            self._here = Path(self._copy.name)
        path, known = self._here / "metrics.jsonl", workdir / "metrics.jsonl"
        if known.exists():
            lines = known.read_text().splitlines()
            kept = [line for line in lines if _step_of(line) <= resume_step]
            write_whole(path, "".join(line + "\n" for line in kept))
        self._file = path.open("a", buffering=1)
        # Not a SummaryWriter: its thread dies of a full disk, and the run waits for it forever.
        folder = self._here / "tensorboard"
        folder.mkdir(exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}"
        self._board = RecordWriter(str(folder / name))
        self._add(proto.Event(file_version="brain.Event:2"))
        # TensorBoard forgets what an earlier process wrote of the steps from here on.
        start = proto.SessionLog(status=proto.SessionLog.START)
        self._add(proto.Event(step=resume_step + 1, session_log=start))

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """One line: the step, what was measured (`train`, `evaluation`), and its values.

        Values that are not finite, which JSON does not know, are left out.
        """
        if not self._writes:
            return
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self._file.write(json.dumps({"step": step, "kind": kind, **finite}) + "\n")
        for name, value in finite.items():
            if isinstance(value, float):
                tag = f"{kind}/{name}".replace(" ", "_")
                self._add(self._event(step=step, summary=self._scalar(tag, value)))
        self._board.flush()

    def _add(self, event: Any) -> None:
        event.wall_time = time.time()
        self._board.write(event.SerializeToString())

    def sync(self) -> None:
        """Lines so far on the disk, before a checkpoint that comes after them."""
        if not self._writes:
            return
        os.fsync(self._file.fileno())
        if self._here is not self._workdir:
            storage.put(self._here, self._workdir)

    def close(self) -> None:
        if self._writes:
            with contextlib.closing(self._file), contextlib.closing(self._board):
                pass
            if self._here is not self._workdir:
                storage.put(self._here, self._workdir)
                self._copy.cleanup()


def _step_of(line: str) -> float:
    # A line cut off by a crash has no step; it is dropped like those that will be written again.
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return float("inf")
