"""An exported model in the layout of model hubs, and one fetched from there.

Beside `config.json` and the safetensors there are `README.md`, whose front matter hubs read, and
`SHA256SUMS`, which `sha256sum --check` reads too.
"""

import functools
import hashlib
import re
from importlib.metadata import version
from pathlib import Path

from focus_jax.system.files import write_whole

# Path("hf://OWNER/NAME") has one slash less.
_ADDRESS = re.compile(r"hf:/{1,2}(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
SUMS, CARD, MISFIT = "SHA256SUMS", "README.md", "misfit.npz"
# A line of sha256sum's: a space before the name says that it was read as text, * as bytes. Of
# `sha256sum ./*` and `find . -exec sha256sum` names begin with ./, which is the folder itself.
_SUM = re.compile(r"(?P<digest>[0-9a-fA-F]{64}) [ *](?:\./)*(?P<name>[^/\\]+)")
_SUMMED = ("*.safetensors", "face_model.npz", MISFIT, "*.onnx")
WANTED = ("config.json", "*.safetensors", "face_model.*", MISFIT, CARD, SUMS)

_TEXT = """---
library_name: focus_jax
license: other
pipeline_tag: image-to-3d
tags: [jax, face-reconstruction, occlusion-segmentation]
---

# {name}

Encoder and segmentation network of focus_jax {version}: from a photo the face in 3D, and a mask of
what is not face.

```
focus-jax reconstruct photo.jpg --out faces --model FOLDER      # or hf://OWNER/NAME
```

Say here what it was trained on, what it does, measured, and where it fails; and in the front matter
above under which licence it may be used.
"""


def is_address(name: str | Path) -> bool:
    """Whether a model's name is one of a hub: "hf://OWNER/NAME" or "hf://OWNER/NAME@REVISION"."""
    return str(name).startswith("hf:/")


@functools.cache
def fetch(address: str) -> Path:
    """The folder of a hub's model, in huggingface_hub's cache; asked for once in a process.

    A revision is a branch, a tag or a commit. Without a connection what the cache holds is used.
    ValueError, in one sentence, for what is no address or cannot be had; ImportError without
    huggingface_hub.
    """
    match = _ADDRESS.fullmatch(address)
    if not match:
        raise ValueError(f"{address} is no address of a model; give hf://OWNER/NAME[@REVISION]")
    try:
        import huggingface_hub
    except ImportError:
        raise ImportError(
            f'{address} needs huggingface_hub: pip install "focus_jax[hub]"; or give the folder '
            "of a model that was downloaded"
        ) from None
    try:
        found = huggingface_hub.snapshot_download(
            match["name"], revision=match["revision"], allow_patterns=list(WANTED)
        )
    except (OSError, ValueError) as error:  # all of its own are one of these
        detail = " ".join(str(error).split())[:200]
        raise ValueError(f"{address} cannot be had: {detail}") from None
    return Path(found)


def write_card(folder: Path, name: str) -> None:
    """A README.md to fill in, with front matter; one that is there stays."""
    if not (folder / CARD).exists():
        write_whole(folder / CARD, _TEXT.format(name=name, version=version("focus_jax")))


def write_sums(folder: Path) -> None:
    """`SHA256SUMS` of the arrays in an exported model's folder."""
    files = sorted(path for kind in _SUMMED for path in folder.glob(kind))
    lines = [f"{_digest(path)}  {path.name}\n" for path in files]
    write_whole(folder / SUMS, "".join(lines))


def check_sums(folder: Path) -> None:
    """ValueError for a file that is not what the folder's `SHA256SUMS` says, if it has one.

    And for a line of it that is none of sha256sum's, or names what is not in the folder. Networks
    as ONNX, which nothing here reads and `fetch` leaves where they are, are passed over.
    """
    sums = folder / SUMS
    if not sums.is_file():
        return
    text = sums.read_text(encoding="utf-8-sig", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _SUM.fullmatch(line)
        if not match or match["name"] in (".", ".."):
            raise ValueError(
                f"line {number} of {sums} is {line[:200]!r}, not a SHA-256 and the name of a file "
                "beside it; fetch it again, or remove it if the model was changed on purpose"
            )
        path = folder / match["name"]
        if path.suffix == ".onnx":
            continue
        if not path.is_file() or _digest(path) != match["digest"].lower():
            raise ValueError(
                f"{path} is not the file that {sums} tells of; fetch it again, or remove "
                f"{SUMS} if it was changed on purpose"
            )


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
