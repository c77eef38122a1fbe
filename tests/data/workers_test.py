import functools
import os
import signal
import subprocess
import sys
import textwrap
import time

import jax
import numpy as np
import pytest

from focus_jax.data import workers
from focus_jax.data.features import recognized
from focus_jax.data.synthetic import synthesize
from focus_jax.data.workers import LEAST, spread
from focus_jax.face_models import load_face_model
from focus_jax.weights.recognizer import load_recognizer


def squares(number):
    return os.getpid(), number * number


def test_results_come_in_order_from_other_processes():
    found = list(spread(squares, range(30), count=30, processes=2))
    assert [square for _, square in found] == [n * n for n in range(30)]
    assert os.getpid() not in {process for process, _ in found}


@pytest.mark.parametrize(("count", "processes"), [(LEAST - 1, 2), (30, 1)])
def test_no_process_is_started_for_little(count, processes):
    found = list(spread(squares, range(count), count=count, processes=processes))
    assert {process for process, _ in found} == {os.getpid()}


def test_tasks_are_not_asked_for_far_ahead():
    asked = []

    def tasks():
        for number in range(30):
            asked.append(number)
            yield number

    results = spread(squares, tasks(), count=30, processes=2)
    next(results)
    assert len(asked) == 4
    results.close()


def refuse_seven(number):
    if number == 7:
        raise ValueError("seven")


def end(number):
    os.kill(os.getpid(), signal.SIGKILL)


def test_errors_reach_the_caller():
    with pytest.raises(ValueError, match="seven"):
        list(spread(refuse_seven, range(30), count=30, processes=2))
    with pytest.raises(ChildProcessError, match="most likely because memory ran out"):
        list(spread(end, range(30), count=30, processes=2))
    assert len(list(spread(squares, range(30), count=30, processes=2))) == 30


def test_processes_end_with_their_caller(tmp_path):
    script = tmp_path / "script.py"  # no guard: importing it again would start it again
    script.write_text(
        textwrap.dedent(
            """
            import os, signal, time
            from focus_jax.data.workers import spread

            def slow(number):
                time.sleep(0.2)
                return os.getpid()

            for process in spread(slow, range(100), count=100, processes=2):
                print(process, flush=True)
            """
        )
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        workers = {int(next(caller.stdout)) for _ in range(8)}
        caller.kill()
    limit = time.monotonic() + 30
    while any(_lives(worker) for worker in workers):
        assert time.monotonic() < limit
        time.sleep(0.2)


def _lives(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def few(monkeypatch):
    """Processes are started for two tasks too."""
    return lambda: monkeypatch.setattr(workers, "LEAST", 2)


def test_faces_are_those_of_one_process(few):
    make = functools.partial(synthesize, load_face_model("builtin"), 33, size=32, seed=2)
    one_process = list(make())
    few()
    for own, others in zip(one_process, make(), strict=True):
        assert own.keys() == others.keys()
        # One core may add in another order than two.
        gap = np.abs(own["image"].astype(int) - others["image"])
        assert gap.max() <= 1 and (gap > 0).mean() < 1e-3
        np.testing.assert_allclose(own["landmarks"], others["landmarks"], atol=1e-3)


def test_features_are_those_of_one_process(few, monkeypatch):
    records = list(synthesize(load_face_model("builtin"), 2, size=96, seed=0))
    make = functools.partial(
        recognized,
        records,
        load_recognizer("dlib"),
        kind="dlib",
        record_size=96,
        size=64,
        versions=2,
        paste=0.5,
        seed=0,
        batch_size=1,
    )
    one_process = list(make())
    few()
    together = list(make())
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")  # which looks, while they prepare
    for own, *others in zip(one_process, together, make(), strict=True):
        for other in others:
            np.testing.assert_array_equal(own["image"], other["image"])
            np.testing.assert_allclose(own["features"], other["features"], atol=5e-3)
