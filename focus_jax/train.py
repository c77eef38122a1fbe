"""A training run, to be read downwards: data, model, restore, loop, tables."""

import contextlib
import dataclasses
import itertools
import json
import logging
import math
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from focus_jax import checkpoint, forward, pictures, sharding, updates, weights
from focus_jax.data.occluders import OCCLUDERS
from focus_jax.data.pipeline import evaluation_batches, make_iterator
from focus_jax.data.source import Records, Splits, load_splits
from focus_jax.encoder import make_encoder
from focus_jax.evaluation import report
from focus_jax.evaluation.evaluate import evaluate
from focus_jax.face_models import load_face_model
from focus_jax.mean_albedo import correct_mean_albedo
from focus_jax.metrics import MetricWriter
from focus_jax.optim import make_optimizer
from focus_jax.recognizer import check_chip_size, load_recognizer
from focus_jax.schedule import Phase, Schedule, phase_at, terms_at
from focus_jax.segmenter import Segmenter
from focus_jax.types import Batch, Config, FaceModel, TrainState

log = logging.getLogger(__name__)


class Interrupted(Exception):  # noqa: N818  (not an error: the run can go on)
    """The run was asked to stop; its state is saved."""


def make_method(config: Config, face_model: FaceModel) -> updates.Method:
    """Networks, formulas and optimizers named by a config."""
    outputs = forward.widths(face_model).outputs
    forms = {f.name: config.losses[f.name] for f in dataclasses.fields(updates.LossForms)}
    # A config that was read back from JSON has lists for tuples, which cannot be hashed.
    decoding: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in config.decoding.items()
    }
    check_chip_size(
        config.recognizer.kind,
        config.recognizer.chip_size,
        crop=config.data.size,
        deep=config.losses.perceptual_features == "deep" and config.losses.perceptual != 0,
    )
    return updates.Method(
        encoder=make_encoder(config.encoder.kind, outputs),
        segmenter=Segmenter(
            width=config.segmenter.width,
            stem=config.segmenter.stem,
            dropout=config.segmenter.dropout,
        ),
        encoder_optimizer=make_optimizer(**config.optimizer.autoencoder),
        segmenter_optimizer=make_optimizer(**config.optimizer.segmenter),
        decoding=forward.Decoding(**decoding),
        forms=updates.LossForms(**forms),
        recognizer=config.recognizer.kind,
        chip_size=config.recognizer.chip_size,
        chip_align_corners=config.recognizer.align_corners,
        renormalize_normals=config.rasterizer.renormalize_normals,
        backend=config.rasterizer.backend or None,
    )


def initial_state(
    method: updates.Method, face_model: FaceModel, batch: Batch, seed: int
) -> TrainState:
    """Networks as they are before the first step. `batch` gives the shapes."""

    def create() -> TrainState:
        encoder: Any
        segmenter: Any
        keys = jax.random.split(jax.random.key(seed), 2)
        encoder = method.encoder.init(keys[0], batch.image, batch.features, train=False)
        segmenter = method.segmenter.init(keys[1], batch.image, batch.image, train=False)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            encoder=encoder,
            segmenter=segmenter,
            encoder_optimizer=method.encoder_optimizer.init(encoder["params"]),
            segmenter_optimizer=method.segmenter_optimizer.init(segmenter["params"]),
            albedo_mean=jnp.asarray(face_model.albedo_mean),
        )

    # It runs once: compiling it fully takes a minute on CPU, and gives the same numbers.
    return jax.jit(create, compiler_options={"xla_backend_optimization_level": 1})()


def start_from(state: TrainState, files: Config) -> TrainState:
    """The state with the networks that `config.init` names; the optimizers begin anew.

    Raises ValueError with every name in which a file differs from the network of the config.
    """
    named = {n: files[n] for n in ("encoder", "segmenter") if files[n]}
    networks = {
        name: weights.load_like(
            path, getattr(state, name), what=f"the {name} of this config (config.init.{name})"
        )
        for name, path in named.items()
    }
    return dataclasses.replace(state, **networks)


