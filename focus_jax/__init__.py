"""Robust 3D face reconstruction and occlusion segmentation in JAX.

The names below are public and loaded when they are first used, so that `import focus_jax` costs
nothing. Modules hold more, and their docstrings say what is meant to be used. Rooms in the order
in which they build on each other:

system        the machine: processors, processes, signals, files that are damaged
rendering     camera, geometry, shading, morphable model and rasterizer
networks      encoder, segmenter, recognizer, and how they convolve
face_models   the built-in morphable model, and those that others publish
data          photos, landmarks and batches; `data.occluders` and `data.synthetic` paint pictures
losses        the paper's equations; forward: its Figure 2, one line a stage
weights       of others, read into ours; of a run, read for use
evaluation    scores of masks, colours and shapes
training      the loop, and the two updates of the EM alternation
photos        what users run on photos
"""

import importlib
from typing import Any

_MODULES = {
    name: f"focus_jax.{room}.{name}"
    for room, names in {
        "rendering": "batching camera fragments geometry morphable pictures rasterize render shading",
        "networks": "chips convolution encoder layers recognizer segmenter",
        "training": "misfit presets schedule train updates",
        "photos": "export head inference refine results texture trained video",
    }.items()
    for name in names.split()
}
_NAMES = {
    "load_face_model": "focus_jax.face_models",
    "render_mesh": "focus_jax.rendering.render",
} | dict.fromkeys(
    ("Batch", "FaceCode", "FaceModel", "Fragments", "Rendering", "TrainState"), "focus_jax.types"
)
_ROOMS = [
    "data",
    "evaluation",
    "face_models",
    "forward",
    "losses",
    "networks",
    "photos",
    "rendering",
    "system",
    "training",
    "types",
    "weights",
]

__all__ = sorted([*_MODULES, *_NAMES, *_ROOMS])


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if name in _MODULES or name in _ROOMS:
        return importlib.import_module(_MODULES.get(name, f"focus_jax.{name}"))
    raise AttributeError(f"module 'focus_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
