"""A training run, to be read downwards: data, model, restore, loop, tables."""

import contextlib
import dataclasses
import functools
import inspect
import logging
import os
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from orbax.checkpoint import CheckpointManager
from tqdm import tqdm

from focus_jax import weights
from focus_jax.data.pipeline import evaluation_batches, make_iterator
from focus_jax.data.source import Records, Splits, load_renderings, load_splits
from focus_jax.face_models import load_face_model
from focus_jax.networks.recognizer import check_chip_size
from focus_jax.system import sharding
from focus_jax.system.files import read_json
from focus_jax.system.preemption import Interrupted, asked_to_stop, catch_signals
from focus_jax.training import appraisal, health, settings, updates
from focus_jax.training.metrics import MetricWriter
from focus_jax.training.optim import make_optimizer
from focus_jax.training.renderings import update_on_renderings
from focus_jax.training.schedule import Phase, Schedule, phase_at, terms_at
from focus_jax.types import Batch, Config, FaceModel, TrainState
from focus_jax.weights import checkpoint
from focus_jax.weights.recognizer import load_recognizer
from focus_jax.weights.run import compute_settings, make_networks, remember_face_model

log = logging.getLogger(__name__)
WITHOUT_MASKS = "without_masks"  # of a workdir: the same training without them, for the table


def make_method(config: Config, face_model: FaceModel) -> updates.Method:
    """Networks, formulas and optimizers named by a config."""
    # A finished run's config may be older than a field; it was trained without.
    forms = {
        f.name: config.losses.get(f.name, f.default) for f in dataclasses.fields(updates.LossForms)
    }
    check_chip_size(
        config.recognizer.kind,
        config.recognizer.chip_size,
        crop=config.data.size,
        deep=config.losses.perceptual_features == "deep"
        and (config.losses.perceptual != 0 or config.losses.get("initial_perceptual", 0) != 0),
    )
    compute = compute_settings(config)
    return updates.Method(
        networks=make_networks(config, face_model),
        encoder_optimizer=make_optimizer(**config.optimizer.autoencoder),
        segmenter_optimizer=make_optimizer(**config.optimizer.segmenter),
        forms=updates.LossForms(**forms),
        chip_size=config.recognizer.chip_size,
        chip_align_corners=config.recognizer.align_corners,
        remat=compute["remat"],
        parts=compute["parts"],
    )


def initial_state(
    method: updates.Method, face_model: FaceModel, batch: Batch, seed: int
) -> TrainState:
    """Networks as they are before the first step. `batch` gives the shapes."""
    return _creator()(method, face_model, batch, seed)


@functools.cache  # compiled once for all runs of a process that have the same networks
def _creator() -> Any:
    # It runs once, and LLVM takes most of a minute to make it fast: not on CPU. Whoever has set a
    # level has that.
    option = "xla_backend_optimization_level"
    given = option in os.environ.get("XLA_FLAGS", "")
    options = {option: 1} if jax.default_backend() == "cpu" and not given else None
    return jax.jit(new_state, static_argnames=("method", "seed"), compiler_options=options)


def new_state(method: updates.Method, face_model: FaceModel, batch: Batch, seed: int) -> TrainState:
    """`initial_state` without compiling, for `jax.eval_shape`."""
    encoder: Any
    segmenter: Any
    keys = jax.random.split(jax.random.key(seed), 2)
    encoder = method.networks.encoder.init(keys[0], batch.image, batch.features, train=False)
    segmenter = method.networks.segmenter.init(keys[1], batch.image, batch.image, train=False)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        encoder=encoder,
        segmenter=segmenter,
        encoder_optimizer=method.encoder_optimizer.init(encoder["params"]),
        segmenter_optimizer=method.segmenter_optimizer.init(segmenter["params"]),
        albedo_mean=jnp.copy(face_model.albedo_mean),  # the state is given away, this is not
    )


