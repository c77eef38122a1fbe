from pathlib import Path

import numpy as np
import pytest

from focus_jax.evaluation import pseudo_scans
from focus_jax.evaluation.scan_pictures import outer_vertices
from focus_jax.face_models import BUILTIN, load_face_model

SHARED = Path(__file__).parents[3] / "shared"
ICT = SHARED / "face_models" / "ict_facekit_light_face_head_eyes.npz"
SKINS = SHARED / "people" / "skins" / "textures"


@pytest.fixture(scope="module")
def drawn():
    if not ICT.is_file() or not SKINS.is_dir():
        pytest.skip("ICT-FaceKit and the skins are not at ../shared")
    return pseudo_scans.draw_people(ICT, SKINS, 3, seed=1)


def test_everybody_is_different(drawn):
    assert [d.scan.name for d in drawn] == ["000", "001", "002"]
    for other in ("vertices", "colours"):
        a, b = (getattr(d.scan, other) for d in drawn[:2])
        assert np.abs(a - b).mean() > 0.01
    assert not np.allclose(drawn[0].pose, drawn[1].pose)
    assert not np.allclose(drawn[0].light, drawn[1].light)


def test_heads_are_of_human_size_and_colour(drawn):
    for person in drawn:
        outer_eyes = np.linalg.norm(person.scan.landmarks[0] - person.scan.landmarks[3])
        assert 75 < outer_eyes < 110
        face = person.scan.vertices[:, 2] > 0
        red, _, blue = np.median(person.scan.colours[face], axis=0)
        assert 0.05 < red < 1 and red > blue


def test_inner_vertices_are_no_part_of_the_scan(drawn):
    scan = drawn[0].scan
    outer = outer_vertices(scan)
    assert 0.3 * len(scan.vertices) < len(outer) < 0.95 * len(scan.vertices)


def test_what_is_no_ict_is_refused(tmp_path):
    if not SKINS.is_dir():
        pytest.skip("the skins are not at ../shared")
    with pytest.raises(ValueError, match="is not ICT-FaceKit"):
        pseudo_scans.coloured_heads(BUILTIN, SKINS)
    with pytest.raises(ValueError, match="does not exist"):
        pseudo_scans.coloured_heads(tmp_path / "no.npz", SKINS)


def test_eyes_keep_the_built_in_colours():
    skins = sorted(SKINS.glob("*_diffuse*.png"))
    if not skins:
        pytest.skip("the skins are not at ../shared")
    builtin = load_face_model("builtin")
    colours = pseudo_scans.skin_colours(skins[0], builtin)
    eyes = np.asarray(builtin.region) == 1
    np.testing.assert_allclose(colours[eyes], builtin.albedo_mean[eyes])
    assert np.abs(colours[~eyes] - builtin.albedo_mean[~eyes]).mean() > 0.02
