"""Lay the built-in face model's surface flat: `python third_party/build_builtin_atlas.py`.

Writes focus_jax/face_models/builtin_atlas.npz, by which exports have texture coordinates without
xatlas, which made them. To be run again when the built-in model's triangles change.
"""

import numpy as np

from focus_jax.face_models import load_face_model
from focus_jax.photos.export import BUILTIN_ATLAS, lay_flat


def main() -> None:
    atlas = lay_flat(load_face_model("builtin"))
    whole = np.iinfo(np.uint16).max
    if len(atlas.vertex) > whole:
        raise ValueError(f"{len(atlas.vertex)} vertices are more than the file's numbers count")
    np.savez_compressed(
        BUILTIN_ATLAS,
        vertex=atlas.vertex.astype(np.uint16),
        triangles=atlas.triangles.astype(np.uint16),
        uv=atlas.uv.astype(np.float32),
    )
    print(f"{BUILTIN_ATLAS}: {len(atlas.vertex)} vertices, {BUILTIN_ATLAS.stat().st_size} bytes")


if __name__ == "__main__":
    main()
