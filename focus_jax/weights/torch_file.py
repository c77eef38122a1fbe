"""Read a PyTorch checkpoint without PyTorch, and without running code from the file.

A checkpoint is a pickle, which may name any function to be called; `system.pickles` reads it, and
here tensors are built, which must not depend on anything inert. Three
layouts: the zip archive of PyTorch 1.6 and later, the older stream of pickles, and in either of
them a whole network instead of its state dict (the authors' `enc_net_*.model`).
"""

import math
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from focus_jax.system.content import UNKNOWN, of_file
from focus_jax.system.damage import DAMAGED
from focus_jax.system.pickles import Array, Inert, Reader, is_inert

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

    Raises ValueError for a file that is no checkpoint, is damaged, or holds no tensors, or one that
    a call beyond the building of tensors was to make; FileNotFoundError for none.
    """
    path = Path(path)
    what = of_file(path).name
    if what not in ("a zip archive", "a pickle", UNKNOWN):
        raise ValueError(f"{path} is not a PyTorch checkpoint: it is {what}")
    try:
        content = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
        found = _tensors(content) or _tensors(content, Array)
    except FileNotFoundError:
        raise
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except DAMAGED as error:
        raise ValueError(f"{path} is not a PyTorch checkpoint, or damaged: {error!r}") from error
    if not found:
        made = [
            f"; {k!r} was to be made by {v.named}, which is not run" for k, v in _inert(content)
        ]
        raise ValueError(f"{path} holds no named tensors{''.join(made[:1])}")
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

        return _load(archive.open(pickles[0]), storage)


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
        return content


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
    size: tuple[Any, ...]  # as the file says
    stride: tuple[Any, ...]

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


def _rebuild_tensor(storage: Any, offset: int, size: tuple, stride: tuple, *_: Any) -> _Tensor:
    for part in (storage, offset, size, stride):
        for each in (part, *(part if isinstance(part, tuple) else ())):
            if is_inert(each):
                named = getattr(each, "named", "something")
                raise ValueError(f"refused: a tensor depends on {named}, which is not run")
    if not isinstance(storage, _Storage):
        raise ValueError("damaged: a tensor of something that is no storage")
    return _Tensor(storage, offset, tuple(size), tuple(stride))


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
    return tensor


_KNOWN: dict[tuple[str, str], Callable] = {
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
}


def _load(file: Any, storage: Callable[..., _Storage]) -> Any:
    def refer(pid: Any) -> Any:
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
        return storage(_STORAGES[name], str(key), count)

    def known(module: str, name: str) -> Any:
        return _KNOWN.get((module, name))

    return Reader(file, encoding="utf-8", known=known, refer=refer).load()


# --- from the content to names -------------------------------------------------------------------


def _module(module: Inert, prefix: str = "") -> dict[str, np.ndarray]:
    """The state dict of a pickled `torch.nn.Module`."""
    state, found = module.state, {}
    if not isinstance(state, dict) or "_modules" not in state:
        return found
    for name, tensor in [*state["_parameters"].items(), *state["_buffers"].items()]:
        if isinstance(tensor, _Tensor):
            found[f"{prefix}{name}"] = tensor.array()
    for name, child in state["_modules"].items():
        if isinstance(child, Inert):
            found |= _module(child, f"{prefix}{name}.")
    return found


def _tensors(content: Any, kind: type = _Tensor) -> dict[str, np.ndarray]:
    """The state dict in what a file holds: itself, or inside one entry of it.

    Of numbers beside it, in arrays of NumPy, nothing is taken, unless `kind` says so.
    """
    if isinstance(content, Inert):
        return _module(content)
    if not isinstance(content, dict):
        return {}
    inside = {k: found for k, v in content.items() if (found := _tensors(v, kind))}
    for name in _WRAPPERS:
        if name in inside:
            return inside[name]
    here = {str(k): _array(v, k) for k, v in content.items() if isinstance(v, kind)}
    if here:
        for key, value in _inert(content):  # or it would be missing without a word
            if value.named.startswith("torch._utils._rebuild"):
                raise ValueError(f"the tensor {key!r} is of a kind that is not read: {value.named}")
        return here
    if len(inside) > 1:
        raise ValueError(f"several sets of tensors: {', '.join(map(str, inside))}")
    return next(iter(inside.values()), {})


def _inert(content: Any) -> list[tuple[Any, Inert]]:
    """The entries of a dictionary that are inert objects."""
    items = content.items() if isinstance(content, dict) else []
    return [(key, value) for key, value in items if isinstance(value, Inert)]


def _array(value: Any, name: Any) -> np.ndarray:
    found = value.array() if isinstance(value, _Tensor) else value.plain(lambda item: item)
    if np.asarray(found).dtype == object:
        raise ValueError(f"{name!r} is an array of objects, not of numbers")
    return np.asarray(found)
