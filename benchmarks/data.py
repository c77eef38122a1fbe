"""What the data of the default job cost, part by part.

    python -m benchmarks.data                a minute and a half on two idle cores
    python -m benchmarks.data --faces=480

Faces are made, written, read, looked at by the recognizer, and its features written and read, as
in `configs/em.py` with an empty `data.cache`; the first batch of each, before which processes start
and compile, is apart. Seconds of the wall clock, so nothing else may run; "job" is for all records
of the job.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import measure
from configs import em
from focus_jax.data.features import recognized
from focus_jax.data.records import open_records, write_records
from focus_jax.data.synthetic.faces import BATCH, synthesize
from focus_jax.face_models import load_face_model
from focus_jax.system import cpu
from focus_jax.weights import recognizer


def timed(task: Callable[[], Any]) -> tuple[Any, float]:
    """What the task returns, and its seconds."""
    begun = time.perf_counter()
    result = task()
    return result, time.perf_counter() - begun


def part(
    name: str, made: Iterator[Any], folder: Path, job_records: int
) -> tuple[Any, list[list[Any]]]:
    """Records that were made, written and read, and the rows about it."""
    first, compiling = timed(lambda: [next(made) for _ in range(BATCH)])
    rest, making = timed(lambda: list(made))
    _, writing = timed(lambda: write_records(folder, [*first, *rest]))
    records, reading = timed(lambda: open_records(folder))
    rows = [[f"{name}: first {BATCH}, starting and compiling", None, compiling]]
    each = {"made": making / len(rest)}
    each |= {"written": writing / len(records), "read": reading / len(records)}
    rows += [[f"{name}: {what}", 1e3 * t, t * job_records] for what, t in each.items()]
    return records, rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the making of the default job's data.")
    parser.add_argument("--faces", type=int, default=960, help="many times 32")
    faces = parser.parse_args().faces
    cpu.prepare()  # as the training does
    config = em.get_config()
    data = config.data
    others = data.validation_count + data.test_count  # looked at once
    with tempfile.TemporaryDirectory() as folder:
        side = data.record_size
        made = synthesize(load_face_model("builtin"), faces, size=side, seed=config.seed)
        records, rows = part("faces", made, Path(folder) / "faces", data.train_count + others)
        looked = recognized(
            records,
            recognizer.load_recognizer(config.recognizer.kind),
            kind=config.recognizer.kind,
            record_size=side,
            size=data.size,
            versions=data.versions,
            paste=data.paste,
            seed=config.seed,
        )
        count = data.versions * data.train_count + others
        rows += part("features", looked, Path(folder) / "features", count)[1]
    rows.append(["all", None, sum(row[2] for row in rows)])
    measure.print_table(["part", "ms a record", "job, s"], rows)
    print(measure.machine("jax", "tensorflow-datasets", "opencv-python-headless"))


if __name__ == "__main__":
    main()
