"""What the commands take for photos with the model that comes along, as a Markdown table.

    python -m benchmarks.shipped             about twelve minutes on two idle cores

The photo is scikit-image's astronaut, 512 x 512 pixels, one face. All counts: reading, finding
the face, networks, writing. "cold" is a batch of eight without compiled programs, "cached" one with
them, seconds from the command's start; "faces / s" is that of more of them, as many as `COMMANDS`
says. "peak" is the most memory of the command.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import measure

COMMANDS = {  # words and options, and batches enough to tell the pace from the noise
    "segment": (["segment"], 60),
    "reconstruct": (["reconstruct"], 15),
    "reconstruct --refine 60": (["reconstruct", "--refine", "60"], 4),
}
BATCH = 8  # what the commands take at a time


def run(command: list[str], photos: Path, cores: int, cache: Path) -> tuple[float, float]:
    """Seconds and peak gigabytes of one command on a folder of photos."""
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    word, *options = command
    with tempfile.TemporaryDirectory() as out:
        # A process for one of another number of cores: the affinity must be there when JAX starts.
        code = (
            f"import os, sys; os.sched_setaffinity(0, {allowed}); "
            "from focus_jax.commands import main; sys.exit(main())"
        )
        line = [sys.executable, "-c", code, word, str(photos), "--out", f"{out}/found", *options]
        kept = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
        messages = Path(out) / "messages"
        begun = time.monotonic()
        with (
            messages.open("w") as log,
            subprocess.Popen(line, env=kept, stdout=log, stderr=log) as child,
        ):
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise RuntimeError(f"{' '.join(command)}: {messages.read_text()[-2000:]}")
        return time.monotonic() - begun, used.ru_maxrss / 2**20


def row(name: str, cores: int, folder: Path) -> list:
    """Name, cores, and numbers as the module says."""
    (command, batches), cache = COMMANDS[name], folder / f"programs {name} {cores}"
    cold, _ = run(command, copies(folder, BATCH), cores, cache)
    cached, _ = run(command, copies(folder, BATCH), cores, cache)
    all_of_them, peak = run(command, copies(folder, batches * BATCH), cores, cache)
    pace = (batches - 1) * BATCH / (all_of_them - cached)
    return [name, cores, cold, cached, pace, peak]


def copies(folder: Path, count: int) -> Path:
    """A folder of so many copies of the photo, made once."""
    import cv2
    import skimage.data

    made = folder / str(count)
    if not made.exists():
        made.mkdir()
        for number in range(count):
            cv2.imwrite(str(made / f"{number:04}.png"), skimage.data.astronaut()[..., ::-1])
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the commands with the shipped model.")
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    header = ["command", "cores", "cold, s", "cached, s", "faces / s", "peak, GB"]
    with tempfile.TemporaryDirectory() as folder:
        measure.print_table(
            header,
            (row(name, cores, Path(folder)) for name in COMMANDS for cores in options.cores),
        )
    print(measure.machine("jax"))


if __name__ == "__main__":
    main()
