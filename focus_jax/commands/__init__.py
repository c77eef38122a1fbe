"""The one command, `focus-jax`: each of its words is a module here, which parses and calls a room.

Imports everything. Read `arguments` (what several commands share), then the command you look for.
"""

import importlib
import sys
from collections.abc import Sequence

# Word of the command: its module, and what the table of contents says of it.
COMMANDS = {
    "train": "train FOCUS: --config=configs/em.py; goes on where it was when repeated",
    "reconstruct": "faces of photos and videos: meshes, masks, pictures, numbers, a page",
    "segment": "masks of whole data sets",
    "prepare": "a folder of photos made ready for training",
    "face-model": "show or convert a face model",
    "weights": "import the weights of others, export a trained model",
    "evaluate": "tables and page of a run; its faces against hand-placed points and scans",
    "now": "predict for the NoW benchmark, score predictions",
    "demo": "a local page: drop a photo, turn its face, change it",
    "misfit": "the misfit prior of a face model (Eq. 11)",
}
OF_ABSL = ("train", "misfit")  # whose flags are those of a config


def main(argv: Sequence[str] | None = None) -> int:
    """`focus-jax COMMAND ...`; returns its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(contents())
        return 0 if words else 2
    word, *rest = words
    if word == "--version":
        from focus_jax.commands.versions import main as versions

        return versions()
    if word not in COMMANDS:
        print(f"error: focus-jax has no {word!r}; it has {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    if word in OF_ABSL:
        return _run_absl(word, rest)
    module = importlib.import_module(f"focus_jax.commands.{word.replace('-', '_')}")
    if word in ("reconstruct", "segment"):
        return module.main(rest, program=f"focus-jax {word}")
    return module.main(rest)


def contents() -> str:
    """The table of contents that `focus-jax --help` prints."""
    lines = [f"  {word:<12} {what}" for word, what in COMMANDS.items()]
    return "\n".join(
        [
            "focus-jax COMMAND ...: 3D faces and occlusion masks from photos, and training for it",
            "",
            *lines,
            "",
            "focus-jax COMMAND --help says more; focus-jax --version what it runs on.",
        ]
    )


def _run_absl(word: str, rest: list[str]) -> int:
    sys.argv = [f"focus-jax {word}", *rest]
    where = "focus_jax.main" if word == "train" else f"focus_jax.commands.{word}"
    module = importlib.import_module(where)
    if {"-h", "--help"} & set(rest):  # absl's help is of the program's first file
        print(module.__doc__)
        return 0
    module.run()
    return 0
