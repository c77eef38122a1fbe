"""Sweeps with trainers that only pretend: what runs, and runs again, here and through Slurm."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
import types

import pytest

from experiments import launch, runs
from experiments.launch import Member
from tests.training.train_test import load_config

# Fails, is interrupted, and ends well: one after the other, as a file in its workdir counts.
FICKLE = """
import json, pathlib, sys
workdir = pathlib.Path(sys.argv[1])
tries = workdir / "tries"
count = int(tries.read_text()) if tries.exists() else 0
tries.write_text(str(count + 1))
status = int(sys.argv[2].split(",")[count])
if status == 1:
    print("error: the disk is on fire")
if status == 0:
    (workdir / "scores").mkdir()
    means = {"count": 4, "segmenter_f1": float(sys.argv[3])}
    (workdir / "scores" / "joint.json").write_text(json.dumps({"occluded": means}))
    lines = [{"step": 3, "kind": "train"}, {"step": 4, "kind": "warning", "mean-face collapse": 1}]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\\n" for line in lines))
sys.exit(status)
"""


def fickle(root, name, statuses, *, f1=0.9, **overrides):
    command = (sys.executable, "-c", FICKLE, str(root / name), statuses, str(f1))
    return Member(name, root / name, overrides, command)


@pytest.fixture
def config():
    return load_config("em", "smoke")


# --- what runs -----------------------------------------------------------------------------------


def test_a_sweep_of_a_config_file_becomes_commands(config, tmp_path):
    sweep = launch.find_sweep("configs/em.py", "area")
    found = launch.members(sweep, config, ["--config=configs/em.py:smoke"], tmp_path)
    area = round(0.5 * config.losses.area, 4)
    assert len(found) == 15 and found[0].name == f"losses.area={area},seed=0"
    assert found[0].command[1:] == (
        "-m",
        "focus_jax.main",
        f"--workdir={tmp_path / found[0].name}",
        "--config=configs/em.py:smoke",
        f"--config.losses.area={area}",
        "--config.seed=0",
    )
    with pytest.raises(ValueError, match=r"no sweep 'aera', but \['area', 'seeds'\]"):
        launch.find_sweep("configs/em.py", "aera")


@pytest.mark.parametrize(
    ("yielded", "message"),
    [
        ([{"losses.aera": 1.0}], "aera"),
        ([{"seed": 1}, {"seed": 1}], "twice"),
        ([], "nothing"),
    ],
)
def test_a_sweep_that_cannot_run_is_refused_before_it_starts(config, tmp_path, yielded, message):
    with pytest.raises(ValueError, match=message):
        launch.members(lambda _: iter(yielded), config, [], tmp_path)


def test_names_of_members_stay_in_their_folder(config, tmp_path):
    (member,) = launch.members(lambda _: [{"name": "../../etc"}], config, [], tmp_path)
    assert member.workdir.parent == tmp_path and member.workdir.name == "name=..-..-etc"


def test_the_command_prints_what_would_run():
    command = [sys.executable, "-m", "experiments.launch", "--config=configs/em.py:smoke"]
    command += ["--config.data.size=32", "--sweep=seeds"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    lines = done.stdout.splitlines()
    assert len(lines) == 5 and all("--config.data.size=32" in line for line in lines)
    assert "runs/sweep-em-smoke-seeds/seed=4" in lines[4]


# --- running -------------------------------------------------------------------------------------


def test_failed_members_are_tried_again_and_reported(tmp_path):
    chosen = [
        fickle(tmp_path, "a", "1,75,0", seed=0, area=1.0),
        fickle(tmp_path, "b", "1,1,1,1", seed=1, area=1.0),
        fickle(tmp_path, "c", "0", f1=0.7, seed=2, area=1.0),
    ]
    launch.run_here(chosen, 2, retries=2)
    states = [launch.state_of(member) for member in chosen]
    assert [s["state"] for s in states] == ["finished", "failed", "finished"]
    assert [s["attempts"] for s in states] == [3, 3, 1]
    assert states[1]["error"] == "status 1: error: the disk is on fire"
    text = launch.collect(chosen, tmp_path, title="test")
    assert "| b | failed | 3 | 0 | - | status 1: error: the disk is on fire |" in text
    assert "mean-face collapse" in text
    assert "| area=1.0 |" in text and "0.800 ± 0.141" in text  # over the two that finished
    assert len(json.loads((tmp_path / "sweep.json").read_text())["members"]) == 3
    launch.run_here(chosen[:1], 1, retries=2)  # a finished member does not run again
    assert launch.state_of(chosen[0])["attempts"] == 3


WAITING = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
print("ready", flush=True)
time.sleep(600)
"""


def waiting(root, name):
    return Member(name, root / name, {}, (sys.executable, "-c", WAITING))


def until(condition, seconds=300):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_interrupted_launcher_lets_its_members_save(tmp_path):
    code = """
import sys
from pathlib import Path
sys.path[:0] = [".", "tests"]
from tests.experiments.launch_test import waiting
from experiments import launch
from focus_jax.system.command import in_one_sentence
chosen = [waiting(Path(sys.argv[1]), name) for name in "ab"]
sys.exit(in_one_sentence(lambda _: launch.run_here(chosen, 2, 1))([]))
"""
    launcher = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    logs = [tmp_path / name / "log.txt" for name in "ab"]
    until(lambda: all(log.exists() and "ready" in log.read_text() for log in logs))
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(timeout=300) == os.EX_TEMPFAIL
    for name in "ab":
        assert launch.state_of(waiting(tmp_path, name))["state"] == "interrupted"


