"""The folder of a training run that ended before its first step, and data, for tests of both."""

import dataclasses
import json
from pathlib import Path

import cv2
import jax.numpy as jnp
import skimage.data

from configs import em
from focus_jax.face_models import load_face_model
from focus_jax.training.train import initial_state, make_method
from focus_jax.types import Batch
from focus_jax.weights import checkpoint


def untrained(workdir: Path, *, encoder: str = "small", face_model: str = "builtin") -> Path:
    """A workdir with the smallest networks, as `train` leaves it."""
    config = em.get_config("photos,smoke")
    config.data.size = config.data.record_size = 32
    if encoder == "recognizer":
        config.data.record_size = 48
    config.encoder.kind = encoder
    config.segmenter.width = 2
    config.face_model.modes = {"identity": 4, "expression": 3, "albedo": 2}
    config.face_model.name = face_model
    checkpoint.claim_workdir(workdir, config)
    loaded = load_face_model(face_model, **config.face_model.modes)
    # Of every face model's networks the first state is the same, and so is its program.
    builtin = load_face_model("builtin", **config.face_model.modes)
    method = make_method(config, loaded)
    features = jnp.zeros((1, 4224)) if encoder == "recognizer" else None
    batch = Batch(
        jnp.zeros((1, 32, 32, 3)), jnp.zeros((1, 68, 2)), jnp.zeros(1, int), features=features
    )
    manager = checkpoint.open_checkpoints(workdir)
    state = initial_state(method, builtin, batch, 3)
    state = dataclasses.replace(state, albedo_mean=jnp.asarray(loaded.albedo_mean))
    checkpoint.save(manager, state, {})
    manager.wait_until_finished()
    manager.close()
    return workdir


def astronaut_data(folder: Path) -> Path:
    """The astronaut as a data set in that folder, to train on and to validate with."""
    points = json.loads(Path(__file__).with_name("astronaut_landmarks.json").read_text())
    cv2.imwrite(str(folder / "a.jpg"), skimage.data.astronaut()[..., ::-1])
    row = ",".join(["a.jpg", *(str(x) for point in points for x in point)]) + "\n"
    for split in ("train", "val"):
        (folder / f"{split}_landmarks.csv").write_text(row)
    return folder
