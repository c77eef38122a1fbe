"""What gets before a face: glasses, hands, masks, hair and more, painted onto a picture.

Imports nothing of the package but this room. Read `scene` (what a painter knows of the picture),
`painting` (layers, noise, cloth), `held` and `worn` (the painters), `occluder` (which to choose).
"""

from focus_jax.data.occluders.occluder import OCCLUDERS
from focus_jax.data.occluders.paste import paste_occluder

__all__ = ["OCCLUDERS", "paste_occluder"]
