"""Sweeps: one config, many overrides, each a run of its own.

    python -m experiments.launch --config=configs/em.py --sweep=area           says what would run
    python -m experiments.launch --config=configs/em.py --sweep=area --local=2   two at a time, here
    python -m experiments.launch ... --slurm=slurm_partition=gpu,gpus_per_node=1,timeout_min=600
    python -m experiments.launch ... --ray=auto                        on the Ray cluster there is
    python -m experiments.launch ... --collect                                 states and scores

A sweep NAME is a function `sweep_NAME(config)` in the config file that yields overrides, such as
`{"losses.area": 0.5, "seed": 1}`; `--config.field=value` holds for all members. Member after member
writes into `runs/sweep-<config.name>-NAME/<overrides>`, its output into `log.txt` there. One that
fails is tried again from its checkpoint, and reported; repeat the command to go on after an
interruption. `--slurm` takes the parameters of submitit's AutoExecutor; Slurm starts a member that
it preempts or whose time is over again. `--ray` takes Ray's address (auto; local: one of this
machine alone) and what a member needs of a machine, `--ray=auto,num_gpus=2`: by default one GPU
where there are any; a member whose machine is lost begins again on another. Variants that share a
beginning: `experiments/ablation.py`.
"""

import contextlib
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags
from ml_collections import config_flags

from experiments import runs
from focus_jax.evaluation import report
from focus_jax.system import command
from focus_jax.system.preemption import EXIT_CODE, Interrupted, catch_signals
from focus_jax.types import Config

log = logging.getLogger(__name__)

Overrides = Mapping[str, Any]
STATE = "launch.json"


class Member(NamedTuple):
    """A run of a sweep. `command` is repeated until it ends well."""

    name: str
    workdir: Path
    overrides: dict[str, Any]
    command: tuple[str, ...]


# --- what runs -----------------------------------------------------------------------------------


def find_sweep(path: str, name: str) -> Callable[[Config], Iterator[Overrides]]:
    """The function `sweep_<name>` of a config file; ValueError with those that it has."""
    module: dict[str, Any] = {"__name__": "config", "__file__": path}
    exec(compile(Path(path).read_text(), path, "exec"), module)
    sweeps = sorted(k.removeprefix("sweep_") for k in module if k.startswith("sweep_"))
    if name not in sweeps:
        raise ValueError(f"{path} has no sweep {name!r}, but {sweeps or 'none'}")
    return module[f"sweep_{name}"]


def members(
    sweep: Callable[[Config], Iterator[Overrides]],
    config: Config,
    arguments: Sequence[str],
    root: Path,
) -> list[Member]:
    """A member for each of the sweep's overrides; `arguments` of the trainer hold for all.

    ValueError for a field that the config does not have, and for overrides that come twice.
    """
    found: list[Member] = []
    for overrides in sweep(config):
        try:
            changed = config.copy_and_resolve_references().lock()
            changed.update_from_flattened_dict(dict(overrides))
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"the sweep yields {dict(overrides)}: {error}") from None
        text = ",".join(f"{key}={value}" for key, value in overrides.items())
        name = re.sub(r"[^A-Za-z0-9_.,=+-]", "-", text) or "default"
        if any(name == other.name for other in found):
            raise ValueError(f"the sweep yields {text or 'no overrides'} twice")
        own = [f"--config.{key}={value}" for key, value in overrides.items()]
        workdir = root / name
        command = [sys.executable, "-m", "focus_jax.main", f"--workdir={workdir}"]
        found.append(Member(name, workdir, dict(overrides), (*command, *arguments, *own)))
    if not found:
        raise ValueError("the sweep yields nothing")
    return found


# --- running -------------------------------------------------------------------------------------


def state_of(member: Member) -> dict[str, Any]:
    """What is known of a member: `state` (waiting, running, finished, failed, interrupted), ..."""
    path = member.workdir / STATE
    if not path.exists():
        return {"state": "waiting", "attempts": 0, "error": ""}
    return json.loads(path.read_text())


def run_member(
    member: Member,
    retries: int,
    *,
    stop: Sequence[Any] = (),
    children: list[subprocess.Popen] | None = None,
) -> dict[str, Any]:
    """Run a member to its end, from its checkpoint again after failures; its state is written.

    When `stop` becomes true the run is asked to save and stop. `children` receives its processes.
    """
    state = state_of(member)
    if state["state"] == "finished":
        return state
    member.workdir.mkdir(parents=True, exist_ok=True)
    failures = 0
    while not stop:
        state |= {"state": "running", "attempts": state["attempts"] + 1}
        _write_state(member, state)
        status = _run_once(member, stop, [] if children is None else children)
        if status == 0:
            state |= {"state": "finished", "error": ""}
            break
        if status == EXIT_CODE or stop:
            state |= {"state": "interrupted", "error": ""}
            continue
        failures += 1
        state |= {"state": "failed", "error": _last_error(member, status)}
        log.warning("%s failed: %s", member.name, state["error"])
        if failures > retries:
            break
    _write_state(member, state)
    return state


