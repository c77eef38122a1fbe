"""Data parallelism over one mesh axis, `data`: photos are split, everything else is replicated."""

import functools
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Tree = TypeVar("Tree")

# A process that dies is noticed after this time by those that do not wait for its numbers.
HEARTBEAT_SECONDS = 20
PATIENCE = 60  # seconds that JAX waits longer than we do


def start_processes(distributed: Mapping[str, Any]) -> None:
    """Join the other processes of a run, as `config.distributed` or Slurm's environment says.

    `coordinator` is HOST:PORT of process 0, with `processes` and this one's number `process`; or
    "auto", where JAX finds them out itself (TPU pods, MPI, Kubernetes). Without it, the tasks of an
    srun with several are the processes. Call it before anything else of JAX. ValueError for
    settings that do not fit together, and for processes that do not come.
    """
    coordinator = distributed["coordinator"]
    options: dict[str, Any] = {}
    if coordinator and coordinator != "auto":
        count, number = distributed["processes"], distributed["process"]
        if count < 1 or not 0 <= number < count:
            raise ValueError(
                f"config.distributed.process={number} must be one of 0 to processes - 1, with "
                f"config.distributed.processes={count}"
            )
        if ":" not in coordinator:
            raise ValueError(
                f"config.distributed.coordinator={coordinator!r} must be HOST:PORT or auto"
            )
        options = dict(coordinator_address=coordinator, num_processes=count, process_id=number)
        if number > 0:
            _wait_for(coordinator, distributed["timeout"])
    elif not coordinator and int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) <= 1:
        return
    # Where the others do not come, JAX aborts the process with a stack trace: end it before.
    alarm = threading.Timer(distributed["timeout"], _give_up, [distributed, bool(options)])
    alarm.daemon = True
    alarm.start()
    try:
        jax.distributed.initialize(
            **options,
            initialization_timeout=distributed["timeout"] + PATIENCE,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=HEARTBEAT_SECONDS,  # one that fails must not wait for the rest
        )
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"the processes of this run did not find each other ({str(error).splitlines()[0]}); "
            "start all of them with the same config.distributed.coordinator and .processes"
        ) from None
    finally:
        alarm.cancel()


def _give_up(distributed: Mapping[str, Any], configured: bool) -> None:
    seconds = f"{distributed['timeout']} seconds (config.distributed.timeout)"
    names = ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_STEP_NODELIST")
    slurm = ", ".join(f"{n}={os.environ[n]}" for n in names if n in os.environ)
    if configured or not slurm:
        how = "start all of them with the same config.distributed.coordinator and .processes"
    else:
        how = (
            f"Slurm's variables say that this is one of several ({slurm}): start them all by srun, "
            "or put SLURM_STEP_NUM_TASKS=1 before the command to run alone"
        )
    text = f"error: the processes of this run did not find each other within {seconds}; {how}"
    print(text, file=sys.stderr, flush=True)
    os._exit(1)


def _wait_for(address: str, seconds: float) -> None:
    """ValueError when nobody listens there in time: JAX itself would abort the process."""
    host, _, port = address.rpartition(":")
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
            return
        except (OSError, ValueError, OverflowError) as error:
            if time.monotonic() > end:
                raise ValueError(
                    f"process 0 of this run does not answer at {address} ({error}); start it there "
                    "with the same config.distributed.coordinator and .processes"
                ) from None
            time.sleep(0.5)


def is_first() -> bool:
    """Whether this process writes what is written once."""
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Go on when every process has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def make_mesh() -> Mesh:
    """All devices of all processes in one row."""
    return Mesh(np.array(jax.devices()), ("data",))


def check_batch_size(batch_size: int, mesh: Mesh, parts: int = 1) -> None:
    """ValueError when a batch, or each of its `parts`, does not divide among the devices."""
    if batch_size % (mesh.size * parts):
        each = f"{mesh.size} devices" + f" in config.compute.parts={parts}" * (parts > 1)
        raise ValueError(
            f"config.data.batch_size={batch_size} does not divide among {each}; choose a multiple "
            f"of {mesh.size * parts}"
        )


def replicate(tree: Tree, mesh: Mesh) -> Tree:
    """The same arrays on every device; every process gives the same."""
    sharding = NamedSharding(mesh, PartitionSpec())
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def place(x: Any) -> jax.Array:
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place(jax.random.key_data(x)))
        # device_put reaches the devices of this process only.
        return jax.make_array_from_process_local_data(sharding, np.asarray(x))

    return jax.tree.map(place, tree)


def split(tree: Tree, mesh: Mesh) -> Tree:
    """This process's part of a batch, as part of the global array; the first axis must divide.

    Raises ValueError when the batch does not divide among the devices.
    """
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    count = len(mesh.local_devices)

    def place(x: np.ndarray) -> jax.Array:
        if x.shape[0] % count:
            raise ValueError(
                f"a batch of {x.shape[0]} does not divide among {count} devices; "
                "choose config.data.batch_size as a multiple"
            )
        return jax.make_array_from_process_local_data(sharding, x)

    return jax.tree.map(place, tree)


def own_part(tree: Tree) -> Tree:
    """This process's rows of a batch that every process has whole."""
    count, number = jax.process_count(), jax.process_index()
    return jax.tree.map(lambda x: np.split(np.asarray(x), count)[number], tree)


def gather(tree: Tree) -> Tree:
    """The whole of arrays that may be spread over processes, in every process, as NumPy."""

    def whole(x: Any) -> np.ndarray:
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return np.asarray(multihost_utils.process_allgather(x, tiled=True))
        return np.asarray(x)

    return jax.tree.map(whole, tree)


def any_process(flag: bool, mesh: Mesh) -> jax.Array:
    """Whether the flag is set in any process; computed in the background."""
    mine = np.full(len(mesh.local_devices), flag)
    flags = jax.make_array_from_process_local_data(NamedSharding(mesh, PartitionSpec("data")), mine)
    return _any(mesh)(flags)


@functools.cache
def _any(mesh: Mesh) -> Any:
    return jax.jit(lambda x: x.any(), out_shardings=NamedSharding(mesh, PartitionSpec()))
