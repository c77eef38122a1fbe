"""Robust 3D face reconstruction and occlusion segmentation in JAX.

The names below are public; modules hold more, and their docstrings say what is meant to be used.
"""

from focus_jax import camera, geometry, losses, morphable, rasterize, shading
from focus_jax.face_models import load_face_model
from focus_jax.render import render_mesh
from focus_jax.types import Batch, FaceCode, FaceModel, Fragments, Rendering, TrainState

__all__ = [
    "Batch",
    "FaceCode",
    "FaceModel",
    "Fragments",
    "Rendering",
    "TrainState",
    "camera",
    "geometry",
    "load_face_model",
    "losses",
    "morphable",
    "rasterize",
    "render_mesh",
    "shading",
]
