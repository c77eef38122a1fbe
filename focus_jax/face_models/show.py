"""A face model described in words and as a picture."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import KDTree

from focus_jax.face_models import fitting
from focus_jax.rendering import camera, morphable, pictures
from focus_jax.rendering.render import render_mesh
from focus_jax.types import REGIONS, AnyArray, FaceModel

MODES = 3  # of each kind in the picture
DEVIATIONS = 2.0  # of each, to both sides
KINDS = ("identity", "expression", "albedo")
GREY = 0.5
BACK = 300.0  # millimetres further from the camera than in training, for whole heads


def describe(cropped: FaceModel, full: FaceModel) -> str:
    """Sizes, units, variances, regions and the licence, a line each."""
    extent = " x ".join(f"{side:.0f}" for side in np.ptp(np.asarray(full.shape_mean), axis=0))
    lines = [
        f"{cropped.name or 'face model'}: {len(cropped.shape_mean):,} vertices, "
        f"{len(cropped.triangles):,} triangles; whole mesh {len(full.shape_mean):,}, "
        f"{len(full.triangles):,}",
        f"units: {cropped.units}; the mean measures {extent}",
    ]
    for kind in KINDS:
        basis = np.asarray(getattr(cropped, f"{kind}_basis"))
        # Root mean square over vertices of one deviation of a mode.
        sizes = np.sqrt((basis**2).sum(axis=(0, 1)) / len(basis))
        unit = "of the colour range" if kind == "albedo" else cropped.units
        first = ", ".join(f"{size:.3g}" for size in sizes[:5])
        lines.append(
            f"{kind}: {len(sizes)} modes; deviation {np.sqrt((sizes**2).sum()):.3g} {unit}, "
            f"of the first modes {first}"
        )
    counts = np.bincount(np.asarray(cropped.region), minlength=len(REGIONS))
    found = [f"{name} {count}" for name, count in zip(REGIONS, counts, strict=True) if count]
    lines.append(f"regions: {', '.join(found)} vertices")
    if cropped.dense_landmark_weights is not None:
        known = np.asarray(cropped.dense_landmark_weights).any(axis=1)
        lines.append(f"dense landmarks: {known.sum()} of {len(known)} have a place")
    lines.append(f"licence: {cropped.licence or 'not stated'}")
    return "\n".join(lines)


def picture(cropped: FaceModel, full: FaceModel, *, side: int = 192) -> np.ndarray:
    """RGB uint8: the mean, its landmarks, its regions and the crop on the whole mesh; then, a row
    for each kind, the first modes two deviations to both sides.
    """
    mean, colour = jnp.asarray(cropped.shape_mean), jnp.asarray(cropped.albedo_mean)
    regions = np.array([np.roll([0.8, 0.5, 0.2], i) * (1 - 0.06 * i) for i in range(len(REGIONS))])
    views = [
        (cropped, mean, colour, 0.0),
        (cropped, mean, colour, 0.7),
        (cropped, mean, jnp.asarray(regions, jnp.float32)[jnp.asarray(cropped.region)], 0.0),
        (full, jnp.asarray(full.shape_mean), _crop_colour(cropped, full), 0.0),
        (full, jnp.asarray(full.shape_mean), _crop_colour(cropped, full), 0.7),
    ]
    rows = [[_view(*view, 2 * side) for view in views]]
    marked = _mark(rows[0][0], _points(cropped, 0.0, 2 * side))
    rows[0].insert(1, marked)
    for kind in KINDS:
        row = []
        for mode in range(min(MODES, getattr(cropped, f"{kind}_basis").shape[-1])):
            for sign in (-DEVIATIONS, DEVIATIONS):
                weights = jnp.zeros(mode + 1).at[mode].set(sign)
                code = {k: weights if k == kind else jnp.zeros(0) for k in KINDS}
                shape = morphable.vertices(cropped, code["identity"], code["expression"])
                albedo = morphable.albedo(cropped, code["albedo"])
                row.append(_view(cropped, shape, albedo, 0.0, 2 * side))
        rows.append(row)
    blank = np.ones((2 * side, 2 * side, 3), np.float32)
    width = max(map(len, rows))
    rows = [row + [blank] * (width - len(row)) for row in rows]
    columns = [np.stack(column) for column in zip(*rows, strict=True)]
    return pictures.grid(columns, side=side)


def _pose(yaw: float) -> jax.Array:
    return jnp.zeros((1, 6)).at[0, 1].set(yaw).at[0, 5].set(BACK)


def _view(
    model: FaceModel, vertices: AnyArray, albedo: AnyArray, yaw: float, side: int
) -> np.ndarray:
    light = jnp.zeros((1, 3, 9)).at[:, :, :4].set(jnp.array([3.6, -0.3, -0.7, 0.0]))
    found = render_mesh(
        vertices[None],
        albedo[None],
        jnp.asarray(model.triangles),
        _pose(yaw),
        light.reshape(1, 27),
        side,
        side,
    )
    return np.asarray(jnp.clip(found.image + 0.9 * (1 - found.coverage), 0, 1))[0]


def _points(model: FaceModel, yaw: float, side: int) -> np.ndarray:
    """Landmarks of the mean in pixels of the picture, [68 2]."""
    rotation, translation = camera.extrinsics(_pose(yaw))
    points = jnp.asarray(fitting.landmark_points(model), jnp.float32)[None]
    return np.asarray(
        camera.project(points, rotation, translation, camera.intrinsics(side, side))[0, :, :2]
    )


def _mark(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The picture with a green square at each point."""
    marked = image.copy()
    for x, y in np.round(points).astype(int):
        marked[max(y - 3, 0) : max(y + 4, 0), max(x - 3, 0) : max(x + 4, 0)] = [0.1, 0.8, 0.2]
    return marked


def _crop_colour(cropped: FaceModel, full: FaceModel) -> jax.Array:
    """Albedo where the whole mesh has a vertex of the crop, grey elsewhere."""
    gap = KDTree(np.asarray(cropped.shape_mean)).query(np.asarray(full.shape_mean))[0]
    inside = np.asarray(gap)[:, None] < 0.01
    return jnp.asarray(np.where(inside, np.asarray(full.albedo_mean), GREY), jnp.float32)
