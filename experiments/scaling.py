"""What would bind a training on many devices: the numbers of docs/scaling.md.

    python -m experiments.scaling --config=configs/celeba_bfm2017.py \\
        --config.face_model.name=builtin

Counted by XLA for one step of each network: operations; from the shapes: bytes of the gradients and
of a photo on its way to the device. Measured on this machine: photos that a core prepares a second,
decoded from disk and augmented. From data sheets (`MACHINES`): what devices and their links can do.
The step times that follow are bounds, not measurements.
"""

import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from ml_collections import config_flags

from focus_jax.data.augment import MARGIN
from focus_jax.data.pipeline import make_iterator
from focus_jax.data.records import open_records, write_records
from focus_jax.evaluation import report
from focus_jax.face_models import load_face_model
from focus_jax.networks import convolution
from focus_jax.system import command
from focus_jax.training import updates
from focus_jax.training.schedule import Schedule, terms_at
from focus_jax.training.train import make_method, new_state
from focus_jax.types import Batch, Config
from focus_jax.weights.recognizer import load_recognizer


class Machine(NamedTuple):
    """Devices with their peak rate and the slowest link between them, by their makers' sheets."""

    name: str
    devices: int
    hosts: int
    cores: int  # of a host
    teraflops: float  # of a device: TF32 for GPUs, bfloat16 for TPUs
    gigabytes: float  # a second, in and out of a device, of an all-reduce's slowest link


MACHINES = (
    # A DGX A100: 156 TFLOP/s TF32; NVLink 3: 300 GB/s each way; two sockets of 64 cores.
    Machine("8 GPUs (A100, NVLink)", 8, 1, 128, 156.0, 300.0),
    # Eight of them: one 200 Gbit/s InfiniBand port for each GPU.
    Machine("64 GPUs (8 x 8 A100, InfiniBand)", 64, 8, 128, 156.0, 25.0),
    # 32 cores are 16 chips on 4 hosts: 275 TFLOP/s; links of 50 GB/s, 3D torus; 120 cores for work.
    Machine("TPU v4-32", 16, 4, 120, 275.0, 50.0),
)
USED = 0.3  # of the peak: what convolutions of this size reach; an assumption


class Step(NamedTuple):
    """One step of a network: floating-point operations of a photo, bytes of its gradient."""

    operations: float
    gradient: int


def count(config: Config, batch_size: int) -> tuple[dict[str, Step], int]:
    """Steps of the joint stage, and bytes of a photo in a batch."""
    # Operations of the form that a GPU or TPU gets, whatever counts them.
    convolution.on_cpu = lambda: False
    face_model = load_face_model(config.face_model.name, **config.face_model.modes)
    method = make_method(config, face_model)
    recognizer = load_recognizer(config.recognizer.kind, config.recognizer.weights or None)
    size = config.data.size
    batch = Batch(
        image=np.zeros((batch_size, size, size, 3), np.float32),
        landmarks=np.zeros((batch_size, 68, 2), np.float32),
        index=np.zeros(batch_size, np.int32),
    )
    state = jax.eval_shape(lambda: new_state(method, face_model, batch, 0))
    constants = updates.Constants(
        jax.tree.map(jnp.asarray, face_model), recognizer, jax.random.key(0)
    )
    schedule = Schedule(**config.schedule)
    start = schedule.total - schedule.joint
    steps = {}
    for network, update, step in (
        ("segmenter", updates.update_segmenter, start),
        ("autoencoder", updates.update_autoencoder, start + schedule.segmenter_steps),
    ):
        terms = terms_at(step, schedule, config.losses, config.rates)
        analysis: Any = update.lower(state, batch, constants, terms, method=method).cost_analysis()
        variables = state.encoder if network == "autoencoder" else state.segmenter
        gradient = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(variables["params"]))
        steps[network] = Step(analysis["flops"] / batch_size, gradient)
    return steps, sum(x.nbytes for x in jax.tree.leaves(batch)) // batch_size


def photos_a_second(config: Config, *, photos: int = 192) -> dict[str, float]:
    """Photos that one core prepares a second: augmented from memory, and decoded from disk too."""
    size = config.data.size
    side = size + 2 * round(MARGIN * size)
    rng = np.random.default_rng(0)
    # Smooth pictures compress, and decode, like photos.
    small = rng.integers(0, 256, (24, side // 8 + 1, side // 8 + 1, 3)).astype(np.uint8)
    records = [
        {
            "image": np.kron(s, np.ones((8, 8, 1), np.uint8))[:side, :side],
            "landmarks": rng.uniform(0.3 * side, 0.7 * side, (68, 2)).astype(np.float32),
        }
        for s in small
    ]
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        write_records(Path(folder), records)
        for name, in_memory in (("from memory", 10**9), ("from disk", 0)):
            batches = make_iterator(
                open_records(Path(folder), in_memory=in_memory),
                batch_size=12,
                size=size,
                seed=0,
                augmented=True,
                paste=config.data.paste,
            )
            next(batches)
            begun = time.process_time()
            for _ in range(photos // 12):
                next(batches)
            rates[name] = photos / (time.process_time() - begun)
    return rates


def bounds(
    steps: dict[str, Step], photo: int, rate: float, batch_size: int
) -> list[tuple[str, list[Any]]]:
    """For each machine: milliseconds of a step, by what would bind it; photos a second."""
    rows = []
    for machine in MACHINES:
        for network, step in steps.items():
            compute = step.operations * batch_size / (machine.teraflops * 1e12 * USED)
            ring = 2 * (machine.devices - 1) / machine.devices
            reduce = ring * step.gradient / (machine.gigabytes * 1e9)
            longest = max(compute, reduce)  # the two overlap: gradients leave as they are made
            wanted = batch_size * machine.devices / longest
            able = rate * machine.cores * machine.hosts
            numbers = [1e3 * compute, 1e3 * reduce, wanted, able, wanted * photo / 1e6]
            worst = "input" if able < wanted else "compute" if compute >= reduce else "links"
            rows.append((machine.name, [network, *numbers, worst]))
    return rows


def main(argv: list[str]) -> None:
    del argv
    config = _CONFIG.value
    batch_size = _BATCH.value
    steps, photo = count(config, batch_size)
    rates = photos_a_second(config)
    print(f"{config.name}, {batch_size} photos a device, {config.data.size} pixels.\n")
    header = ["network", "GFLOP a photo", "gradient MB"]
    rows = [[n, s.operations / 1e9, s.gradient / 1e6] for n, s in steps.items()]
    print(report.table(header, rows) + "\n")
    print(f"A photo in a batch: {photo / 1e3:.0f} kB.")
    for name, rate in rates.items():
        print(f"Prepared {name}: {rate:.0f} photos a second and core.")
    header = ["machine", "network", "compute ms", "all-reduce ms", "photos/s wanted"]
    header += ["photos/s able", "input MB/s", "bound by"]
    lines = [
        [name, n, f"{c:.2f}", f"{r:.2f}", round(w), round(a), round(mb), worst]
        for name, (n, c, r, w, a, mb, worst) in bounds(steps, photo, rates["from disk"], batch_size)
    ]
    print("\n" + report.table(header, lines))


if __name__ == "__main__":
    _CONFIG = config_flags.DEFINE_config_file("config", None, "Settings.", lock_config=True)
    _BATCH = flags.DEFINE_integer("batch", 12, "Photos a device.")
    flags.mark_flag_as_required("config")
    command.run(main)
