"""The paper's networks at their full size, with random weights and a face model of any size."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.rasterizer import head
from configs import celeba_bfm2017, em
from focus_jax.face_models import load_face_model
from focus_jax.training import updates
from focus_jax.training.schedule import Schedule, terms_at
from focus_jax.training.train import make_method, new_state
from focus_jax.types import Batch, Config, FaceModel, TrainState
from focus_jax.weights import recognizer

VERTICES = 35_709  # of the face that the authors cut out of the Basel Face Model 2017
STAGES = ("initialisation", "pre-training", "joint segmenter", "joint autoencoder")


class Job(NamedTuple):
    """All that an update needs, and the config that it came from."""

    config: Config
    method: updates.Method
    constants: updates.Constants
    batch: Batch


def face_model(vertices: int) -> FaceModel:
    """A bumpy head with 80 identity, 64 expression and 80 albedo modes of noise."""
    points, triangles = head(vertices)
    rng = np.random.default_rng(0)

    def noise(count: int, scale: float) -> np.ndarray:
        return scale * rng.standard_normal((vertices, 3, count), dtype=np.float32)

    corners = np.linspace(0, vertices - 1, 68).astype(np.int32)[:, None].repeat(3, 1)
    return FaceModel(
        shape_mean=points.astype(np.float32),  # type: ignore[arg-type]
        identity_basis=noise(80, 0.3),  # type: ignore[arg-type]
        expression_basis=noise(64, 0.3),  # type: ignore[arg-type]
        albedo_mean=np.full((vertices, 3), 0.5, np.float32),  # type: ignore[arg-type]
        albedo_basis=noise(80, 0.01),  # type: ignore[arg-type]
        triangles=triangles,  # type: ignore[arg-type]
        landmark_vertices=corners,  # type: ignore[arg-type]
        landmark_weights=np.tile(np.float32([1, 0, 0]), (68, 1)),  # type: ignore[arg-type]
        region=np.zeros(vertices, np.int32),  # type: ignore[arg-type]
        uv=np.zeros((vertices, 2), np.float32),  # type: ignore[arg-type]
    )


def random_variables(shapes: Any) -> Any:
    """Convolutions of unit gain, plain norms: weights that keep the size of what passes through."""
    rng = np.random.default_rng(0)

    def fill(path: Any, leaf: Any) -> np.ndarray:
        if path[-1].key == "kernel":
            gain = np.float32(np.prod(leaf.shape[:-1]) ** -0.5)
            return gain * rng.standard_normal(leaf.shape, dtype=np.float32)
        value = {"var": 1.0, "scale": 1.0, "weight": 0.25}.get(path[-1].key, 0.0)
        return np.full(leaf.shape, value, np.float32)

    return jax.tree_util.tree_map_with_path(fill, shapes)


def make_job(
    size: str, batch_size: int, vertices: int = VERTICES, changes: dict[str, Any] | None = None
) -> Job:
    """The paper's job ("full", ArcFace as its recognizer) or that of configs/em.py ("default").

    `changes` are fields of the config, by their names with dots.
    """
    if size == "full":
        config = celeba_bfm2017.get_config()
        config.recognizer.kind = "arcface_r50"
        model = face_model(vertices)
        chip = jax.ShapeDtypeStruct((1, 112, 112, 3), jnp.float32)
        network = recognizer.ARCFACE["arcface_r50"]
        frozen = random_variables(jax.eval_shape(network.init, jax.random.key(0), chip))
    else:
        config = em.get_config()
        model = load_face_model("builtin", **config.face_model.modes)
        frozen = recognizer.load_recognizer("dlib")
    config.update_from_flattened_dict(changes or {})
    rng = np.random.default_rng(1)
    pixels = config.data.size
    points = rng.uniform(0.3 * pixels, 0.7 * pixels, (batch_size, 68, 2))
    image = rng.random((batch_size, pixels, pixels, 3), np.float32)
    features = None
    if config.encoder.kind == "recognizer":
        seen = functools.partial(recognizer.encoder_features, detail=config.encoder.detail)
        look = jax.eval_shape(seen, frozen, image)
        features = rng.standard_normal(look.shape, dtype=np.float32)
    batch = Batch(
        image=image,  # type: ignore[arg-type]
        landmarks=points.astype(np.float32),  # type: ignore[arg-type]
        index=np.arange(batch_size, dtype=np.int32),  # type: ignore[arg-type]
        features=features,  # type: ignore[arg-type]
    )
    arrays = jax.tree.map(jnp.asarray, (model, frozen))
    constants = updates.Constants(*arrays, jax.random.key(0))
    return Job(config, make_method(config, model), constants, jax.device_put(batch))


def state_shapes(job: Job) -> Any:
    """Shapes of the state before the first step."""
    model = job.constants.face_model
    return jax.eval_shape(lambda: new_state(job.method, model, job.batch, 0))


def make_state(job: Job) -> Any:
    """A state with random networks, made without compiling anything."""
    shapes = state_shapes(job)
    encoder, segmenter = random_variables((shapes.encoder, shapes.segmenter))
    encoder["params"]["fc"]["kernel"] *= 0.01  # near the mean face
    method = job.method
    return jax.device_put(
        TrainState(
            step=np.zeros((), np.int32),  # type: ignore[arg-type]
            encoder=encoder,
            segmenter=segmenter,
            encoder_optimizer=method.encoder_optimizer.init(encoder["params"]),
            segmenter_optimizer=method.segmenter_optimizer.init(segmenter["params"]),
            albedo_mean=np.asarray(job.constants.face_model.albedo_mean),  # type: ignore[arg-type]
        )
    )


def update_of(job: Job, stage: str) -> tuple[Any, updates.Terms]:
    """The jitted update of one of `STAGES`, and its terms."""
    schedule = Schedule(**job.config.schedule)
    joint = schedule.total - schedule.joint
    step = {
        "initialisation": schedule.renderings + schedule.warmup,
        "pre-training": joint - schedule.pretraining,
        "joint segmenter": joint,
        "joint autoencoder": joint + schedule.segmenter_steps,
    }[stage]
    terms = jax.device_put(terms_at(step, schedule, job.config.losses, job.config.rates))
    update = updates.update_autoencoder
    if stage in ("pre-training", "joint segmenter"):
        update = updates.update_segmenter
    return update, terms
