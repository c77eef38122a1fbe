"""A trained model, ready to look at new photos: the folder of a training run, or an exported one.

An exported model is a folder of `config.json` and of plain arrays: `encoder.safetensors`,
`segmenter.safetensors` and `albedo_mean.safetensors`. `python -m focus_jax.weights export` makes
one of a run; its networks are also what `config.init` starts from.
"""

import dataclasses
import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from focus_jax import weights
from focus_jax.data.align import align_face
from focus_jax.data.features import recognized
from focus_jax.data.pipeline import evaluation_batches
from focus_jax.face_models import load_face_model
from focus_jax.networks.recognizer import encoder_features, load_recognizer
from focus_jax.training import updates
from focus_jax.training.train import make_method, new_state
from focus_jax.types import Batch, Config, FaceModel, TrainState
from focus_jax.weights import checkpoint

EXPORTED = ("encoder", "segmenter", "albedo_mean")  # fields of the state, a file each


class Trained(NamedTuple):
    config: Config
    method: updates.Method
    constants: updates.Constants
    state: TrainState


def load_trained(workdir: Path) -> Trained:
    """An exported model, or the newest checkpoint of a workdir; ValueError if there is neither.

    The face model of `constants` has the run's mean albedo.
    """
    path = workdir / "config.json"
    exported = all((workdir / f"{name}.safetensors").is_file() for name in EXPORTED)
    if not path.is_file() or not (exported or (workdir / "checkpoints").is_dir()):
        raise ValueError(
            f"{workdir} is not a trained model; give the folder of a training run (it holds "
            "config.json and checkpoints) or of an exported model (config.json and .safetensors)"
        )
    config: Config = ConfigDict(_tuples(json.loads(path.read_text())))
    face_model = load_face_model(config.face_model.name, **config.face_model.modes)
    method = make_method(config, face_model)
    recognizer = load_recognizer(config.recognizer.kind, config.recognizer.weights or None)
    blank = _blank(method, face_model, config, recognizer)
    state = _read_exported(workdir, blank) if exported else _read_checkpoint(workdir, blank)
    face_model = dataclasses.replace(
        jax.tree.map(jnp.asarray, face_model), albedo_mean=state.albedo_mean
    )
    constants = updates.Constants(face_model, recognizer, jax.random.key(config.seed))
    return Trained(config, method, constants, state)


def _read_checkpoint(workdir: Path, blank: TrainState) -> TrainState:
    manager = checkpoint.open_checkpoints(workdir)
    try:
        restored = checkpoint.restore(manager, blank)
    finally:
        manager.close()
    if restored is None:
        raise ValueError(f"{workdir} holds no checkpoint yet; wait for the training to save one")
    return restored[0]


def _read_exported(folder: Path, blank: TrainState) -> TrainState:
    read = {
        name: weights.load_like(
            folder / f"{name}.safetensors", like, what=f"the {name} of {folder}/config.json"
        )
        for name, like in _exported(blank).items()
    }
    read = jax.tree.map(jnp.asarray, read)
    return dataclasses.replace(blank, **{**read, "albedo_mean": read["albedo_mean"]["mean"]})


def _exported(state: TrainState) -> dict[str, dict]:
    """The content of an exported model's files."""
    mean = {"mean": state.albedo_mean}
    return {"encoder": state.encoder, "segmenter": state.segmenter, "albedo_mean": mean}


def export(workdir: Path, folder: Path) -> int:
    """Write the model of a run as a folder that `load_trained` reads; returns its bytes.

    Numbers are kept in half precision, which halves the file. Folders of this machine are left out
    of the settings.
    """
    trained = load_trained(workdir)
    config = trained.config.copy_and_resolve_references().unlock()
    for section, name in (
        ("data", "root"),
        ("data", "cache"),
        ("init", "encoder"),
        ("init", "segmenter"),
    ):
        config[section][name] = ""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=2) + "\n")
    for name, arrays in _exported(trained.state).items():
        half = jax.tree.map(lambda x: np.asarray(x, np.float16), arrays)
        weights.save(folder / f"{name}.safetensors", half)
    return sum((folder / f"{name}.safetensors").stat().st_size for name in EXPORTED)


def _blank(
    method: updates.Method, face_model: FaceModel, config: Config, recognizer: Any
) -> TrainState:
    """A state of zeros, for its shapes; no network runs."""
    size, features = config.data.size, None
    if config.encoder.kind == "recognizer":
        chip = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
        look = functools.partial(
            encoder_features,
            kind=config.recognizer.kind,
            detail=config.encoder.get("detail", False),
        )
        features = jnp.zeros(jax.eval_shape(look, recognizer, chip).shape)
    batch = Batch(
        jnp.zeros((1, size, size, 3)), jnp.zeros((1, 68, 2)), jnp.zeros(1, int), features=features
    )
    shapes = jax.eval_shape(lambda: new_state(method, face_model, batch, 0))
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


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
    fix = config.data.get("fix_y_offset", True)
    aligned = align_face(photo, landmarks, crop_size(config), fix_y_offset=fix)
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
                detail=config.encoder.get("detail", False),
            )
        )
    return evaluation_batches(records, batch_size=config.data.batch_size, size=config.data.size)
