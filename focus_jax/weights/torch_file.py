"""Read a PyTorch checkpoint without PyTorch, and without running code from the file.

A checkpoint is a pickle, which may name any function to be called. The reader below builds tensors,
dictionaries and inert stand-ins for the classes of a network, and refuses every other call. Three
layouts: the zip archive of PyTorch 1.6 and later, the older stream of pickles, and in either of
them a whole network instead of its state dict (the authors' `enc_net_*.model`).
"""

import collections
import io
import math
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from focus_jax.system.damage import DAMAGED

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
_BFLOAT16 = "bfloat16"  # not a NumPy type; read as the upper half of float32
_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": _BFLOAT16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")


def read_checkpoint(path: str | Path) -> dict[str, np.ndarray]:
    """The named tensors of a PyTorch file, as NumPy arrays of the same type (bfloat16: float32).

    Raises ValueError for a file that is no checkpoint, is damaged, holds no tensors, or asks for a
    call beyond the building of tensors; FileNotFoundError for none.
    """
    path = Path(path)
    try:
        content = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
        found = _tensors(content)
    except FileNotFoundError:
        raise
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except DAMAGED as error:
        raise ValueError(f"{path} is not a PyTorch checkpoint, or damaged: {error!r}") from error
    if not found:
        raise ValueError(f"{path} holds no named tensors")
    return found


# --- the two layouts -----------------------------------------------------------------------------


class _Storage(NamedTuple):
    """Numbers that tensors are views of; `values` is filled later in the older layout."""

    dtype: str
    count: int
    values: list[np.ndarray]


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise ValueError("a zip file, but not of PyTorch: no single data.pkl in it")
        folder = pickles[0].removesuffix("data.pkl")
        storages: dict[str, _Storage] = {}
        if f"{folder}byteorder" in archive.namelist():
            order = archive.read(f"{folder}byteorder")
            if order != b"little":
                raise ValueError(f"its numbers are {order.decode()}-endian, not little-endian")

        def storage(dtype: str, key: str, count: int) -> _Storage:
            if key not in storages:
                data = archive.read(f"{folder}data/{key}")
                storages[key] = _Storage(dtype, count, [_numbers(data, dtype, count)])
            return storages[key]

        return _resolve(_load(archive.open(pickles[0]), storage))


def _read_legacy(path: Path) -> Any:
    storages: dict[str, _Storage] = {}

    def storage(dtype: str, key: str, count: int) -> _Storage:
        return storages.setdefault(key, _Storage(dtype, count, []))

    with path.open("rb") as file:
        if (magic := _load(file, storage)) != LEGACY_MAGIC:
            raise ValueError(f"not a PyTorch checkpoint: it begins with {type(magic).__name__}")
        if (protocol := _load(file, storage)) != LEGACY_PROTOCOL:
            raise ValueError(f"protocol {protocol}, not {LEGACY_PROTOCOL}")
        _load(file, storage)  # sizes of C types on the machine that wrote it
        content = _load(file, storage)
        for key in _load(file, storage):
            entry = storages[key]
            (count,) = struct.unpack("<q", file.read(8))
            if count != entry.count:
                raise ValueError(f"storage {key} has {count} numbers, not {entry.count}")
            entry.values.append(
                _numbers(file.read(_width(entry.dtype) * count), entry.dtype, count)
            )
        return _resolve(content)


def _width(dtype: str) -> int:
    return 2 if dtype == _BFLOAT16 else np.dtype(dtype).itemsize


def _numbers(data: bytes, dtype: str, count: int) -> np.ndarray:
    if len(data) < _width(dtype) * count:
        raise ValueError(f"damaged: {len(data)} bytes where {count} numbers should be")
    if dtype == _BFLOAT16:
        return (np.frombuffer(data, "<u2", count).astype("<u4") << 16).view("<f4")
    return np.frombuffer(data, dtype, count)


# --- the pickle ----------------------------------------------------------------------------------


