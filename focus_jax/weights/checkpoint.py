"""One orbax checkpoint holds the state of both networks and the place in the data."""

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp

from focus_jax.system import locks, storage
from focus_jax.system.files import is_remote, read_json, write_whole
from focus_jax.system.sharding import is_first, wait_for_all
from focus_jax.types import Config, TrainState

log = logging.getLogger(__name__)
Found = TypeVar("Found")

# Fields of a config that say how a run goes, not what comes out: they may differ on resuming.
OPERATION = ("debug", "distributed")


def open_checkpoints(workdir: Path, *, clean: bool = False) -> ocp.CheckpointManager:
    """Manager of `workdir/checkpoints`, written atomically and in the background.

    With `clean` it removes what a killed run has half written: for the run itself, not for those
    who read its checkpoints meanwhile.
    """
    options = ocp.CheckpointManagerOptions(
        max_to_keep=2, create=True, cleanup_tmp_directories=clean
    )
    folder = workdir / "checkpoints"
    folder = folder if is_remote(folder) else folder.resolve()
    return ocp.CheckpointManager(folder, options=options, item_names=("state", "data"))


def save(manager: ocp.CheckpointManager, state: TrainState, data: dict[str, Any]) -> None:
    """Save at the state's step, with what the host remembers: JSON, such as the place in the data.

    It is written in the background. OSError, here or from `finish`, where that fails.
    """
    step = int(state.step)
    if manager.latest_step() == step:
        return
    try:
        manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(_sealed(data))
            ),
        )
    except Exception as error:  # whatever the storage raised, of this save or of the one before
        raise _unwritten(manager, error) from error


def begin(workdir: Path, state: TrainState, data: dict[str, Any]) -> None:
    """Let a run that has no checkpoint yet go on from this one, as `save` has it."""
    manager = open_checkpoints(workdir)
    with closing(manager):
        if manager.latest_step() is None:
            save(manager, state, data)


def _sealed(memory: dict[str, Any]) -> dict[str, Any]:
    # Orbax has checksums for arrays, not for JSON.
    return {"memory": memory, "digest": _digest(memory)}


def _digest(memory: Any) -> str:
    return hashlib.sha256(json.dumps(memory, sort_keys=True).encode()).hexdigest()


def _unsealed(data: dict[str, Any]) -> dict[str, Any]:
    if "memory" not in data and "digest" not in data:  # of a run before there were digests
        return {"batches": data, "health": {}}
    memory = data.get("memory")
    if data.get("digest") != _digest(memory) or not isinstance(memory, dict):
        raise ValueError("its place in the data is damaged")
    return memory


def finish(manager: ocp.CheckpointManager) -> None:
    """Wait until the checkpoints that were begun are complete."""
    try:
        manager.wait_until_finished()
    except Exception as error:
        raise _unwritten(manager, error) from error


def newest(manager: ocp.CheckpointManager) -> str:
    """Where the newest complete checkpoint is, or that there is none."""
    if jax.process_count() == 1:
        with contextlib.suppress(Exception):  # of one that fails, whose error is known by now
            manager.wait_until_finished()
    manager.reload()
    step = manager.latest_step()
    return "none" if step is None else str(manager.directory / str(step))


@contextlib.contextmanager
def closing(manager: ocp.CheckpointManager) -> Generator[None]:
    """Close the manager at the end, and say of a full disk what is safe.

    After an error, an unfinished checkpoint adds no error of its own; with several processes it is
    not waited for, since one of them may be no more.
    """
    try:
        yield
    except BaseException as error:
        if jax.process_count() == 1:
            with contextlib.suppress(Exception):
                manager.close()
        if isinstance(error, OSError) and error.errno is not None:
            raise _unwritten(manager, error) from error
        raise
    manager.close()


def _unwritten(manager: ocp.CheckpointManager, error: Exception) -> OSError:
    return OSError(
        f"{manager.directory.parent} cannot be written ({_first_line(error)}); last complete "
        f"checkpoint: {newest(manager)}; make room and repeat the command to go on from there"
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]


def restore(
    manager: ocp.CheckpointManager, like: TrainState, *, mend: bool = False
) -> tuple[TrainState, dict[str, Any]] | None:
    """The newest readable checkpoint in the shape and sharding of `like`; None if there is none.

    One that is damaged, or of networks of other shapes, is named in the log and passed over for the
    one before it. With `mend` it is moved to `checkpoints_broken`, so that its step can be saved
    anew. ValueError when there are checkpoints and none can be read.
    """
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    wanted = ocp.args.Composite(
        state=ocp.args.StandardRestore(abstract), data=ocp.args.JsonRestore()
    )

    def check(found: Any) -> tuple[TrainState, dict[str, Any]]:
        _check_shapes(found["state"], like)
        return found["state"], _unsealed(found["data"])

    return _newest_readable(manager, wanted, check, mend=mend)


