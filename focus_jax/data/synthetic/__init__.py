"""Synthetic photos: faces of the face model with everything about them known.

Builds on `rendering`, `data.align`, `data.workers` and `data.occluders`. Read `faces` (draw,
render, photograph), then `backgrounds` (what is around a face).
"""

from focus_jax.data.synthetic.faces import synthesize

__all__ = ["synthesize"]