class _Tensor(NamedTuple):
    """A strided view of a storage, not yet cut out of it."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def array(self) -> np.ndarray:
        if not self.storage.values:
            raise ValueError("damaged: a tensor without its numbers")
        values = self.storage.values[0]
        last = self.offset + sum((n - 1) * s for n, s in zip(self.size, self.stride, strict=True))
        numbers = (self.offset, *self.size, *self.stride)
        if not all(isinstance(n, int) and n >= 0 for n in numbers):
            raise ValueError("damaged: a tensor with negative sizes")
        if math.prod(self.size) and last >= len(values):
            raise ValueError(f"damaged: a tensor reaches number {last} of {len(values)}")
        if math.prod(self.size) > len(values):  # as of a stride of 0: a few bytes for any amount
            raise ValueError(f"damaged: a tensor of shape {self.size} in {len(values)} numbers")
        if not math.prod(self.size):
            return np.zeros(self.size, values.dtype)
        strides = [s * values.itemsize for s in self.stride]
        view = np.lib.stride_tricks.as_strided(values[self.offset :], self.size, strides)
        return view.copy()


class _Inert(type):
    """A class of the file. Objects of it are made and filled with data, but nothing is called."""

    def __call__(cls, *_: Any, **__: Any) -> Any:
        module = getattr(cls, "named", "?")
        if module.split(".")[0] == "torch":
            return type.__call__(cls)  # torch.device and the like: of no meaning here
        raise ValueError(f"refused: the file asks to call {module}")


class _Object(metaclass=_Inert):
    state: Any = None

    def __new__(cls, *_: Any, **__: Any) -> "_Object":
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _rebuild_tensor(storage: Any, offset: int, size: tuple, stride: tuple, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise ValueError("damaged: a tensor of something that is no storage")
    return _Tensor(storage, offset, tuple(size), tuple(stride))


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
    return tensor


_ALLOWED: dict[tuple[str, str], Callable] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
}


# The one in Python: that in C makes room for as many objects as the largest number that one is
# remembered by, so that a file of a few bytes could ask for all memory.
class _Reader(pickle._Unpickler):
    def __init__(self, file: BinaryIO | io.BufferedIOBase, storage: Callable[..., _Storage]):
        super().__init__(file, encoding="utf-8")  # type: ignore[arg-type]
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        return _Inert(name, (_Object,), {"named": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> Any:
        kind, *rest = pid
        if kind == "module":  # a class of the older layout, with its source text
            return rest[0]
        if kind != "storage":
            raise ValueError(f"damaged: a reference to a {kind!r}")
        storage_type, key, _, count, *view = rest
        if view and view[0] is not None:
            raise ValueError("storages that are views of others are not supported")
        name = getattr(storage_type, "named", "?").split(".")[-1]
        if name not in _STORAGES:
            raise ValueError(f"numbers of type {name} are not supported")
        return self._storage(_STORAGES[name], str(key), count)


def _load(file: Any, storage: Callable[..., _Storage]) -> Any:
    return _Reader(file, storage).load()


# --- from the content to names -------------------------------------------------------------------


def _resolve(content: Any) -> Any:
    """Cut the tensors out of their storages, in dictionaries and networks."""
    if isinstance(content, _Tensor):
        return content.array()
    if isinstance(content, dict):
        return {key: _resolve(value) for key, value in content.items()}
    if isinstance(content, _Object):
        return _module(content)
    return content


def _module(module: _Object, prefix: str = "") -> dict[str, np.ndarray]:
    """The state dict of a pickled `torch.nn.Module`."""
    state, found = module.state, {}
    if not isinstance(state, dict) or "_modules" not in state:
        return found
    for name, tensor in [*state["_parameters"].items(), *state["_buffers"].items()]:
        if isinstance(tensor, _Tensor):
            found[f"{prefix}{name}"] = tensor.array()
    for name, child in state["_modules"].items():
        if isinstance(child, _Object):
            found |= _module(child, f"{prefix}{name}.")
    return found


def _tensors(content: Any) -> dict[str, np.ndarray]:
    """The state dict in what a file holds: itself, or inside one entry of it."""
    if not isinstance(content, dict):
        return {}
    here = {str(k): v for k, v in content.items() if isinstance(v, np.ndarray)}
    if here:
        return here
    inside = {k: found for k, v in content.items() if (found := _tensors(v))}
    for name in _WRAPPERS:
        if name in inside:
            return inside[name]
    if len(inside) > 1:
        raise ValueError(f"several sets of tensors: {', '.join(map(str, inside))}")
    return next(iter(inside.values()), {})
