"""The one reader of pickles of strangers: data comes out, and nothing in the file is run.

A pickle may name any function to be called. Here names stand for a few harmless ones of the same
meaning: containers, numbers, paths, NumPy's arrays. Everything else that a file names, it gets as
an `Inert` class, whose objects keep the state that they are given and do nothing. What is read from
the file afterwards must not depend on one; its `named` says what was asked for.
"""

import collections
import math
import pickle
import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import numpy as np


class RefusedError(ValueError):
    """The file asks for something that is not done."""


class Inert:
    """Stands for an object of a class, or the result of a call, that is not known here."""

    named = "an object"
    state: Any = None

    def __new__(cls, *_: Any, **__: Any) -> "Inert":
        return object.__new__(cls)

    @classmethod
    def of(cls, named: str) -> "Inert":
        """One that says what it stands for."""
        made = cls()
        made.named = named
        return made

    def __init__(self, *_: Any, **__: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def _ignore(self, *_: Any, **__: Any) -> None:
        pass

    # What a pickle does to lists, sets and dictionaries.
    append = extend = add = update = __setitem__ = _ignore

    def __call__(self, *_: Any, **__: Any) -> "Inert":
        return self


def is_inert(content: Any) -> bool:
    """Whether this is an inert object or class."""
    return isinstance(content, Inert) or (isinstance(content, type) and issubclass(content, Inert))


# --- arrays, of which a pickle tells in parts ----------------------------------------------------


class _Type:
    """An array's type: its code, such as f8, and the order of its bytes."""

    def __init__(self, code: Any, *_: Any):
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]

    def dtype(self) -> np.dtype | None:
        """None for objects. Plain numbers and strings only: no fields, no pointers."""
        if not isinstance(self.code, str):
            raise RefusedError(f"refused: an array of type {self.code!r}")
        if re.fullmatch(r"[|<>=]?O\d?", self.code):
            return None
        if not re.fullmatch(r"[|<>=]?([biufc?]\d{0,2}|[SUa]\d{1,6})", self.code):
            raise RefusedError(f"refused: an array of type {self.code!r}")
        dtype = np.dtype(self.code)
        return dtype.newbyteorder(self.order) if self.order in "<>" else dtype


class Array:
    """An array: shape, type, order of its axes, and numbers."""

    state: Any = None

    def __setstate__(self, state: tuple) -> None:
        self.state = state[-4:]

    def plain(self, inside: Callable[[Any], Any]) -> Any:
        """The array; `inside` is for what arrays of objects hold."""
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
                objects[place] = inside(item)  # one by one: arrays of equal shape would be joined
            return objects[0] if shape == () else objects.reshape(shape, order=order)
        data = raw.encode("latin1") if isinstance(raw, str) else raw  # str: from Python 2
        if (
            not isinstance(data, bytes | bytearray)
            or len(data) != math.prod(shape) * dtype.itemsize
        ):
            raise ValueError(f"no numbers for an array of shape {shape} and type {dtype}")
        return np.frombuffer(data, dtype).reshape(shape, order=order)


def _scalar(kind: Any, raw: Any = None) -> Any:
    try:
        return _from_buffer(raw, kind, (), "C").plain(lambda item: item)[()]
    except ValueError:  # of a time or of fields, which nobody needs
        return Inert.of("numpy.scalar")


def _from_buffer(raw: Any, kind: Any, shape: tuple, order: str) -> Array:
    array = Array()
    array.state = (shape, kind, order == "F", raw)
    return array


def _new_array(*_: Any) -> Array:
    return Array()


# --- what names stand for ------------------------------------------------------------------------


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise RefusedError(f"refused: text in the encoding {encoding!r}")
    return text.encode("latin1")


def _bytes(value: Any = b"", encoding: str = "latin1") -> bytes:
    # Of a number Python would make as many bytes: a short file for all memory.
    if isinstance(value, str):
        return _encode(value, encoding.replace("-", ""))
    if not isinstance(value, bytes | bytearray):
        raise RefusedError("refused: bytes of something that is none")
    return bytes(value)


def _path(*parts: Any) -> Any:
    return PurePosixPath(*parts) if all(isinstance(p, str) for p in parts) else Inert()


def _dictionary(*content: Any) -> dict:
    """Of a defaultdict, whose first argument makes what is missing, or of a counter."""
    return dict(*(c for c in content if isinstance(c, dict)))


def _new_object(kind: Any, *_: Any) -> Any:
    """`copyreg._reconstructor`: an object of an old pickle; only stand-ins are made."""
    if not (isinstance(kind, type) and hasattr(kind, "__setstate__")):
        return Inert()
    made: Any = kind
    return made.__new__(made)


_KNOWN: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): _dictionary,
    ("collections", "Counter"): _dictionary,
    ("copyreg", "_reconstructor"): _new_object,
    ("builtins", "object"): object,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "slice"): slice,
    ("builtins", "range"): range,
    ("builtins", "complex"): complex,
    ("builtins", "bytes"): _bytes,
    ("builtins", "bytearray"): _bytes,
}
_NUMPY: dict[str, Any] = {
    "_reconstruct": _new_array,
    "scalar": _scalar,
    "_frombuffer": _from_buffer,
    "ndarray": Array,
    "dtype": _Type,
}
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # since Python 2


# The one in Python: that in C makes room for as many objects as the largest number that one is
# remembered by, so that a file of a few bytes could ask for all memory.
class Reader(pickle._Unpickler):  # pyright: ignore[reportPrivateUsage]
    """Reads one pickle after the other from a file, by `load`.

    `known` gives what else a name stands for, or None; `refer` follows references to outside of
    the pickle, of which there are none without it. `asked` has the names that are inert.
    """

    def __init__(
        self,
        file: BinaryIO | Any,
        *,
        encoding: str,
        known: Callable[[str, str], Any] = lambda module, name: None,
        refer: Callable[[Any], Any] | None = None,
    ):
        super().__init__(file, encoding=encoding)  # type: ignore[arg-type]
        self._known, self._refer = known, refer
        self.asked: dict[str, type[Inert]] = {}

    def find_class(self, module: str, name: str) -> Any:
        module = _RENAMED.get(module, module)
        found = self._known(module, name) or _KNOWN.get((module, name))
        if found is None and module.partition(".")[0] == "numpy":
            found = _NUMPY.get(name)
        if found is None and module.partition(".")[0] == "pathlib" and name.endswith("Path"):
            found = _path
        return found or self._inert(f"{module}.{name}")

    def _inert(self, named: str) -> type[Inert]:
        if named not in self.asked:
            self.asked[named] = type("Inert", (Inert,), {"named": named})
        return self.asked[named]

    def persistent_load(self, pid: Any) -> Any:
        if self._refer is None:
            raise RefusedError("refused: the file refers to something outside of it")
        return self._refer(pid)
