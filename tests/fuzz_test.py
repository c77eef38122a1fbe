"""A short round of tests/fuzz/run.py; its 10,000 cases of each target are for a command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parent / "fuzz" / "run.py"
# The others take a second a dozen cases, or need their extra packages.
CASES = {"csv": 300, "image": 300, "face_model": 100, "checkpoint": 200, "config": 60, "export": 60}


def test_nothing_but_our_own_errors_comes_out():
    # A process of its own: its audit hook stays for good, and spoiled files may crash a C library.
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    running = [
        subprocess.Popen(
            [sys.executable, str(RUN), name, f"--cases={cases}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        for name, cases in CASES.items()
    ]
    for process in running:
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output


@pytest.mark.slow
def test_spoiled_checkpoints_never_give_another_state():
    done = subprocess.run(
        [sys.executable, str(RUN), "workdir", "--cases=200"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