def _run_once(member: Member, stop: Sequence[Any], children: list[subprocess.Popen]) -> int:
    with (member.workdir / "log.txt").open("a") as file:
        # A session of its own, so that Ctrl-C reaches it once, through us. It ignores the signal by
        # which Slurm tells submitit of the end of its time: that comes through us too.
        command = ["sh", "-c", 'trap "" USR2; exec "$@"', "sh", *member.command]
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        children.append(process)
        try:
            while process.poll() is None and not stop:
                time.sleep(0.05)
        finally:
            if process.poll() is None:
                process.terminate()
            status = process.wait()
    return status


def _last_error(member: Member, status: int) -> str:
    lines = (member.workdir / "log.txt").read_text(errors="replace").splitlines()
    said = [line for line in lines if line.strip()]
    return f"status {status}" + (f": {said[-1][:300]}" if said else "")


def _write_state(member: Member, state: Mapping[str, Any]) -> None:
    if os.environ.get("SLURM_PROCID", "0") == "0":  # one of the processes of a member says it
        runs.write(member.workdir / STATE, state)


def run_here(chosen: Sequence[Member], count: int, retries: int) -> None:
    """Run members on this machine, `count` at a time. Interrupted after all have saved."""
    with catch_signals() as received, ThreadPoolExecutor(count) as pool:
        running = [pool.submit(run_member, member, retries, stop=received) for member in chosen]
        for future in running:
            while not future.done():
                time.sleep(0.05)  # signals arrive between two sleeps
            future.result()
    if received:
        raise Interrupted(f"stopped by {received[0]}; run the same command to go on")


class Task:
    """A member as submitit sends it to a cluster; Slurm's warning ends it, and it comes again."""

    def __init__(self, member: Member, retries: int) -> None:
        self.member, self.retries = member, retries
        self.children: list[subprocess.Popen] = []

    def __call__(self) -> dict[str, Any]:
        return run_member(self.member, self.retries, children=self.children)

    def checkpoint(self) -> Any:
        """Called by submitit's signal handler before it puts the job into the queue again."""
        import submitit

        for process in self.children[-1:]:
            process.terminate()
            # Not process.wait(): the code that the signal interrupted may hold its lock.
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        return submitit.helpers.DelayedSubmission(Task(self.member, self.retries))


def submit(
    chosen: Sequence[Member], retries: int, folder: Path, cluster: str, parameters: Overrides
) -> list[Any]:
    """Send members to a cluster through submitit ("slurm", or "local" to try); returns its jobs."""
    try:
        import submitit
    except ImportError:
        raise ImportError("--slurm needs submitit: pip install 'focus_jax[slurm]'") from None
    options = {"slurm_max_num_timeout": 100} if cluster == "slurm" else {}
    executor = submitit.AutoExecutor(folder=folder / "%j", cluster=cluster, **options)
    try:
        executor.update_parameters(name=folder.parent.name, **parameters)
    except (TypeError, NameError, ValueError) as error:
        raise ValueError(f"--slurm: {str(error).splitlines()[0]}") from None
    with executor.batch():
        return [executor.submit(Task(member, retries)) for member in chosen]


def run_on_ray(chosen: Sequence[Member], retries: int, address: str, needs: Overrides) -> None:
    """Run members as tasks of a Ray cluster, whose machines share the disk, and wait for them.

    `needs` are Ray's `num_cpus`, `num_gpus`, and resources by their names, of each member.
    """
    try:
        import ray
    except ImportError:
        raise ImportError("--ray needs ray: pip install 'focus_jax[ray]'") from None
    try:
        ray.init(address=address, log_to_driver=False)
    except (ConnectionError, ValueError) as error:
        raise ValueError(f"--ray={address}: {str(error).splitlines()[0]}") from None
    try:
        named = {k: v for k, v in needs.items() if k not in ("num_cpus", "num_gpus")}
        gpus = min(1, int(ray.cluster_resources().get("GPU", 0)))
        options = {"num_gpus": gpus, **{k: v for k, v in needs.items() if k not in named}}
        # Ray itself begins a task anew whose machine is lost; the member's own failures it counts.
        task = ray.remote(run_member).options(**options, resources=named, max_retries=-1)
        waiting = {task.remote(member, retries): member for member in chosen}
        while waiting:
            (first,), _ = ray.wait(list(waiting))
            member = waiting.pop(first)
            try:
                ray.get(first)
            except Exception as error:  # of Ray: it says why no machine could run it
                said = {"state": "failed", "error": str(error).strip().splitlines()[-1][:300]}
                log.warning("%s failed: %s", member.name, said["error"])
                member.workdir.mkdir(parents=True, exist_ok=True)
                _write_state(member, {**state_of(member), **said})
    finally:
        ray.shutdown()