def restore_part(manager: ocp.CheckpointManager, like: dict[str, Any]) -> dict[str, Any] | None:
    """`restore`, for those who only look: these fields of the state, by their shapes."""
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    options = {"restore_args": ocp.checkpoint_utils.construct_restore_args(abstract)}
    state = ocp.args.PyTreeRestore(abstract, **options, partial_restore=True)

    def check(found: Any) -> dict[str, Any]:
        _check_shapes(found["state"], like)
        return found["state"]

    return _newest_readable(manager, ocp.args.Composite(state=state), check, mend=False)


def _newest_readable(
    manager: ocp.CheckpointManager,
    wanted: ocp.args.Composite,
    check: Callable[[Any], Found],
    *,
    mend: bool,
) -> Found | None:
    broken: dict[int, str] = {}
    for step in sorted(manager.all_steps(), reverse=True):
        try:
            found = check(manager.restore(step, args=wanted))
        except Exception as error:  # what a reader makes of broken bytes is not foreseeable
            broken[step] = _first_line(error)
            log.warning(
                "the checkpoint %s cannot be read (%s); going back to the one before it",
                manager.directory / str(step),
                broken[step],
            )
            continue
        if mend:
            _set_aside(manager, list(broken))
        return found
    if broken:
        reasons = "; ".join(f"step {step}: {reason}" for step, reason in broken.items())
        raise ValueError(
            f"none of the checkpoints in {manager.directory} can be read ({reasons}); "
            "bring one back from a copy, or begin anew in another --workdir"
        )
    return None


def _check_shapes(found: Any, like: Any) -> None:
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(like), jax.tree.leaves(found), strict=True
    ):
        if a.shape != b.shape or a.dtype != b.dtype:
            name = jax.tree_util.keystr(path)
            raise ValueError(f"{name} is {b.dtype}{b.shape}, this config needs {a.dtype}{a.shape}")


def _set_aside(manager: ocp.CheckpointManager, steps: list[int]) -> None:
    if not steps:
        return
    directory = manager.directory
    if is_first():
        aside = directory.with_name("checkpoints_broken")
        aside.mkdir(exist_ok=True)
        for step in steps:
            number = len(list(aside.glob(f"{step}*")))
            storage.move(directory / str(step), aside / f"{step}.{number}")
    wait_for_all("broken checkpoints are aside")
    manager.reload()


@contextlib.contextmanager
def alone_in(workdir: Path) -> Generator[None]:
    """Keep other runs out of a workdir, as two would spoil each other's files; ValueError if one
    is in it. The system lets a dead run's claim go."""
    if not is_first():
        yield
        return
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / "lock"
    with contextlib.ExitStack() as held:
        try:
            if is_remote(workdir):
                held.enter_context(storage.claimed(path, wait=False))
            else:
                locks.lock(held.enter_context(path.open("w")), wait=False)
        except BlockingIOError:
            raise ValueError(
                f"another run is working in {workdir}; wait for its end, or give another --workdir"
            ) from None
        except OSError:  # a file system or a system without locks
            log.warning("%s cannot be locked; start one run at a time in it", workdir)
        yield


def has_begun(workdir: Path) -> bool:
    """Whether a run in `workdir` has saved a checkpoint."""
    return any(child.name.isdecimal() for child in (workdir / "checkpoints").glob("*"))


def claim_workdir(workdir: Path, config: Config) -> None:
    """Write the config into a new workdir; refuse one that was begun with another config.

    A run that failed before its first checkpoint has nothing to lose and may be corrected. What
    only concerns the operation (`OPERATION`) may change at any time.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    path, text = workdir / "config.json", config.to_json(sort_keys=True)
    if path.exists() and has_begun(workdir):
        before = _flatten(read_json(path))
        now = _flatten(json.loads(text))
        fields = [
            k
            for k in sorted(before.keys() | now.keys())
            if before.get(k) != now.get(k) and k.split(".")[0] not in OPERATION
        ]
        if fields:
            changes = ", ".join(f"{k} (was {before.get(k)}, now {now.get(k)})" for k in fields)
            raise ValueError(
                f"{workdir} holds a run with other settings: {changes}; "
                "choose another --workdir or repeat the old settings"
            )
    wait_for_all("every process has read the config")
    if is_first():
        write_whole(path, text + "\n")


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}.{key}" if prefix else key)
    return flat