# --- Ray -----------------------------------------------------------------------------------------


class Ray(types.ModuleType):
    """What the launcher asks of Ray, done at once; a member named `lost` finds no machine."""

    def __init__(self, gpus):
        super().__init__("ray")
        self.gpus, self.asked, self.ended = gpus, [], False

    def init(self, *, address, log_to_driver):
        if address not in ("auto", "local"):
            raise ConnectionError(f"no cluster at {address}\nsee its log")

    def cluster_resources(self):
        return {"CPU": 8.0, "GPU": self.gpus}

    def remote(self, function):
        def options(**given):
            self.asked.append(given)
            return types.SimpleNamespace(remote=lambda *a: functools.partial(function, *a))

        return types.SimpleNamespace(options=options)

    def wait(self, waiting):
        return waiting[-1:], waiting[:-1]

    def get(self, task):
        if task.args[0].name == "lost":
            raise RuntimeError("traceback\nno machine has 2 GPUs")
        return task()

    def shutdown(self):
        self.ended = True


def test_members_run_on_ray_and_are_collected(tmp_path, monkeypatch):
    ray = Ray(gpus=4.0)
    monkeypatch.setitem(sys.modules, "ray", ray)
    chosen = [
        fickle(tmp_path, "a", "1,0"),
        fickle(tmp_path, "b", "1,1"),
        fickle(tmp_path, "lost", ""),
    ]
    launch.run_on_ray(chosen, 1, "auto", {"TPU-v4": 4})
    assert ray.asked == [{"num_gpus": 1, "resources": {"TPU-v4": 4}, "max_retries": -1}]
    assert [launch.state_of(m)["state"] for m in chosen] == ["finished", "failed", "failed"]
    text = launch.collect(chosen, tmp_path, title="test")
    assert "| lost | failed | 0 | 0 | - | no machine has 2 GPUs |" in text and ray.ended
    ray.gpus = 0
    launch.run_on_ray(chosen[:1], 1, "local", {"num_cpus": 2})
    assert ray.asked[-1] == {"num_gpus": 0, "num_cpus": 2, "resources": {}, "max_retries": -1}
    with pytest.raises(ValueError, match=r"--ray=1\.2\.3\.4:6: no cluster at 1\.2\.3\.4:6$"):
        launch.run_on_ray(chosen, 1, "1.2.3.4:6", {})


def test_without_ray_its_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'focus_jax\[ray\]'"):
        launch.run_on_ray([], 1, "auto", {})


# --- submitit ------------------------------------------------------------------------------------


def test_submitit_runs_members_locally(tmp_path):
    chosen = [fickle(tmp_path, "a", "1,0"), fickle(tmp_path, "b", "1,1")]
    jobs = launch.submit(chosen, 1, tmp_path / "slurm", "local", {"timeout_min": 5})
    assert [job.result()["state"] for job in jobs] == ["finished", "failed"]
    assert "| b | failed | 2 |" in launch.collect(chosen, tmp_path, title="test")


SBATCH = """#!/bin/sh
# Runs what it is given as a job of Slurm's, both tasks of the array, soon after it has returned.
for script; do :; done
cp "$script" "$FAKE_SLURM/script"
for task in 0 1; do
  SLURM_JOB_ID=7$task SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$task SLURM_JOB_NUM_NODES=1 \\
    SLURM_NTASKS=1 SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_JOB_NODELIST=here \\
    sh "$FAKE_SLURM/script" > "$FAKE_SLURM/out$task" 2>&1 &
done
echo "Submitted batch job 7"
"""
SRUN = """#!/bin/sh
while case "$1" in -*) true;; *) false;; esac; do
  case "$1" in --output|--error) shift 2;; *) shift;; esac
done
exec "$@"
"""


def test_slurm_gets_the_members_as_an_array(tmp_path, monkeypatch):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("scontrol", "#!/bin/sh\n")):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path))
    chosen = [fickle(tmp_path, "a", "1,0"), fickle(tmp_path, "b", "0")]
    given = launch.parameters_of(["slurm_partition=gpu", "gpus_per_node=1", "timeout_min=60"])
    jobs = launch.submit(chosen, 1, tmp_path / "slurm", "slurm", given)
    assert [job.job_id for job in jobs] == ["7_0", "7_1"]
    until(lambda: [launch.state_of(m)["state"] for m in chosen] == ["finished", "finished"])
    script = (tmp_path / "script").read_text()
    for part in ("--partition=gpu", "--gpus-per-node=1", "--time=60", "--array=0-1"):
        assert part in script


def test_wrong_parameters_are_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="key=value"):
        launch.parameters_of(["gpu"])
    with pytest.raises(ValueError, match=r"--slurm: .*partitoin"):
        launch.submit([fickle(tmp_path, "a", "0")], 0, tmp_path, "local", {"partitoin": "gpu"})


def test_a_task_that_slurm_ends_lets_the_run_save_and_comes_again(tmp_path):
    member = waiting(tmp_path, "a")
    member.workdir.mkdir()
    task = launch.Task(member, 0)
    process = subprocess.Popen(member.command, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    task.children.append(process)
    again = task.checkpoint()
    assert process.wait(timeout=10) == os.EX_TEMPFAIL
    process.stdout.close()
    assert again.function.member == member and again.function.children == []


def test_results_are_written_whole(tmp_path):
    runs.write(tmp_path / "a.json", {"b": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
