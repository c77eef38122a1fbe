"""A short round of tests/fuzz/run.py; its 10,000 cases of each target are for a command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parent / "fuzz" / "run.py"


def fuzz(*arguments):
    # A process of its own: its audit hook stays for good, and spoiled files may crash a C library.
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, str(RUN), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1800)
    assert done.returncode == 0, done.stdout


def test_nothing_but_our_own_errors_comes_out():
    fuzz("csv", "image", "face_model", "checkpoint", "config", "export", "--cases=20")


@pytest.mark.slow
def test_spoiled_checkpoints_never_give_another_state():
    fuzz("workdir", "--cases=200")
