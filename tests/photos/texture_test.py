import numpy as np
import pytest

from focus_jax.face_models import load_face_model
from focus_jax.photos import export, texture
from focus_jax.rendering import camera

FINE = 448
SKIN, PAINT = np.array([0.8, 0.6, 0.5]), np.array([0.0, 0.0, 1.0])


@pytest.fixture(scope="module")
def model():
    return load_face_model("builtin", identity=1, expression=1, albedo=1)


@pytest.fixture(scope="module")
def texels(model):
    return texture.make_texels(export.make_atlas(model), 256)


def test_texels_lie_where_the_atlas_says(model, texels):
    atlas = export.make_atlas(model)
    # A vertex on a cut has several places; away from the cuts the mean of them is its only one.
    once = np.bincount(atlas.vertex) == 1
    uv = np.zeros((len(once), 2), np.float32)
    uv[atlas.vertex] = atlas.uv
    places, shown = texels.places, texels.shown
    np.testing.assert_allclose(places @ np.ones(len(once)), 1, atol=1e-4)
    whole = (places @ (~once).astype(float) == 0)[shown]
    u, v = np.moveaxis((places @ uv)[shown], -1, 0)
    columns, rows = np.meshgrid(np.arange(256), np.arange(256))
    off = np.hypot(u * 256 - 0.5 - columns, (1 - v) * 256 - 0.5 - rows)
    # Most pixels lie in a chart, exactly; those between show one near by.
    assert whole.mean() > 0.3 and (off[whole] < 1e-2).mean() > 0.5
    assert np.median(off[whole]) < 1e-3
    count = places.shape[0]
    shown = np.unique(shown)  # those that fill the last row are shown by none
    assert count % texture.ROW == 0 and (shown == np.arange(len(shown))).all()
    assert count - texture.ROW < len(shown) < 256**2


def test_a_texture_shows_the_colour_of_its_pixels(texels):
    count = texels.places.shape[0]
    colours = np.random.default_rng(0).integers(0, 256, (count, 4), np.uint8)
    np.testing.assert_array_equal(texels.picture(colours), colours[texels.shown][..., :3])


def test_what_is_known_stays_and_the_rest_lies_between(model):
    triangles, x = np.asarray(model.triangles), np.asarray(model.shape_mean[:, :1])
    values = np.where(x > 0, x / 100, 0)
    known = (x > 20)[:, 0] | (x < -20)[:, 0]
    found = texture.extend(values, known, triangles)
    np.testing.assert_allclose(found[known], values[known], atol=1e-6)
    assert found.min() >= values.min() - 1e-5 and found.max() <= values.max() + 1e-5
    constant = texture.extend(np.full_like(x, 0.3), known, triangles)
    np.testing.assert_allclose(constant, 0.3, atol=1e-5)


def test_nothing_known_changes_nothing(model):
    values = np.ones((len(model.shape_mean), 3), np.float32)
    none = np.zeros(len(values), bool)
    assert (texture.extend(values, none, np.asarray(model.triangles)) == 0).all()
    assert (texture.extend(values, ~none, np.asarray(model.triangles)) == 1).all()


def view(model, photo, mask):
    """A frontal face; its depth map is rasterized as `inference` does."""
    import jax.numpy as jnp

    from focus_jax.rendering import fragments, geometry, rasterize

    rotation, translation = camera.extrinsics(jnp.zeros(6))
    screen = camera.project(
        jnp.asarray(model.shape_mean), rotation, translation, camera.intrinsics(FINE, FINE)
    )
    triangles = jnp.asarray(model.triangles)
    seen = rasterize.rasterize(screen[None], triangles, FINE, FINE)
    depth = np.asarray(fragments.depth_map(seen, screen[None], triangles))[0]
    facing = np.asarray(geometry.vertex_normals(jnp.asarray(model.shape_mean), triangles))[:, 2]
    eye = np.eye(2, 3)
    return texture.View(photo, eye, np.asarray(screen), facing, depth, mask * (depth > 0))


