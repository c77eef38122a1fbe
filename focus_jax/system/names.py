"""Names of files for libraries that take text in UTF-8 only, and end the process at any other."""

import contextlib
import tempfile
from collections.abc import Generator
from pathlib import Path


@contextlib.contextmanager
def in_utf8(path: Path) -> Generator[str]:
    """A name by which the file can be opened, to be read or written; through a link if need be."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder) / f"link{path.suffix}"
            link.symlink_to(path.absolute())
            yield str(link)
    else:
        yield str(path)
