"""What gets before a face: glasses, hands, masks, hair and more, as meshes on the face's own.

Read `part` (what a thing is handed over as), `head` (the face that it meets, and the archive),
`hands`, `shapes` and `hair` (the things), `occluder` (their kinds), `paste` (onto a photo).
"""

from focus_jax.data.occluders.occluder import OCCLUDERS
from focus_jax.data.occluders.paste import paste_occluder

__all__ = ["OCCLUDERS", "paste_occluder"]
