"""An object store that lies in memory: epath's gs:// without a network.

Like a real one it has no folders, no renaming and no appending, and shows an object only once it is
written to its end.
"""

import io
import posixpath
from types import SimpleNamespace

import pytest
from etils.epath import gpath


class Store:
    """What `epath` asks of a backend."""

    def __init__(self):
        self.objects = {}

    def open(self, path, mode):
        kind = mode.replace("b", "").replace("t", "")
        if kind == "r":
            if path not in self.objects:
                raise FileNotFoundError(path)
            content = io.BytesIO(self.objects[path])
            return content if "b" in mode else io.TextIOWrapper(content, "utf-8")
        assert kind == "w", f"an object cannot be opened as {mode}"
        return _object(self.objects, path, "b" in mode)

    def exists(self, path):
        return path in self.objects or self.isdir(path)

    def isdir(self, path):
        return any(name.startswith(f"{path.rstrip('/')}/") for name in self.objects)

    def listdir(self, path):
        start = f"{path.rstrip('/')}/"
        below = [n.removeprefix(start) for n in self.objects if n.startswith(start)]
        return sorted({name.partition("/")[0] for name in below})

    def glob(self, pattern):
        folder, _, last = pattern.rpartition("/")
        names = [n for n in self.listdir(folder) if last == "*" or n.endswith(last.lstrip("*"))]
        return [posixpath.join(folder, name) for name in names]

    def walk(self, path, *, top_down=True, on_error=None):
        names = self.listdir(path)
        folders = [n for n in names if self.isdir(posixpath.join(path, n))]
        yield path, folders, [n for n in names if posixpath.join(path, n) in self.objects]
        for folder in folders:
            yield from self.walk(posixpath.join(path, folder))

    def makedirs(self, path, *, exist_ok, mode=None):
        pass

    mkdir = makedirs

    def rmtree(self, path):
        for name in [n for n in self.objects if n.startswith(f"{path.rstrip('/')}/")]:
            del self.objects[name]

    def remove(self, path):
        if path not in self.objects:
            raise FileNotFoundError(path)
        del self.objects[path]

    def rename(self, path, dst):
        raise AssertionError(f"{path} cannot be renamed: it is an object")

    replace = rename

    def stat(self, path):
        return SimpleNamespace(length=len(self.objects[path]), is_directory=False)


def _object(objects, path, binary):
    class Written(io.BytesIO):
        def close(self):
            if not self.closed:
                objects[path] = self.getvalue()
            super().close()

    return Written() if binary else io.TextIOWrapper(Written(), "utf-8", write_through=True)


@pytest.fixture
def store(monkeypatch):
    """gs:// is this store; its objects by their addresses."""
    made = Store()
    monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, "gs", made)
    monkeypatch.setattr(gpath, "_is_tf_installed", lambda: False)
    return made.objects
