"""Robust 3D face reconstruction and occlusion segmentation in JAX.

    faces = focus_jax.reconstruct("photo.jpg", refine=60)
    masks = focus_jax.segment(["one.jpg", "two.jpg"])

Public names are those below; they are loaded when they are first used, so that `import focus_jax`
costs nothing. Rooms, each importing only those above it:

types          the data that flows
system         the machine: processors, processes, signals, files, what commands share
rendering      camera, geometry, shading, morphable model and rasterizer
networks       encoder, segmenter, recognizer, and how they convolve
face_models    the built-in morphable model, and those that others publish
data           photos, landmarks and batches; its rooms occluders and synthetic make pictures
losses         the paper's equations, one function each
forward        its Figure 2, one line a stage
weights        of others, read into ours; those of a run, read for use
evaluation     scores of masks, colours and shapes
training       the loop, and the two updates of the EM alternation
photos         what users run on photos; it knows nothing of training, nor training of it
commands       what is typed: `focus-jax COMMAND`
"""

import importlib
from typing import Any

# Where each name comes from; `__init__.pyi` says the same to type checkers.
_MODULES = {
    "rendering": "batching camera fragments geometry morphable pictures rasterize render shading",
    "networks": "chips convolution encoder layers segmenter",
    "weights": "recognizer",
    "training": "misfit presets schedule train updates",
    "photos": "export head inference refine results texture trained video",
}
_OBJECTS = {
    "face_models": "load_face_model",
    "photos.api": "FittedFace reconstruct segment",
    "photos.trained": "load_model",
    "rendering.render": "render_mesh",
    "types": "Batch FaceCode FaceModel Fragments Rendering TrainState",
}
_ROOMS = (
    "commands data evaluation face_models forward losses networks photos rendering system training "
    "types weights"
)
_PLACES = (
    {name: (f"{room}.{name}", "") for room, names in _MODULES.items() for name in names.split()}
    | {name: (module, name) for module, names in _OBJECTS.items() for name in names.split()}
    | {name: (name, "") for name in _ROOMS.split()}
)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'focus_jax' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    found = importlib.import_module(f"focus_jax.{module}")
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return sorted(_PLACES)