def start_from(state: TrainState, files: Config) -> TrainState:
    """The state with the networks and mean albedo of `config.init`; the optimizers begin anew.

    Raises ValueError with every name in which a file differs from the network of the config.
    """
    wanted: dict[str, Any] = {
        "encoder": state.encoder,
        "segmenter": state.segmenter,
        "albedo_mean": {"mean": state.albedo_mean},
    }
    found = {
        name: weights.load_like(
            files[name], like, what=f"the {name} of this config (config.init.{name})"
        )
        for name, like in wanted.items()
        if files.get(name)  # a config may be older than a field
    }
    if "albedo_mean" in found:
        found["albedo_mean"] = found["albedo_mean"]["mean"]
    return dataclasses.replace(state, **found)


def fresh_optimizers(state: TrainState, method: updates.Method) -> TrainState:
    """The state with new moments: each stage begins with them, as in the release."""
    return dataclasses.replace(
        state,
        encoder_optimizer=method.encoder_optimizer.init(state.encoder["params"]),
        segmenter_optimizer=method.segmenter_optimizer.init(state.segmenter["params"]),
    )


@functools.cache
def repeatable(update: Any) -> Any:
    """An update that leaves its old state whole: finding the operation of a NaN repeats it."""
    return jax.jit(inspect.unwrap(update), static_argnames="method")


# --- one run -----------------------------------------------------------------------------------


def train(
    config: Config, workdir: Path, *, masks: bool = True, true_masks: bool = False
) -> dict[str, Any]:
    """Train to the end of the schedule, resuming what `workdir` holds; returns the test summaries.

    Without `masks` the autoencoder fits the whole rendered face for as many steps, which is the
    method's baseline; with `true_masks` it fits their part of it, the upper bound. Where the config
    wants to `compare`, the baseline's workdir is given the checkpoint at the warm-up's end, up to
    which nothing differs. Raises
    ValueError for settings or data that cannot work, FloatingPointError when updates are not
    finite, OSError when the disk fails, and Interrupted after saving when a signal asked to stop.
    """
    settings.check(config)
    with checkpoint.alone_in(workdir):
        return _train(config, workdir, masks, true_masks)


class _Data(NamedTuple):
    splits: Splits
    renderings: Records  # of known coefficients; none where no loss asks for them
    streams: dict[str, Any]  # "batches" and, with them, "renderings": this process's part, endless


def _open_data(config: Config, recognizer: dict) -> _Data:
    splits = load_splits(config, recognizer)
    start = functools.partial(
        make_iterator,
        batch_size=config.data.batch_size // jax.process_count(),
        size=config.data.size,
        seed=config.seed,
        shard_index=jax.process_index(),
        shard_count=jax.process_count(),
    )
    # Records with features were augmented before these were computed.
    augmented = config.data.augment and config.encoder.kind != "recognizer"
    # Synthetic faces come in no order: a first epoch in theirs can begin while they are made.
    drawn = config.data.name == "synthetic"
    batches = start(splits.train, augmented=augmented, paste=config.data.paste, arriving=drawn)
    # Codes of the photos themselves stand for renderings, whose coefficients are known.
    if not config.losses.get("coefficients", 0) or config.data.get("codes", ""):
        return _Data(splits, [], {"batches": batches})
    renderings = load_renderings(config, recognizer)
    own = start(renderings, augmented=False, arriving=True)
    return _Data(splits, renderings, {"batches": batches, "renderings": own})


def _first_state(
    config: Config,
    manager: CheckpointManager,
    method: updates.Method,
    face_model: FaceModel,
    data: _Data,
    mesh: Mesh,
) -> tuple[TrainState, health.Health]:
    """1. a new one, 2. weights of others, 3. this workdir's newest checkpoint instead, to whose
    place in the data the streams are set."""
    example, _ = next(evaluation_batches(data.splits.train, batch_size=1, size=config.data.size))
    state = initial_state(method, face_model, example, config.seed)
    if manager.latest_step() is None:
        state = start_from(state, config.init)
    state = sharding.replicate(state, mesh)
    restored = checkpoint.restore(manager, state, mend=True)
    if restored is None:
        return state, health.Health()
    state, memory = restored
    for name, stream in data.streams.items():
        stream.set_state(memory[name])
    return state, health.Health(**memory["health"])


