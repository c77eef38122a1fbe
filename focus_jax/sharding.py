"""Data parallelism over one mesh axis, `data`: photos are split, everything else is replicated."""

from typing import TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Tree = TypeVar("Tree")


def make_mesh() -> Mesh:
    """All devices of all processes in one row."""
    return Mesh(np.array(jax.devices()), ("data",))


def replicate(tree: Tree, mesh: Mesh) -> Tree:
    """The same arrays on every device."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


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
