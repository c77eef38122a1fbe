"""Signals and kills, as a scheduler or an impatient user sends them."""

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import kills
import pytest
from small_job import start

from focus_jax.system import preemption
from focus_jax.system.preemption import EXIT_CODE

WAIT = """
import time
from focus_jax.system.preemption import catch_signals
with catch_signals() as received:
    print("ready", flush=True)
    while not received:
        time.sleep(0.01)
    print("first", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_exits_at_once(number):
    with start(["-c", WAIT]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == "first\n"  # it would go on working
        begun = time.monotonic()
        process.send_signal(number)
        assert process.wait(timeout=30) == 128 + number
        assert time.monotonic() - begun < 10


def test_no_signal_is_caught_outside_of_the_main_thread():
    """As where a tool for sweeps trains in a thread of its own."""

    def wait():
        with preemption.catch_signals() as received:
            return received, signal.getsignal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(wait).result() == ([], before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    kills.run_to_the_end(folder / "cache", folder / "whole", *kills.LONGER)
    return folder


@pytest.mark.slow  # minutes of compiling before the first step
def test_a_killed_and_terminated_run_ends_bit_equal(whole, tmp_path):
    chance = random.Random(1)
    statuses = []
    for number, target in ((signal.SIGKILL, 2), (signal.SIGTERM, 8), (signal.SIGINT, 14)):
        _, status = kills.kill_once(
            whole / "cache",
            tmp_path,
            *kills.LONGER,
            target=target,
            chance=chance,
            number=number,
        )
        statuses.append(status)
    assert statuses == [-signal.SIGKILL, EXIT_CODE, EXIT_CODE]
    kills.run_to_the_end(whole / "cache", tmp_path, *kills.LONGER)
    kills.compare(whole / "whole", tmp_path)


@pytest.mark.slow
def test_twenty_kills_change_no_bit(tmp_path):
    assert len(kills.kill_and_compare(tmp_path, 20, *kills.LONGER)) == 20
