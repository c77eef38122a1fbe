"""What the reports look at: photos and renderings in the same colours."""

import json
from pathlib import Path

import numpy as np
import skimage.data

from experiments import shipped_report
from experiments.outlined_report import CASTS, cast, hidden
from focus_jax.data.faces import align_faces
from focus_jax.data.landmarks import Detection
from focus_jax.photos.trained import load_model

LANDMARKS = Path(__file__).parents[1] / "astronaut_landmarks.json"


def test_renderings_are_in_the_colours_that_the_segmenter_sees(monkeypatch):
    """Of a photo whose cast is taken off, too: there the mask missed most of the face."""
    monkeypatch.setattr(shipped_report, "BATCH", 2)
    model = load_model("shipped")
    points = np.array(json.loads(LANDMARKS.read_text()))
    found = [Detection(points, 1.0, "test")]
    (face,) = align_faces(skimage.data.astronaut(), found, model.record_size)
    grey = face._replace(crop=cast(face.crop, "grey"))
    assert (grey.crop == grey.crop[..., :1]).all() and CASTS["grey"] is None
    seen = shipped_report.look(model, [face, grey], 0)
    plain, other = (
        (image * mask).sum((0, 1)) / (drawn * mask).sum((0, 1))
        for image, drawn, mask in zip(seen.image, seen.rendering, seen.mask, strict=True)
    )
    np.testing.assert_allclose(other / other.mean(), plain / plain.mean(), atol=0.15)
    assert np.ptp(hidden(seen)) < 0.05


def test_what_is_kept_between_landmarks():
    points = np.zeros((2, 68, 2))
    points[:, :4] = [[2, 2], [2, 6], [6, 6], [6, 2]]
    points[:, 4:] = [4, 4]
    hull = shipped_report.between(points, 10)
    assert hull.shape == (2, 10, 10, 1) and (hull.sum((1, 2, 3)) == 25).all()
    assert (hull[:, 2:7, 2:7] == 1).all()
    mask = np.where(np.arange(10) < 4, 0.9, 0.1)[None, None, :, None] * np.ones((2, 10, 1, 1))
    assert shipped_report.kept_of(mask, hull) == 0.4
