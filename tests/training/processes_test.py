"""One run in several processes on this machine: the same numbers, one set of files, no orphans."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import small_job

from focus_jax.system import sharding

# The autoencoder alone: its stages need one program, the segmenter's take minutes to compile.
# Steps are small: Adam's are the gradient's sign at first, which rounding decides where there is
# no gradient, so that runs of the usual rate are equal for two steps and then drift apart.
SHORT = ["--config.schedule.pretraining=0", "--config.schedule.joint=0"]
SHORT += ["--config.rates.initialisation.rate=1e-6"]
TRAIN = """
import sys
from pathlib import Path
from absl import app, flags
from ml_collections import config_flags
from focus_jax.system import sharding
from focus_jax.training.train import train
config = config_flags.DEFINE_config_file("config", None, "", lock_config=True)
workdir = flags.DEFINE_string("workdir", None, "")
def main(argv):
    sharding.start_processes(config.value.distributed)
    train(config.value, Path(workdir.value))
app.run(main)
"""


def free_port():
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]


def together(count, port):
    """Flags of each of the processes."""
    return [
        [
            f"--config.distributed.coordinator=localhost:{port}",
            f"--config.distributed.processes={count}",
            f"--config.distributed.process={number}",
            "--config.distributed.timeout=120",
        ]
        for number in range(count)
    ]


def trained(cache, workdir, *flags, processes=1, devices=1):
    """Lines of metrics of the short job, on so many processes with so many devices each."""
    command = ["-c", TRAIN, f"--config={small_job.ROOT}/tests/small_job.py:{cache}"]
    command += [f"--workdir={workdir}", *flags]
    theirs = together(processes, free_port()) if processes > 1 else [[]]
    running = [small_job.start([*command, *mine], devices=devices) for mine in theirs]
    for process in running:
        output, _ = process.communicate(timeout=1200)
        assert process.returncode == 0, output
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def assert_same(one, other):
    """Losses and evaluations to 1e-5, and every line once."""
    assert [(x["step"], x["kind"]) for x in one] == [(x["step"], x["kind"]) for x in other]
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        numbers = {k: v for k, v in a.items() if k != "kind"}
        # A deviation over photos is a difference of numbers as large as their mean.
        sizes = {k: max(abs(b[k]), abs(b.get(k.removesuffix("_std"), 0))) for k in numbers}
        for name, value in numbers.items():
            allowed = 1e-5 * max(sizes[name], 1)
            assert value == pytest.approx(b[name], rel=0, abs=allowed, nan_ok=True), name


TOGETHER = """
import json, sys
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
from tests.weights.checkpoint_test import small_state
from ml_collections import ConfigDict
from focus_jax.weights import checkpoint
from focus_jax.training import metrics
from focus_jax.system import preemption, sharding
port, number, workdir = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
distributed = {"coordinator": f"localhost:{port}", "processes": 2, "process": number}
distributed["timeout"] = 120
sharding.start_processes(distributed)
mesh = sharding.make_mesh()
said = {}
placed = sharding.replicate({"a": np.ones(3), "key": jax.random.key(0)}, mesh)
said["key"] = np.asarray(jax.random.key_data(placed["key"])).tolist()
batch = sharding.split(sharding.own_part(np.arange(8.0).reshape(4, 2)), mesh)
said["batch"] = sharding.gather(jax.jit(lambda x: 2 * x)(batch)).tolist()
asked = preemption.asked_to_stop([] if number else ["SIGTERM"], mesh)
said["stop"] = [next(asked) for _ in range(3)]
with checkpoint.alone_in(workdir):
    checkpoint.claim_workdir(workdir, ConfigDict({"seed": 0, "distributed": distributed}))
    manager = checkpoint.open_checkpoints(workdir, clean=True)
    for step in (5, 6):
        state = sharding.replicate(small_state(step, step), mesh)
        checkpoint.save(manager, state, {"position": step})
    checkpoint.finish(manager)
    sharding.wait_for_all("saved")
    if number == 0:
        (workdir / "checkpoints" / "6" / "data" / "metadata").write_text("{")
    sharding.wait_for_all("broken")
    state, memory = checkpoint.restore(manager, state, mend=True)
    said["restored"] = [int(state.step), memory["position"]]
    manager.close()
