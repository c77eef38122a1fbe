"""Read the pickles that face models are passed around in, without running code from them.

A pickle may name any function to be called. Here it can name a few things only, and none is the
real one: arrays, sparse matrices and chumpy arrays come in as stand-ins that merely keep what the
file says of them, and are built from that afterwards. Everything else is refused by name. (The
reader of PyTorch files, `weights/torch_file.py`, cannot refuse, as networks bring their own
classes; the two have little in common.)
"""

import collections
import io
import math
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import scipy.sparse

from focus_jax.system.damage import DAMAGED

LARGEST_DENSE = 10**8  # numbers that a sparse matrix may have when written out


class RefusedError(ValueError):
    """The file asks for more than arrays and containers."""


class Unread:
    """Stands for what is not needed and not read: chumpy expressions, PyTorch tensors."""

    def __init__(self, name: str = "an object"):
        self.name = name

    def __setstate__(self, state: Any) -> None:
        del state


def read_pickle(path: Path) -> Any:
    """Numbers, strings, containers and NumPy arrays of a pickle; sparse matrices are made dense.

    `Unread` where something is left unread. ValueError, in one sentence, for a file that is
    damaged, or that asks for anything else.
    """
    with path.open("rb") as file:
        return _read(file, path)


def read_npy(path: Path) -> Any:
    """The content of an .npy file, pickled objects too, as `read_pickle` reads them."""
    with path.open("rb") as file:
        return _read_npy(file, path)


def read_npz(path: Path) -> dict[str, Any]:
    """All arrays of an npz by their keys, each as `read_npy` reads them."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = {}
            for name in archive.namelist():
                with archive.open(name) as file:
                    found[name.removesuffix(".npy")] = _read_npy(file, path)
            return found
    except ValueError:  # of one of the arrays, which says what is wrong
        raise
    except DAMAGED:
        raise ValueError(f"{path} cannot be read as npz, or is truncated") from None


def _read_npy(file: Any, path: Path) -> Any:
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            header = np.lib.format.read_array_header_1_0(file)
        else:
            header = np.lib.format.read_array_header_2_0(file)
        if not header[2].hasobject:
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)
    except DAMAGED:
        raise ValueError(f"{path} cannot be read as .npy, or is truncated") from None
    return _read(file, path)


def _read(file: BinaryIO, path: Path) -> Any:
    try:
        return _plain(_Reader(file).load())
    except RefusedError as error:
        raise ValueError(f"{path}: {error}") from None
    except DAMAGED as error:
        detail = str(error) or type(error).__name__
        raise ValueError(f"{path} cannot be read as a pickle, or is truncated: {detail}") from None


# --- stand-ins, which keep what the file says ----------------------------------------------------


class _Type:
    """An array's type: its code, such as f8, and the order of its bytes."""

    def __init__(self, code: str, *_: Any):
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]

    def dtype(self) -> np.dtype | None:
        """None for objects. Plain numbers and strings only: no fields, no pointers."""
        if re.fullmatch(r"[|<>=]?O\d?", self.code):
            return None
        if not re.fullmatch(r"[|<>=]?([biufc?]\d{0,2}|[SUa]\d{1,6})", self.code):
            raise RefusedError(f"refused: an array of type {self.code!r}")
        dtype = np.dtype(self.code)
        return dtype.newbyteorder(self.order) if self.order in "<>" else dtype


class _Array:
    """An array: shape, type, order of its axes, and numbers."""

    state: Any = None

    def __setstate__(self, state: tuple) -> None:
        self.state = state[-4:]

    def plain(self) -> Any:
        if self.state is None:
            raise ValueError("an array without numbers")
        shape, kind, fortran, raw = self.state
        if not isinstance(kind, _Type):
            raise ValueError("an array without a type")
        order = "F" if fortran else "C"
        dtype = kind.dtype()
        if dtype is None:
            objects = np.empty(math.prod(shape), object)
            for place, item in zip(range(len(objects)), raw, strict=True):
                objects[place] = _plain(item)  # one by one: arrays of equal shape would be joined
            return objects[0] if shape == () else objects.reshape(shape, order=order)
        data = raw.encode("latin1") if isinstance(raw, str) else raw  # str: from Python 2
        if len(data) != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{len(data)} bytes for an array of shape {shape} and type {dtype}")
        return np.frombuffer(data, dtype).reshape(shape, order=order)


