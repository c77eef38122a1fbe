"""A finished training run, ready to look at new photos."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from focus_jax import checkpoint, updates
from focus_jax.data.align import align_face
from focus_jax.data.features import recognized
from focus_jax.data.pipeline import evaluation_batches
from focus_jax.face_models import load_face_model
from focus_jax.recognizer import load_recognizer
from focus_jax.train import initial_state, make_method
from focus_jax.types import Batch, Config, TrainState


class Trained(NamedTuple):
    config: Config
    method: updates.Method
    constants: updates.Constants
    state: TrainState


def load_trained(workdir: Path) -> Trained:
    """The newest checkpoint of a workdir with all it needs; ValueError if there is none."""
    path = workdir / "config.json"
    if not path.is_file():
        raise ValueError(f"{workdir} holds no config.json; give the workdir of a training run")
    config: Config = ConfigDict(_tuples(json.loads(path.read_text())))
    face_model = load_face_model(config.face_model.name, **config.face_model.modes)
    method = make_method(config, face_model)
    recognizer = load_recognizer(config.recognizer.kind, config.recognizer.weights or None)
    constants = updates.Constants(
        jax.tree.map(jnp.asarray, face_model), recognizer, jax.random.key(config.seed)
    )
    side = crop_size(config)
    example = {
        "image": np.zeros((side, side, 3), np.uint8),
        "landmarks": np.zeros((68, 2), np.float32),
    }
    batch, _ = next(record_batches([example], config, recognizer))
    manager = checkpoint.open_checkpoints(workdir)
    restored = checkpoint.restore(manager, initial_state(method, face_model, batch, config.seed))
    manager.close()
    if restored is None:
        raise ValueError(f"{workdir} holds no checkpoint; train first, or give another workdir")
    return Trained(config, method, constants, restored[0])


def _tuples(tree: Any) -> Any:
    """Lists, which JSON made of tuples, back: what a program is compiled for must be hashable."""
    if isinstance(tree, dict):
        return {key: _tuples(value) for key, value in tree.items()}
    return tuple(map(_tuples, tree)) if isinstance(tree, list) else tree


def crop_size(config: Config) -> int:
    """Pixels of the crop that a model looks at first."""
    data = config.data
    return data.record_size if config.encoder.kind == "recognizer" else data.size


def align(photo: np.ndarray, landmarks: np.ndarray, config: Config) -> dict[str, Any]:
    """A photo as a record for `record_batches`."""
    aligned = align_face(photo, landmarks, crop_size(config))
    return {"image": aligned.image, "landmarks": aligned.landmarks}


def record_batches(
    records: Sequence[dict[str, Any]], config: Config, recognizer: Any
) -> Iterator[tuple[Batch, int]]:
    """Batches of crops with what the model's encoder needs, and how many of each count."""
    if config.encoder.kind == "recognizer":
        records = list(
            recognized(
                records,
                recognizer,
                kind=config.recognizer.kind,
                record_size=config.data.record_size,
                size=config.data.size,
                versions=0,
                paste=0.0,
                seed=0,
            )
        )
    return evaluation_batches(records, batch_size=config.data.batch_size, size=config.data.size)