def test_hidden_and_turned_away_parts_take_the_tone_of_the_photo(model, texels):
    """A photo all of skin with a blue bar; the model believes in grey."""
    photo = np.empty((FINE, FINE, 3), np.uint8)
    photo[:] = np.rint(SKIN * 255)
    photo[200:260] = PAINT * 255
    mask = np.ones((FINE, FINE), np.float32)
    mask[196:264] = 0
    grey = np.full((len(model.shape_mean), 3), 0.5, np.float32)
    painted, colours = texture.paint(
        view(model, photo, mask), grey, np.asarray(model.triangles), texels
    )
    assert np.abs(painted / 255 - SKIN).max() < 0.03  # seamless: one tone everywhere
    assert np.abs(colours - SKIN).max() < 0.03


def test_what_the_photo_shows_is_kept(model, texels):
    rows = np.linspace(0, 255, FINE).astype(np.uint8)
    photo = np.broadcast_to(rows[:, None, None], (FINE, FINE, 3)).copy()
    seen = view(model, photo, np.ones((FINE, FINE), np.float32))
    grey = np.full((len(model.shape_mean), 3), 0.5, np.float32)
    _, colours = texture.paint(seen, grey, np.asarray(model.triangles), texels)
    none, alone = texture.paint(seen, grey, np.asarray(model.triangles), None)
    assert none is None
    np.testing.assert_array_equal(alone, colours)
    nose = np.asarray(model.landmark_vertices)[30, 0]
    expected = seen.screen[nose, 1] / (FINE - 1)
    np.testing.assert_allclose(colours[nose], expected, atol=0.01)


def test_of_several_photos_each_place_is_of_those_that_show_it(model, texels):
    """One photo shows the left, the other, in half the light and duller, the right; no seam."""
    left = np.zeros((FINE, FINE), np.float32)
    left[:, : FINE // 2 + 30] = 1
    bright, dim = (np.empty((FINE, FINE, 3), np.uint8) for _ in range(2))
    bright[:], dim[:] = np.rint(SKIN * 255), np.rint(SKIN * 255 * 0.5 * 0.8)
    bright[:, FINE // 2 + 40 :] = dim[:, : FINE // 2 - 40] = PAINT * 255  # where they are hidden
    views = [view(model, bright, left), view(model, dim, left[:, ::-1])]
    grey = np.full((len(model.shape_mean), 3), 0.5, np.float32)
    triangles = np.asarray(model.triangles)
    painted, colours = texture.gather(views, [grey, grey / 2], triangles, texels)
    assert np.abs(painted / 255 - SKIN).max() < 0.05
    assert np.abs(colours - SKIN).max() < 0.05
    # One photo alone is as `paint` has it, where it is sure.
    alone, _ = texture.gather(views[:1], [grey], triangles, texels)
    wanted, _ = texture.paint(views[0], grey, triangles, texels)
    np.testing.assert_allclose(alone.astype(int), wanted, atol=10)


@pytest.mark.parametrize("degrees", [0, 45, 90])
def test_the_part_of_a_photo_that_a_crop_shows_is_whole(degrees):
    """However the crop is turned in the photo, its corners lie in the part, at the same colours."""
    y, x = np.mgrid[:900, :1000].astype(np.float32)
    photo = np.stack([x / 5, y / 5, np.zeros_like(x)], -1).astype(np.uint8)
    angle = np.radians(degrees)
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([500.0, 450.0]) - linear @ np.full(2, 223.5)
    to_photo = np.concatenate([linear, middle[:, None]], axis=1)
    piece, moved = texture._at_scale(photo, to_photo, 400)
    for corner in ((0, 0), (447, 0), (0, 447), (447, 447), (200, 300)):
        place = moved @ np.array([*corner, 1.0])
        assert (place > 0).all() and (place < np.array(piece.shape[1::-1]) - 1).all()
        seen = piece[round(place[1]), round(place[0]), :2]
        np.testing.assert_allclose(seen, (to_photo @ np.array([*corner, 1.0])) / 5, atol=1.5)
