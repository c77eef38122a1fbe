"""One orbax checkpoint holds the state of both networks and the place in the data."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from focus_jax.types import Config, TrainState


def open_checkpoints(workdir: Path, *, keep: int = 2) -> ocp.CheckpointManager:
    """Manager of `workdir/checkpoints`, written atomically and in the background."""
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
    return ocp.CheckpointManager(
        (workdir / "checkpoints").resolve(), options=options, item_names=("state", "data")
    )


def save(manager: ocp.CheckpointManager, state: TrainState, data: dict[str, Any]) -> None:
    """Save at the state's step, with the data iterator's place (JSON)."""
    step = int(state.step)
    if manager.latest_step() == step:
        return
    manager.save(
        step,
        args=ocp.args.Composite(state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(data)),
    )


def restore(
    manager: ocp.CheckpointManager, like: TrainState
) -> tuple[TrainState, dict[str, Any]] | None:
    """The newest checkpoint in the shape and sharding of `like`, or None if there is none."""
    step = manager.latest_step()
    if step is None:
        return None
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    found = manager.restore(
        step,
        args=ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), data=ocp.args.JsonRestore()
        ),
    )
    return found["state"], found["data"]


def claim_workdir(workdir: Path, config: Config) -> None:
    """Write the config into a new workdir; refuse one that was begun with another config.

    A run that failed before its first checkpoint has nothing to lose and may be corrected.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    path, text = workdir / "config.json", config.to_json(sort_keys=True)
    begun = any(child.name.isdecimal() for child in (workdir / "checkpoints").glob("*"))
    if not path.exists() or not begun:
        path.write_text(text + "\n")
        return
    before, now = _flatten(json.loads(path.read_text())), _flatten(json.loads(text))
    fields = [k for k in sorted(before.keys() | now.keys()) if before.get(k) != now.get(k)]
    if fields:
        changes = ", ".join(f"{k} (was {before.get(k)}, now {now.get(k)})" for k in fields)
        raise ValueError(
            f"{workdir} holds a run with other settings: {changes}; "
            "choose another --workdir or repeat the old settings"
        )


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}.{key}" if prefix else key)
    return flat


def parameter_count(variables: dict[str, Any]) -> int:
    """Number of trained parameters of a network."""
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(variables["params"]))
