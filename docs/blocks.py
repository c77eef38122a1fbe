"""Runs the code blocks of pages as they stand: `python docs/blocks.py README.md docs/parts.md`.

In an empty folder that holds scikit-image's astronaut as photo.jpg, one.jpg and two.jpg. Blocks of
`sh` go to bash; those of `python` share one namespace a page, and with `>>>` are doctests. Lines
that begin with `pip install` are left out, since the environment has what they bring, and so is a
block after `<!-- not run: REASON -->`. Blocks of other languages, or of none, are text.
"""

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import skimage.data
from PIL import Image

FENCE = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+) -->\n\n)?"
    r"^```(?P<language>sh|python)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A fenced block of a page: where it begins, what it is, and why it is not run, if so."""

    line: int
    language: str  # "sh" or "python"
    code: str
    reason: str | None


def blocks(page: str) -> Iterator[Block]:
    """The blocks of a page's text, in their order."""
    for found in FENCE.finditer(page):
        line = page.count("\n", 0, found.start("code"))
        yield Block(line, found["language"], found["code"], found["reason"])


def run(block: Block, page: str, names: dict[str, Any]) -> None:
    """Run a block in the current folder, a Python one with `names`; RuntimeError where it fails."""
    where = f"{page}, line {block.line}"
    if block.language == "sh":
        kept = [line for line in block.code.splitlines() if not line.startswith("pip install")]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(kept)],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{where}: exit status {done.returncode}\n{done.stderr}")
    elif ">>>" in block.code:
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        test = doctest.DocTestParser().get_doctest(block.code, names, where, page, block.line)
        said = io.StringIO()
        failed, _ = doctest.DocTestRunner(optionflags=flags).run(
            test, out=said.write, clear_globs=False
        )
        names.update(test.globs)  # the runner works on a copy
        if failed:
            raise RuntimeError(said.getvalue())
    else:
        # As many empty lines before as the page has, so that errors name its lines.
        code = compile("\n" * block.line + block.code, page, "exec")
        with contextlib.redirect_stdout(io.StringIO()):
            exec(code, names)


def main(pages: Sequence[str]) -> int:
    """Run the blocks of all pages; returns the exit status."""
    texts = {page: Path(page).read_text(encoding="utf-8") for page in pages}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        # Commands and pages share what they compile, as they do on a machine of one's own.
        os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{folder}/.programs"
        for name in ("photo.jpg", "one.jpg", "two.jpg"):
            Image.fromarray(skimage.data.astronaut()).save(name, quality=95)
        for page, text in texts.items():
            names: dict[str, Any] = {"__name__": page}
            for block in blocks(text):
                begun = time.perf_counter()
                if block.reason is None:
                    run(block, page, names)
                said = f"not run: {block.reason}" if block.reason else ""
                said = said or f"{time.perf_counter() - begun:.1f} s"
                print(f"{page}, line {block.line}: {block.language}, {said}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