class _Sparse:
    """A sparse matrix of scipy."""

    kind = ""
    state: Any = None

    def __setstate__(self, state: dict) -> None:
        self.state = state

    def plain(self) -> np.ndarray:
        found = {key: _plain(value) for key, value in (self.state or {}).items()}
        shape = found.get("_shape", found.get("shape"))
        if not isinstance(shape, tuple) or math.prod(shape) > LARGEST_DENSE:
            raise ValueError(f"a sparse matrix of shape {shape}")
        if self.kind == "coo":
            row, column = found["coords"] if "coords" in found else (found["row"], found["col"])
            matrix = scipy.sparse.coo_matrix((found["data"], (row, column)), shape)
        else:
            build: Any = {"csc": scipy.sparse.csc_matrix, "csr": scipy.sparse.csr_matrix}[self.kind]
            matrix = build((found["data"], found["indices"], found["indptr"]), shape)
            matrix.check_format(full_check=True)  # indices beyond the shape would write elsewhere
        return matrix.toarray()


class _Chumpy:
    """An array of chumpy, or an expression of several, which has no numbers of its own."""

    name = ""
    state: Any = None

    def __setstate__(self, state: dict) -> None:
        self.state = state

    def plain(self) -> Any:
        if isinstance(self.state, dict) and "x" in self.state:
            return _plain(self.state["x"])
        return Unread(self.name)


def _scalar(kind: _Type, raw: Any = None) -> Any:
    array = _Array()
    array.state = ((), kind, False, raw)
    return array.plain()


def _from_buffer(raw: Any, kind: _Type, shape: tuple, order: str) -> _Array:
    array = _Array()
    array.state = (shape, kind, order == "F", raw)
    return array


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise RefusedError(f"refused: text in the encoding {encoding!r}")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    return b""


def _new_object(kind: Any, *_: Any) -> Any:
    """`copyreg._reconstructor`: an object of an old pickle; only stand-ins are made."""
    if not (isinstance(kind, type) and issubclass(kind, (_Sparse, _Chumpy))):
        raise RefusedError("refused: the file asks to build an object of an unknown class")
    return kind()


def _unread(name: str) -> Callable[..., Unread]:
    return lambda *_: Unread(name)


_NUMPY: dict[str, Any] = {
    "_reconstruct": _reconstruct,
    "scalar": _scalar,
    "_frombuffer": _from_buffer,
    "ndarray": _Array,
    "dtype": _Type,
}
_ALLOWED: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("copyreg", "_reconstructor"): _new_object,
    ("builtins", "object"): object,
    ("builtins", "set"): set,
    ("builtins", "bytes"): _empty_bytes,
}
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # since Python 2


# The one in Python: that in C makes room for as many objects as the largest number that one is
# remembered by, so that a file of a few bytes could ask for all memory.
class _Reader(pickle._Unpickler):
    def __init__(self, file: BinaryIO | io.BufferedIOBase):
        # latin1: bytes of Python 2 come as text of the same codes.
        super().__init__(file, encoding="latin1")  # type: ignore[arg-type]

    def find_class(self, module: str, name: str) -> Any:
        module = _RENAMED.get(module, module)
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        package = module.split(".")[0]
        if package == "numpy" and name in _NUMPY:
            return _NUMPY[name]
        kind = re.fullmatch(r"(csc|csr|coo)_(matrix|array)", name)
        if module.startswith("scipy.sparse") and kind:
            return type(name, (_Sparse,), {"kind": kind[1]})
        if package == "chumpy":
            return type(name, (_Chumpy,), {"name": f"{module}.{name}"})
        if package == "torch":  # in DECA's landmark file, beside arrays
            return _unread(f"{module}.{name}")
        raise RefusedError(f"refused: the file asks for {module}.{name}, which no array needs")

    def persistent_load(self, pid: Any) -> Any:
        raise RefusedError("refused: the file refers to something outside of it")


def _plain(content: Any) -> Any:
    """What the stand-ins inside containers stand for."""
    if isinstance(content, (_Array, _Sparse, _Chumpy)):
        return content.plain()
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return type(content)(_plain(item) for item in content)
    return content