# --- collecting ----------------------------------------------------------------------------------


def collect(chosen: Sequence[Member], root: Path, *, title: str) -> str:
    """Write states and scores of all members as `sweep.md` and `.json`; returns the markdown.

    Members that differ in their seed alone are one row: mean and deviation over them.
    """
    rows, groups, everything = [], {}, []
    for member in chosen:
        state = state_of(member)
        path = member.workdir / "scores" / "joint.json"
        scores = json.loads(path.read_text()) if path.exists() else None
        done = state["state"] == "finished"
        rows.append([member.name, state["state"], state["attempts"], *_progress(member)])
        rows[-1].append(state["error"].replace("|", "/") or "-")
        everything.append({"name": member.name, **member.overrides, **state, "scores": scores})
        if scores is not None and done:
            same = {k: v for k, v in member.overrides.items() if k != "seed"}
            label = ", ".join(f"{k}={v}" for k, v in same.items()) or "config"
            groups.setdefault(label, []).append({"test": scores})
    parts = [f"# {title}"]
    parts += [report.table(["member", "state", "tries", "step", "warnings", "error"], rows)]
    if groups:
        table = [(label, scores, "segmenter") for label, scores in groups.items()]
        parts += [runs.scores_table(table, subset) for subset in ("occluded", "unoccluded")]
    text = "\n\n".join(parts) + "\n"
    root.mkdir(parents=True, exist_ok=True)
    (root / "sweep.md").write_text(text)
    runs.write(root / "sweep.json", {"members": everything})
    return text


def _progress(member: Member) -> tuple[int, str]:
    """The last step of a member's metrics, and the names of the warnings among them."""
    path, step, warnings = member.workdir / "metrics.jsonl", 0, []
    for line in path.read_text().splitlines() if path.exists() else ():
        with contextlib.suppress(json.JSONDecodeError):  # one that is being written
            values = json.loads(line)
            step = max(step, values["step"])
            if values["kind"] == "warning":
                warnings += [k for k in values if k not in ("step", "kind")]
    return step, ", ".join(dict.fromkeys(warnings)) or "-"


# --- the command ---------------------------------------------------------------------------------


def parameters_of(texts: Sequence[str]) -> dict[str, Any]:
    """`key=value` pairs; whole numbers become numbers."""
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"key=value pairs with commas between are wanted, not {text!r}")
        found[key] = int(value) if value.isdecimal() else value
    return found


def main(argv: list[str]) -> None:
    del argv
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    config = _CONFIG.value
    arguments = [a for a in sys.argv[1:] if a.startswith(("--config=", "--config."))]
    path, _, _ = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    root = Path(_WORKDIR.value or f"runs/sweep-{config.name}-{_SWEEP.value}").resolve()
    chosen = members(find_sweep(path, _SWEEP.value), config, arguments, root)
    title = f"Sweep {_SWEEP.value} of {config.name}"
    if _SLURM.value is not None:
        waiting = [m for m in chosen if state_of(m)["state"] != "finished"]
        jobs = submit(waiting, _RETRIES.value, root / "slurm", "slurm", parameters_of(_SLURM.value))
        print(f"submitted {', '.join(job.job_id for job in jobs)}; --collect says how they are")
    elif _LOCAL.value or _RAY.value:
        if _LOCAL.value:
            run_here(chosen, _LOCAL.value, _RETRIES.value)
        else:
            address, *needs = _RAY.value
            run_on_ray(chosen, _RETRIES.value, address, parameters_of(needs))
        print(collect(chosen, root, title=title))
        failed = [m.name for m in chosen if state_of(m)["state"] != "finished"]
        if failed:
            raise ValueError(f"{len(failed)} of {len(chosen)} members failed: {', '.join(failed)}")
    elif _COLLECT.value:
        print(collect(chosen, root, title=title))
    else:
        for member in chosen:
            print(" ".join(member.command))


if __name__ == "__main__":
    _CONFIG = config_flags.DEFINE_config_file("config", None, "Settings.", lock_config=True)
    _SWEEP = flags.DEFINE_string("sweep", None, "NAME of the config file's sweep_NAME(config).")
    _WORKDIR = flags.DEFINE_string("workdir", None, "By default runs/sweep-<config.name>-<sweep>.")
    _LOCAL = flags.DEFINE_integer("local", 0, "Run here, so many members at a time.")
    _SLURM = flags.DEFINE_list("slurm", None, "Submit to Slurm with these parameters.")
    _RAY = flags.DEFINE_list("ray", None, "Run on Ray: its address, then what a member needs.")
    _COLLECT = flags.DEFINE_bool("collect", False, "Only write what there is.")
    _RETRIES = flags.DEFINE_integer("retries", 2, "How often a member that failed is tried again.")
    flags.mark_flags_as_required(["config", "sweep"])
    command.run(main)