def fresh_optimizers(state: TrainState, method: updates.Method) -> TrainState:
    """The state with new moments: each stage begins with them, as in the release."""
    return dataclasses.replace(
        state,
        encoder_optimizer=method.encoder_optimizer.init(state.encoder["params"]),
        segmenter_optimizer=method.segmenter_optimizer.init(state.segmenter["params"]),
    )


def correct_albedo(
    state: TrainState,
    splits: Splits,
    constants: updates.Constants,
    method: updates.Method,
    config: Config,
    mesh: jax.sharding.Mesh,
) -> TrainState:
    """The state with its mean albedo corrected by the first 1,024 training photos."""
    batches = evaluation_batches(
        splits.train, batch_size=config.data.batch_size, size=config.data.size
    )
    first = itertools.islice(batches, math.ceil(1024 / config.data.batch_size))
    mean = correct_mean_albedo(state, first, constants, method)
    return dataclasses.replace(state, albedo_mean=sharding.replicate(mean, mesh))


# --- one run -----------------------------------------------------------------------------------


def train(
    config: Config, workdir: Path, *, masks: bool = True, true_masks: bool = False
) -> dict[str, Any]:
    """Train to the end of the schedule, resuming what `workdir` holds; returns the test summaries.

    Without `masks` the autoencoder fits the whole rendered face for as many steps, which is the
    method's baseline; with `true_masks` it fits their part of it, the upper bound. Raises
    ValueError for settings or data that cannot work, and Interrupted after saving when a signal
    asked to stop.
    """
    checkpoint.claim_workdir(workdir, config)
    schedule = Schedule(**config.schedule)
    schedule = schedule if masks and not true_masks else schedule.without_masks()

    # --- model and data --------------------------------------------------------------------
    mesh = sharding.make_mesh()
    face_model = load_face_model(config.face_model.name, **config.face_model.modes)
    method = make_method(config, face_model)
    recognizer = load_recognizer(config.recognizer.kind, config.recognizer.weights or None)
    splits = load_splits(config, recognizer)
    batches = make_iterator(
        splits.train,
        batch_size=config.data.batch_size // jax.process_count(),
        size=config.data.size,
        seed=config.seed,
        # Records with features were augmented before these were computed.
        augmented=config.data.augment and config.encoder.kind != "recognizer",
        paste=config.data.paste,
        shard_index=jax.process_index(),
        shard_count=jax.process_count(),
    )
    constants = sharding.replicate(
        updates.Constants(
            jax.tree.map(jnp.asarray, face_model), recognizer, jax.random.key(config.seed)
        ),
        mesh,
    )

    # --- state: 1. a new one, 2. weights of others, 3. this workdir's newest checkpoint instead ---
    example, _ = next(evaluation_batches(splits.validation, batch_size=1, size=config.data.size))
    state = initial_state(method, face_model, example, config.seed)
    manager = checkpoint.open_checkpoints(workdir)
    if manager.latest_step() is None:
        state = start_from(state, config.init)
    state = sharding.replicate(state, mesh)
    restored = checkpoint.restore(manager, state)
    if restored is not None:
        state, place = restored
        batches.set_state(place)
        log.info("resuming %s at step %d", workdir, int(state.step))
    writer = MetricWriter(workdir, int(state.step))

    # --- loop ------------------------------------------------------------------------------------
    with (
        # The rasterizer splits its batches over the mesh that is set.
        jax.set_mesh(mesh) if mesh.size > 1 else contextlib.nullcontext(),
        contextlib.closing(writer),
        contextlib.closing(manager),
        catch_signals() as stop,
        tqdm(total=schedule.total, initial=int(state.step), unit="step") as bar,
    ):
        for step in range(int(state.step), schedule.total):
            phase = phase_at(step, schedule)
            if step == phase.start and phase.stage in ("pre-training", "joint"):
                state = fresh_optimizers(state, method)
            if step in config.correct_albedo:
                state = correct_albedo(state, splits, constants, method, config, mesh)
            terms = terms_at(
                step, schedule, config.losses, config.rates, masks=masks, true_masks=true_masks
            )
            batch = sharding.split(next(batches), mesh)
            update = (
                updates.update_autoencoder
                if phase.network == "autoencoder"
                else updates.update_segmenter
            )
            state, values = update(state, batch, constants, terms, method=method)
            done = step + 1
            bar.update()

            if done % config.log_every == 0 or done == schedule.total:
                numbers = {k: float(v) for k, v in values.items()}
                check_finite(numbers, done, phase)
                writer.write(done, f"train {phase.network}", {**numbers, "round": phase.round})
                bar.set_description(f"{phase.stage} {phase.network}")
                bar.set_postfix({k: f"{numbers[k]:.3g}" for k in ("loss", "mask")})
            ends = phase_at(done, schedule).stage != phase.stage
            if done % config.evaluate_every == 0 or ends:
                summary = assess(splits, "validation", state, constants, method, config)
                writer.write(done, "evaluation", flat(summary))
                picture = picture_grid(splits.validation, state, constants, method, config)
                pictures.write_png(workdir / "pictures" / f"{done:07d}.png", picture)
            if ends:
                summary = assess(splits, "test", state, constants, method, config)
                path = workdir / "scores" / f"{phase.stage}.json"
                path.parent.mkdir(exist_ok=True)
                path.write_text(json.dumps(summary, indent=1) + "\n")
                picture = picture_grid(splits.test, state, constants, method, config)
                pictures.write_png(workdir / "pictures" / f"{done:07d}_test.png", picture)
            if done % config.checkpoint_every == 0 or ends or stop:
                checkpoint.save(manager, state, batches.get_state())
            if stop:
                manager.wait_until_finished()
                raise Interrupted(
                    f"stopped at step {done} by {stop[0]}; run the same command to go on"
                )
        manager.wait_until_finished()
    return {p.stem: json.loads(p.read_text()) for p in (workdir / "scores").glob("*.json")}