def _draw(streams: dict[str, Any], phase: Phase, terms: updates.Terms) -> tuple[Batch, Any]:
    """A step's own part of its batch, and its update."""
    if phase.stage == "renderings":
        return next(streams.get("renderings", streams["batches"])), update_on_renderings
    own = next(streams["batches"])
    if "coefficients" in terms.weights and "renderings" in streams:
        own = dataclasses.replace(own, renderings=next(streams["renderings"]))
    if phase.network == "autoencoder":
        return own, updates.update_autoencoder
    return own, updates.update_segmenter


class _Run(NamedTuple):
    """What stays as it is from a run's first step to its last."""

    config: Config
    workdir: Path
    schedule: Schedule
    masks: bool
    true_masks: bool
    mesh: Mesh
    method: updates.Method
    constants: updates.Constants
    data: _Data
    manager: CheckpointManager
    writer: MetricWriter
    appraiser: appraisal.Appraiser

    def records(self, phase: Phase) -> Records:
        """Those of the batches of a phase."""
        given = self.data.renderings if phase.stage == "renderings" else []
        return given or self.data.splits.train


def _open(
    config: Config, workdir: Path, masks: bool, true_masks: bool
) -> tuple[_Run, TrainState, health.Health]:
    """Model and data of a run, and where it is."""
    checkpoint.claim_workdir(workdir, config)
    schedule = Schedule(**config.schedule)
    schedule = schedule if masks and not true_masks else schedule.without_masks()
    mesh = sharding.make_mesh()
    sharding.check_batch_size(config.data.batch_size, mesh, compute_settings(config)["parts"])
    face_model = load_face_model(config.face_model.name, **config.face_model.modes)
    remember_face_model(workdir, str(config.face_model.name))
    method = make_method(config, face_model)
    recognizer = load_recognizer(config.recognizer.kind, config.recognizer.weights or None)
    data = _open_data(config, recognizer)
    constants = sharding.replicate(
        updates.Constants(
            jax.tree.map(jnp.asarray, face_model), recognizer, jax.random.key(config.seed)
        ),
        mesh,
    )
    manager = checkpoint.open_checkpoints(workdir, clean=True)
    state, condition = _first_state(config, manager, method, face_model, data, mesh)
    if state.step:
        log.info("resuming %s at step %d", workdir, int(state.step))
    writer = MetricWriter(workdir, int(state.step))
    appraiser = appraisal.Appraiser(data.splits, constants, method, config, mesh, workdir)
    about = config, workdir, schedule, masks, true_masks, mesh
    return _Run(*about, method, constants, data, manager, writer, appraiser), state, condition