writer = metrics.MetricWriter(workdir, 0)
writer.write(1, "train", {"loss": 1.0})
writer.close()
print("said", json.dumps(said), flush=True)
"""


def test_two_processes_share_batches_signals_and_checkpoints(tmp_path):
    port = free_port()
    running = [small_job.start(["-c", TOGETHER, port, n, tmp_path / "run"]) for n in (0, 1)]
    for process in running:
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
        (line,) = [line for line in output.splitlines() if line.startswith("said ")]
        assert json.loads(line.removeprefix("said ")) == {
            "key": [0, 0],
            "batch": [[0.0, 2.0], [4.0, 6.0], [8.0, 10.0], [12.0, 14.0]],
            "stop": [False, True, True],  # though one of them alone got the signal
            "restored": [5, 5],
        }
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count("\n") == 1
    assert [p.name for p in (tmp_path / "run" / "checkpoints_broken").iterdir()] == ["6.0"]


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    folder = tmp_path_factory.mktemp("single")
    return folder / "cache", trained(folder / "cache", folder / "run", *SHORT)


@pytest.mark.slow
def test_one_and_four_devices_train_alike(single, tmp_path):
    cache, expected = single
    assert_same(trained(cache, tmp_path, *SHORT, devices=4), expected)


@pytest.mark.slow
def test_one_and_two_processes_train_alike_and_write_once(single, tmp_path):
    cache, expected = single
    found = trained(cache, tmp_path, *SHORT, processes=2)
    assert_same(found, expected)
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1
    # What two processes have saved, one goes on from: here to find that all is done.
    assert trained(cache, tmp_path, *SHORT) == found


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_dies_ends_the_other_within_a_minute(tmp_path, victim):
    flags = ["--config.schedule.warmup=100000", "--config.checkpoint_every=1000"]
    running = [
        small_job.start_run(tmp_path / "cache", tmp_path / "run", *flags, *mine)
        for mine in together(2, free_port())
    ]
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 1200
    while not metrics.exists() or metrics.read_text().count("\n") < 3:
        assert all(p.poll() is None for p in running) and time.monotonic() < deadline
        time.sleep(0.1)
    running[victim].send_signal(signal.SIGKILL)
    begun = time.monotonic()
    output, _ = running[1 - victim].communicate(timeout=90)
    running[victim].communicate()
    assert time.monotonic() - begun < 60
    assert running[1 - victim].returncode != 0
    assert "another process of this run has ended" in output or "JAX distributed service" in output


# --- settings ------------------------------------------------------------------------------------


ALONE = {"coordinator": "", "processes": 1, "process": 0, "timeout": 1}


def test_a_single_process_joins_nothing(monkeypatch):
    monkeypatch.setattr("jax.distributed.initialize", lambda **options: pytest.fail(str(options)))
    sharding.start_processes(ALONE)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    sharding.start_processes(ALONE)


def test_slurm_and_config_start_the_processes(monkeypatch):
    calls = []
    monkeypatch.setattr("jax.distributed.initialize", lambda **options: calls.append(options))
    monkeypatch.setattr(sharding, "_wait_for", lambda address, seconds: None)
    sharding.start_processes({**ALONE, "coordinator": "a:1", "processes": 2, "process": 1})
    sharding.start_processes({**ALONE, "coordinator": "auto"})
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    sharding.start_processes(ALONE)
    named = {"coordinator_address": "a:1", "num_processes": 2, "process_id": 1}
    assert [{k: v for k, v in c.items() if k in named} for c in calls] == [named, {}, {}]
    assert {c["heartbeat_timeout_seconds"] for c in calls} == {sharding.HEARTBEAT_SECONDS}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"coordinator": "a:1", "processes": 2, "process": 2}, "one of 0 to processes - 1"),
        ({"coordinator": "a", "processes": 2}, "HOST:PORT"),
    ],
)
def test_settings_that_do_not_fit_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        sharding.start_processes({**ALONE, **wrong})


def test_processes_that_do_not_come_are_one_sentence():
    code = (
        "import sys; from focus_jax.system import sharding\n"
        "try: sharding.start_processes({'coordinator': sys.argv[1], 'processes': 2, 'process': 1,"
        " 'timeout': 1})\nexcept ValueError as error: sys.exit(str(error))"
    )
    process = small_job.start(["-c", code, f"localhost:{free_port()}"])
    output, _ = process.communicate(timeout=300)
    assert (
        process.returncode != 0 and "process 0 of this run does not answer at localhost" in output
    ), output


@pytest.mark.parametrize("number", [0, 1])
def test_slurms_variables_without_its_processes_are_one_sentence(number):
    """As in a shell of `srun --ntasks=2 --pty`; JAX would abort with a stack trace."""
    code = (
        "from focus_jax.system import sharding\n"
        "sharding.start_processes(dict(coordinator='', processes=1, process=0, timeout=3))"
    )
    slurm = {"SLURM_STEP_NUM_TASKS": 2, "SLURM_NTASKS": 2, "SLURM_JOB_ID": 7}
    slurm |= {"SLURM_PROCID": number, "SLURM_LOCALID": 0, "SLURM_STEP_NODELIST": "localhost"}
    environment = {**os.environ, **{k: str(v) for k, v in slurm.items()}, "JAX_PLATFORMS": "cpu"}
    environment["PYTHONPATH"] = str(small_job.ROOT)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120
    )
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1 and "within 3 seconds" in line
    assert f"SLURM_STEP_NUM_TASKS=2, SLURM_NTASKS=2, SLURM_PROCID={number}" in line
    assert line.endswith("or put SLURM_STEP_NUM_TASKS=1 before the command to run alone")
    assert "stack trace" not in done.stderr