# --- its parts -----------------------------------------------------------------------------------


@contextlib.contextmanager
def catch_signals() -> Iterator[list[str]]:
    """A list that receives the name of the first SIGINT or SIGTERM; the second one acts at once."""
    received: list[str] = []
    numbers = (signal.SIGINT, signal.SIGTERM)

    def remember(number: int, frame: Any) -> None:
        received.append(signal.Signals(number).name)
        for n in numbers:
            signal.signal(n, before[n])

    before = {n: signal.signal(n, remember) for n in numbers}
    try:
        yield received
    finally:
        for n in numbers:
            signal.signal(n, before[n])


def check_finite(numbers: dict[str, float], step: int, phase: Phase) -> None:
    """Raise FloatingPointError with the terms that are NaN or infinite."""
    bad = [name for name, value in numbers.items() if not math.isfinite(value)]
    if bad:
        raise FloatingPointError(
            f"{', '.join(bad)} not finite at step {step} ({phase.stage}, {phase.network}); "
            "lower config.rates or look at the pictures of the last evaluation"
        )


def assess(
    splits: Splits,
    split: str,
    state: TrainState,
    constants: updates.Constants,
    method: updates.Method,
    config: Config,
) -> report.Summary:
    """Summary of the scores on one split."""
    batches = evaluation_batches(
        getattr(splits, split), batch_size=config.data.batch_size, size=config.data.size
    )
    return report.summarize(evaluate(batches, state, constants, method), OCCLUDERS)


def flat(summary: report.Summary) -> dict[str, float]:
    """Subset and column names joined, for the metrics file."""
    return {f"{s}/{k}": float(v) for s, columns in summary.items() for k, v in columns.items()}


def picture_grid(
    records: Records,
    state: TrainState,
    constants: updates.Constants,
    method: updates.Method,
    config: Config,
) -> np.ndarray:
    """Photo, rendering, overlay, mask and, if known, true mask of the first records."""
    data = config.data
    batch, count = next(evaluation_batches(records, batch_size=data.batch_size, size=data.size))
    count = min(count, 16)
    found = jax.device_get(updates.predict(state, batch, constants, method=method))
    rendering = found.face.rendering
    columns = [
        batch.image,
        rendering.image,
        pictures.overlay(batch.image, rendering.image, rendering.coverage),
        found.mask,
        batch.mask,
    ]
    return pictures.grid([None if c is None else np.asarray(c)[:count] for c in columns])