def _train(config: Config, workdir: Path, masks: bool, true_masks: bool) -> dict[str, Any]:
    run, state, condition = _open(config, workdir, masks, true_masks)
    schedule, mesh = run.schedule, run.mesh
    with (
        # The rasterizer splits its batches over the mesh that is set.
        jax.set_mesh(mesh) if mesh.size > 1 else contextlib.nullcontext(),
        jax.debug_nans(config.debug.nans),
        checkpoint.closing(run.manager),
        contextlib.closing(run.writer),
        catch_signals() as received,
        tqdm(
            total=schedule.total,
            initial=int(state.step),
            unit="step",
            disable=not sharding.is_first(),
        ) as bar,
    ):
        asked = asked_to_stop(received, mesh)
        # Steps whose numbers may still be on their way: reading them at once would make the device
        # wait for the host.
        pending: deque[health.Step] = deque()
        for step in range(int(state.step), schedule.total):
            phase, done = phase_at(step, schedule), step + 1
            state = _prepare(run, state, step, phase)
            terms = terms_at(
                step, schedule, config.losses, config.rates, masks=masks, true_masks=true_masks
            )
            terms = sharding.replicate(terms, mesh)
            own, update = _draw(run.data.streams, phase, terms)
            if config.debug.nans:
                update = repeatable(update)
            pending.append(health.Step(done, phase, own.index))
            with health.naming_operation(pending[-1], run.records(phase)):
                batch = sharding.split(own, mesh)
                state, values = update(state, batch, run.constants, terms, method=run.method)
            # A mask that nothing learns cannot collapse.
            given = not masks or true_masks
            watched = {k: v for k, v in values.items() if not (given and k == "mask")}
            pending[-1] = pending[-1]._replace(values=watched)
            bar.update()

            logs = done % config.log_every == 0 or done == schedule.total
            ends = phase_at(done, schedule).stage != phase.stage
            evaluates = done % config.evaluate_every == 0 or ends
            stop = next(asked)
            saves = done % config.checkpoint_every == 0 or ends or stop
            while len(pending) > (0 if logs or evaluates or saves else 2):
                condition = _examine(run, pending.popleft(), condition)
            if logs:
                _log(run, bar, done, phase, values, condition)
            if evaluates:
                run.writer.write(done, "evaluation", run.appraiser.evaluation(state))
            if ends:
                run.appraiser.scores(state, phase.stage)
            if saves:
                _save(run, state, done, condition)
            if stop:
                checkpoint.finish(run.manager)
                by = received[0] if received else "a signal to another process"
                raise Interrupted(f"stopped at step {done} by {by}; run the same command to go on")
        checkpoint.finish(run.manager)
    return {p.stem: read_json(p) for p in (workdir / "scores").glob("*.json")}


# --- parts of a step, in their order -------------------------------------------------------------


def _prepare(run: _Run, state: TrainState, step: int, phase: Phase) -> TrainState:
    """The state as a step finds it: with new moments and a corrected mean albedo where due."""
    renderings = run.schedule.renderings
    begins = phase.stage in ("pre-training", "joint") or 0 < step == renderings
    if step == phase.start and begins:
        # By way of the host: what optax makes of arrays of all processes is of this one.
        fresh = fresh_optimizers(sharding.gather(state), run.method)
        state = sharding.replicate(fresh, run.mesh)
    if step - renderings in run.config.correct_albedo:
        state = dataclasses.replace(state, albedo_mean=run.appraiser.mean_albedo(state))
    return state


def _examine(run: _Run, examined: health.Step, condition: health.Health) -> health.Health:
    """Counts after a step whose numbers are there; FloatingPointError for too many skipped."""
    condition, warnings = health.watch(condition, examined)
    for name, value in warnings.items():
        run.writer.write(examined.number, "warning", {name: value})
    if condition.skipped > run.config.debug.skipped_updates:
        last = checkpoint.newest(run.manager)
        raise health.too_many_skipped(examined, run.records(examined.phase), condition, last)
    return condition


def _log(
    run: _Run,
    bar: Any,
    done: int,
    phase: Phase,
    values: dict[str, Any],
    condition: health.Health,
) -> None:
    """A step's numbers into metrics and bar."""
    numbers = {k: float(v) for k, v in jax.device_get(values).items() if k != "finite"}
    more = {"round": phase.round, "skipped": condition.skipped_in_all}
    run.writer.write(done, f"train {phase.network}", {**numbers, **more})
    bar.set_description(f"{phase.stage} {phase.network}")
    bar.set_postfix({k: f"{numbers[k]:.3g}" for k in ("loss", "mask") if k in numbers})


def _save(run: _Run, state: TrainState, done: int, condition: health.Health) -> None:
    """A checkpoint; that at the warm-up's end also for the training without masks."""
    run.writer.sync()
    places = {name: stream.get_state() for name, stream in run.data.streams.items()}
    memory = {**places, "health": condition._asdict()}
    checkpoint.save(run.manager, state, memory)
    forks = run.masks and not run.true_masks and run.config.compare
    if forks and done == run.schedule.renderings + run.schedule.warmup:
        checkpoint.begin(run.workdir / WITHOUT_MASKS, state, memory)
