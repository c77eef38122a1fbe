import cv2
import numpy as np
import pytest

from focus_jax.rendering import pictures


def test_a_grid_has_a_row_for_each_photo_and_a_column_for_each_picture():
    photos = np.zeros((3, 8, 8, 3))
    masks = np.ones((3, 8, 8, 1))
    picture = pictures.grid([photos, None, masks], side=16, gap=1)
    assert picture.shape == (3 * 18, 2 * 18, 3) and picture.dtype == np.uint8
    assert picture[9, 9].max() == 0 and picture[9, 18 + 9].min() == 255


def test_an_overlay_shows_the_rendering_where_it_covers():
    photo, rendering = np.full((1, 2, 2, 3), 0.2), np.full((1, 2, 2, 3), 1.5)
    coverage = np.zeros((1, 2, 2, 1))
    coverage[0, 0] = 1
    found = pictures.overlay(photo, rendering, coverage)
    assert (found[0, 0] == 1).all() and (found[0, 1] == 0.2).all()


def test_png_keeps_the_order_of_colours(tmp_path):
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    pictures.write_png(tmp_path / "new" / "red.png", red)
    assert (cv2.imread(str(tmp_path / "new" / "red.png"))[0, 0] == [0, 0, 255]).all()


def test_a_picture_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file.png").mkdir()
    with pytest.raises(OSError, match=r"file\.png"):
        pictures.write_png(tmp_path / "file.png", np.zeros((2, 2, 3), np.uint8))
