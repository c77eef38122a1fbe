"""How long `make em` takes to its first step, and to the last of its data, as a Markdown table.

    python -m benchmarks.start               about six minutes on two idle cores

Seconds of the wall clock from the command's start: with no data and no compiled programs, with data
only, and with both. "data" is when the last feature of the training faces lies in the cache.
Nothing else may run.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import measure

LIMIT = 1800  # seconds, after which a run is given up


def begin(folder: Path, *, data: bool) -> tuple[float, float | None]:
    """Seconds to the first step, and to the last of the data where `data` asks for them.

    Caches are in `folder`, and what is there already is used.
    """
    with tempfile.TemporaryDirectory() as workdir:
        command = [sys.executable, "-m", "focus_jax.main", "--config=configs/em.py"]
        command += [f"--workdir={workdir}", "--config.log_every=1"]
        command += [f"--config.data.cache={folder / 'data'}"]
        kept = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder / "programs")}
        begun = time.monotonic()
        with subprocess.Popen(command, env=kept, stderr=subprocess.DEVNULL) as run:
            try:
                metrics = Path(workdir) / "metrics.jsonl"
                _wait(run, lambda: metrics.exists() and metrics.stat().st_size > 0)
                first = time.monotonic() - begun
                if not data:
                    return first, None
                _wait(run, lambda: any((folder / "data").glob("*-train-features-*/complete")))
                return first, time.monotonic() - begun
            finally:
                run.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    run.wait(timeout=120)
                run.kill()


def _wait(run: subprocess.Popen, happened: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not happened():
        if run.poll() is not None:
            raise RuntimeError(f"the run ended with {run.returncode}: {run.args}")
        if time.monotonic() > end:
            raise TimeoutError(f"the run took more than {LIMIT} seconds: {run.args}")
        time.sleep(0.2)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        empty, data = Path(folder) / "empty", Path(folder) / "data-only"
        first, complete = begin(empty, data=True)
        data.mkdir()
        (data / "data").symlink_to(empty / "data")
        rows = [["nothing", first, complete]]
        rows.append(["data", begin(data, data=False)[0], None])
        rows.append(["data and programs", begin(data, data=False)[0], None])
        measure.print_table(["kept from before", "first step, s", "data, s"], rows)
    print(measure.machine("jax"))


if __name__ == "__main__":
    main()
