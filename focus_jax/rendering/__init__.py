"""From a face model's coefficients to a picture: the image formation, as pure functions.

Imports `types` only. Read `morphable` (coefficients to vertices and colours), `camera`, `geometry`
(normals), `shading`, then `render` (all of it in one function) and `rasterize` (which triangle a
pixel sees, with its gradient), whose backends are `rasterize_warp` over `rasterize_kernels`, and
`rasterize_jnp`. `fragments` is what else an index map tells, `batching` splits what is large,
`pictures` lays results side by side.
"""
