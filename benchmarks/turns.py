"""The default job's steps of this checkout against those of another one, as a Markdown table.

    git worktree add ../before 88ee3f9
    python -m benchmarks.turns ../before

Each checkout runs its steps in processes of its own, which are timed in turns, since what else
runs on a machine changes from minute to minute by more than what is compared. Ten minutes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

STAGES = ("joint segmenter", "joint autoencoder")
COLUMNS = (
    "stage",
    "batch",
    "ms / image",
    "before",
    "times as fast",
    "processor",
    "before",
    "times as fast",
    "first loss differs by",
)
STEPS = 10  # in one turn
PROCESSES = 3  # of each checkout, one pair after the other


def make_step(stage: str, batch_size: int) -> Callable[[], Any]:
    """A step of configs/em.py on random photos, by functions that old checkouts have as well."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from configs import em
    from focus_jax.face_models import load_face_model
    from focus_jax.training import train, updates
    from focus_jax.training.schedule import Schedule, terms_at
    from focus_jax.types import Batch
    from focus_jax.weights import recognizer

    config = em.get_config()
    config.data.batch_size = batch_size
    schedule = Schedule(**config.schedule)
    first = schedule.total - schedule.joint
    model = load_face_model("builtin", **config.face_model.modes)
    frozen = recognizer.load_recognizer("dlib")
    method = train.make_method(config, model)
    rng = np.random.default_rng(0)
    size = config.data.size
    image = rng.random((batch_size, size, size, 3), np.float32)
    look = jax.eval_shape(recognizer.encoder_features, frozen, image)
    batch = Batch(
        image=image,  # type: ignore[arg-type]
        landmarks=rng.uniform(0.3 * size, 0.7 * size, (batch_size, 68, 2)).astype(np.float32),  # type: ignore[arg-type]
        index=np.arange(batch_size, dtype=np.int32),  # type: ignore[arg-type]
        features=rng.standard_normal(look.shape, dtype=np.float32),  # type: ignore[arg-type]
    )
    model, frozen, batch = jax.tree.map(jnp.asarray, (model, frozen, batch))
    constants = updates.Constants(model, frozen, jax.random.key(0))
    state = train.initial_state(method, model, batch, 0)
    segmenter = stage == "joint segmenter"
    update: Any = updates.update_segmenter if segmenter else updates.update_autoencoder
    step = first if segmenter else first + schedule.segmenter_steps
    terms = jax.device_put(terms_at(step, schedule, config.losses, config.rates))

    def once() -> Any:
        nonlocal state
        state, values = update(state, batch, constants, terms, method=method)
        return jax.block_until_ready(values)

    return once


def serve(stage: str, batch_size: int) -> None:
    """Do `STEPS` steps for each line of the input: ms an image, of clock and processor."""
    # The import alone would find an installed checkout's, where this one is from before it.
    if Path("focus_jax/system/cpu.py").exists():
        from focus_jax.system import cpu

        cpu.prepare()
    once = make_step(stage, batch_size)
    print("first loss", float(once()["loss"]), flush=True)
    for _ in sys.stdin:
        begun, before = time.perf_counter(), time.process_time()
        for _ in range(STEPS):
            once()
        spent = time.perf_counter() - begun, time.process_time() - before
        print("turn", *(1000 * seconds / STEPS / batch_size for seconds in spent), flush=True)


def numbers_after(word: str, stream: Any) -> list[float]:
    """Those of the next line that begins with the word; RuntimeError where none comes."""
    for line in stream:
        if line.startswith(word):
            return [float(number) for number in line.removeprefix(word).split()]
    raise RuntimeError("a checkout's process ended early; its messages are above")


def compare(trees: Sequence[Path], stage: str, batch_size: int, turns: int) -> list[Any]:
    """A row of `COLUMNS`: medians over all turns, and over the ratios of those that followed."""
    found = []
    with tempfile.TemporaryDirectory() as programs:
        # Processes of the same program differ by a tenth: where their memory lies is chance.
        for _ in range(PROCESSES):
            losses, times = take_turns(trees, stage, batch_size, turns, programs)
            found += times
    row: list[Any] = [stage, batch_size]
    for kind in (0, 1):
        ours, before = zip(*([tree[kind] for tree in turn] for turn in found), strict=True)
        ratios = [b / a for a, b in zip(ours, before, strict=True)]
        row += [statistics.median(x) for x in (ours, before, ratios)]
    return [*row, f"{losses[0] / losses[1] - 1:.0e}"]


def take_turns(
    trees: Sequence[Path], stage: str, batch_size: int, turns: int, programs: str
) -> tuple[list[float], list[list[list[float]]]]:
    """First losses by tree, and what each of them took by turn; compiled programs are kept."""
    command = [sys.executable, "-P", str(Path(__file__).resolve()), "--serve", stage]
    servers = [
        subprocess.Popen(
            [*command, "--batches", str(batch_size)],
            cwd=tree,
            env={
                **os.environ,
                "PYTHONPATH": str(tree),
                "JAX_COMPILATION_CACHE_DIR": programs,
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for tree in trees
    ]
    losses = [numbers_after("first loss", server.stdout)[0] for server in servers]
    times = []
    for _ in range(turns):
        times.append([])
        for server in servers:
            print("go", file=server.stdin, flush=True)
            times[-1].append(numbers_after("turn", server.stdout))
    for server in servers:
        server.communicate()
    return losses, times


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Compare the default job's steps of two checkouts."
    )
    parser.add_argument("before", nargs="?", type=Path, help="the other checkout's folder")
    parser.add_argument("--stages", nargs="+", default=STAGES, choices=STAGES)
    parser.add_argument("--batches", nargs="+", type=int, default=[32])
    parser.add_argument("--turns", type=int, default=10, help="of a process, of ten steps")
    parser.add_argument("--serve", choices=STAGES, help=argparse.SUPPRESS)  # in the processes
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.batches[0])
        return
    if options.before is None or not (options.before / "focus_jax").is_dir():
        parser.error(f"{options.before} is no checkout of focus_jax")
    trees = [Path(__file__).resolve().parents[1], options.before.resolve()]
    from benchmarks import measure

    measure.print_table(
        COLUMNS,
        (
            compare(trees, stage, batch_size, options.turns)
            for batch_size in options.batches
            for stage in options.stages
        ),
    )
    print(measure.machine("jax"))


if __name__ == "__main__":
    main()
