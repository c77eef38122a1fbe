"""The accelerator's benchmark, at its smallest, on whatever is there."""

import sys

import jax
import jax.numpy as jnp
import pytest

from benchmarks import gpu


@pytest.fixture
def printed(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gpu", "--smoke", *arguments])
        gpu.main()
        return capsys.readouterr().out

    return run


def test_the_rasterizers_smallest_sizes_run(printed, monkeypatch):
    monkeypatch.setattr(gpu, "SMOKE", gpu.SMOKE._replace(stages=()))
    rows = [line.split(" | ") for line in printed().splitlines() if " | 502 | 32 | 1 | " in line]
    assert [row[0] for row in rows] == ["| warp", "| jnp"]
    assert all(float(cell) > 0 for row in rows for cell in row[4:7]) and rows[1][7] == "- |"


def test_what_there_is_no_time_for_is_named(printed):
    text = printed("--minutes", "0")
    assert text.count("the time was over") == 3 and "| warp" not in text


def test_a_profile_names_the_operations_that_take_longest():
    x = jnp.ones((300, 300))
    found = gpu.largest(jax.jit(lambda: jnp.sort(x @ x, axis=0)), 3)
    assert 1 <= len(found) <= 3 and all(name and spent > 0 for name, spent in found)


@pytest.mark.slow
def test_the_smallest_step_runs(printed):
    text = printed()
    (step,) = [line.split("|") for line in text.splitlines() if line.startswith("| initialisation")]
    assert float(step[4]) > 0 and step[7].strip() == "-"
    assert len(text.partition("ten largest")[2].splitlines()) > 6
