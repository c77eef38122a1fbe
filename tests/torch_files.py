"""Writes PyTorch checkpoints without PyTorch: by pickles that name its classes."""

import collections
import contextlib
import io
import pickle
import sys
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def zip_checkpoint(path: Path, content: bytes, **data: bytes) -> None:
    """The layout since PyTorch 1.6, of a pickle and of storages named _0, _1, ..."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        for key, value in data.items():
            archive.writestr(f"archive/data/{key.strip('_')}", value)


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class Reference:
    """Pickles as a reference to the one storage of a file."""


@contextlib.contextmanager
def stand_in() -> Iterator[Any]:
    """The parts of PyTorch that a checkpoint names, to write one by pickle alone."""
    modules = {name: types.ModuleType(name) for name in ("torch", "torch._utils", "unet")}

    def rebuild(*_):
        raise AssertionError("only its name matters")

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    modules["torch._utils"]._rebuild_tensor_v2 = rebuild
    storage_type = type("FloatStorage", (), {"__module__": "torch"})
    modules["torch"].FloatStorage = storage_type
    # A class of the authors', of which nothing is installed where the file is read.
    modules["unet"].Net = type("Net", (), {"__module__": "unet"})

    class Writer(pickle.Pickler):
        def persistent_id(self, obj):
            if isinstance(obj, Reference):
                return ("storage", storage_type, "0", "cpu", 6)
            if obj is modules["unet"].Net and self.legacy:  # only at its first use, as PyTorch does
                self.legacy = False
                return ("module", obj, "unet.py", "class Net: ...")
            return None

    class StandIn:
        net = modules["unet"].Net

        @staticmethod
        def tensor(offset, size, stride):
            return Call(
                rebuild, Reference(), offset, size, stride, False, collections.OrderedDict()
            )

        @staticmethod
        def write(path, content, *, zipped):
            buffer = io.BytesIO()
            writer = Writer(buffer, protocol=2)
            writer.legacy = not zipped
            writer.dump(content)
            numbers = np.arange(6, dtype="<f4").tobytes()
            if zipped:
                zip_checkpoint(path, buffer.getvalue(), _0=numbers)
                return
            head = [pickle.dumps(x, protocol=2) for x in (0x1950A86A20F9469CFC6C, 1001, {})]
            tail = [pickle.dumps(["0"], protocol=2), (6).to_bytes(8, "little"), numbers]
            path.write_bytes(b"".join([*head, buffer.getvalue(), *tail]))

    with pytest.MonkeyPatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        yield StandIn
