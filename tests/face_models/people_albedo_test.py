"""What the albedo of people is derived by: `third_party/people_*.py`."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
FRL, SKINS = (ROOT.parent / "shared" / name for name in ("frl", "people/skins/textures"))
sys.path.insert(0, str(ROOT / "third_party"))

import people_albedo  # noqa: E402
import people_modes  # noqa: E402
import people_photos  # noqa: E402
import people_skin  # noqa: E402

needs_people = pytest.mark.skipif(not FRL.is_dir(), reason="the photos of ../shared/frl are absent")


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def sheet(side=9):
    """A flat mesh of `side` x `side` vertices, all of them skin."""
    y, x = np.mgrid[:side, :side].astype(float)
    points = np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], 1)
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    triangles = np.concatenate(
        [
            np.stack([corner, corner + 1, corner + side], 1),
            np.stack([corner + 1, corner + side + 1, corner + side], 1),
        ]
    )
    mirror = (np.arange(side)[:, None] * side + np.arange(side)[::-1]).ravel()
    nothing = np.zeros(side**2)
    return people_skin.Mesh(
        points, triangles, None, None, points[:, :2], mirror, nothing + np.inf, nothing
    )


def test_spline_goes_through_its_points_and_keeps_straight_lines_straight(rng):
    source = rng.normal(0, 50, (20, 2))
    target = source + rng.normal(0, 5, (20, 2))
    np.testing.assert_allclose(people_photos.spline(source, target, 0)(source), target, atol=1e-6)
    turned = source @ [[0.8, 0.6], [-0.6, 0.8]] + [3, 4]
    points = rng.normal(0, 80, (100, 2))
    wanted = points @ [[0.8, 0.6], [-0.6, 0.8]] + [3, 4]
    np.testing.assert_allclose(people_photos.spline(source, turned)(points), wanted, atol=1e-6)


def test_similar_undoes_a_similarity(rng):
    points = rng.normal(size=(10, 2))
    moved = 3 * points @ [[0.6, 0.8], [-0.8, 0.6]] + [5, -2]
    np.testing.assert_allclose(people_photos.similar(moved, moved, points), points, atol=1e-12)


def test_light_is_found_among_outliers(rng):
    normals = rng.normal(size=(500, 3)) * [1, 1, 0.3] + [0, 0, 1]
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    functions = people_albedo.harmonics(normals)
    assert np.abs(people_albedo.harmonics(np.array([[0.0, 0, 1]]))).max() == 0
    light = rng.normal(0, 0.1, 8)
    values = 0.7 + functions @ light + rng.normal(0, 0.002, 500)
    values[::20] -= 1.0  # specks
    np.testing.assert_allclose(
        people_albedo.fit_light(values, functions, 0), light, rtol=0, atol=0.02
    )


def test_filling_keeps_what_is_known_and_continues_it_evenly():
    mesh = sheet()
    x = mesh.points[:, :1]
    known = (x[:, 0] < 1) | (x[:, 0] > 7)
    filled = people_skin.filling(mesh)(np.where(known[:, None], x, 99.0), known, 0.0)
    np.testing.assert_allclose(filled[known], x[known])
    # Diagonals are longer and count less, on both sides alike: a slope stays a slope.
    np.testing.assert_allclose(filled.mean(), x.mean(), atol=0.05)
    assert (np.diff(filled.reshape(9, 9), axis=1) > 0).all()


def test_tones_reach_from_the_palest_to_the_darkest(rng):
    melanin = np.r_[rng.normal(0, 0.1, 90), rng.normal(-1.0, 0.1, 10)]
    seen = melanin[:, None] * [0.5, 0.8, 1.0] + rng.normal(0, 0.03, (100, 3))
    made = people_modes.tones(seen, rng, 2000)
    light = made.mean(1)
    assert np.isfinite(made).all()
    # Ten of a hundred are dark; of those that are made, about half lie on the darker half.
    middle = (seen.mean(1).min() + seen.mean(1).max()) / 2
    assert 0.35 < (light < middle).mean() < 0.65
    # Darker is browner, as among those seen.
    assert np.corrcoef(light, made[:, 0] - made[:, 2])[0, 1] < -0.8


def test_parts_make_up_a_whole(rng):
    share = people_modes.parts(rng.uniform(-150, 150, (500, 2)))
    np.testing.assert_allclose(share.sum(0), 1)
    assert share.min() >= 0


def test_principal_modes_have_the_rows_variance_and_symmetry(rng, monkeypatch):
    monkeypatch.setattr(people_modes, "MODES", 4)
    mesh = sheet(5)
    basis = rng.normal(size=(25, 3, 2))
    rows = (0.5 + basis @ rng.normal(size=(2, 400))).transpose(2, 0, 1)
    mean, modes, share = people_modes.principal(rows, np.ones(400), np.ones(25), mesh.mirror)
    assert share == pytest.approx(1)
    np.testing.assert_allclose(mean, mean[mesh.mirror], atol=1e-6)
    both = np.concatenate([rows, rows[:, mesh.mirror]])
    np.testing.assert_allclose((modes**2).sum(-1), both.var(0), rtol=1e-3, atol=1e-4)


def test_rounded_modes_are_near_and_small(rng):
    modes = rng.normal(0, 0.02, (300, 3, 5))
    rounded = people_modes.quantised(modes)
    steps = np.abs(modes).max((0, 1)) / 127
    assert (np.abs(rounded - modes) <= 0.52 * steps + 1e-4).all()
    assert max(len(np.unique(rounded[..., k])) for k in range(5)) <= 255


@needs_people
def test_only_training_people_are_read_and_their_points_are_where_they_are_said_to_be():
    people = people_photos.people(FRL)
    with (FRL / "split.csv").open(newline="") as file:
        test = {row["person"] for row in csv.DictReader(file) if row["split"] == "test"}
    assert len(people) == 101
    assert not {person.photo.stem.removesuffix("_03") for person in people} & test
    mean, laid = people_photos.mean_points(
        np.stack([people_photos.read_points(person) for person in people])
    )
    np.testing.assert_allclose(mean[:2], people_photos.PUPILS, atol=0.5)
    centre = mean[[87, 93, 129, people_photos.NOSE_BASE]].mean(0)
    assert abs(centre[0]) < 1e-6
    assert centre[1] > 100  # mouth, chin and nose lie below the eyes
    # Laid over one another, people's eyes lie closer together than their jaws.
    spread = np.sqrt(((laid - mean) ** 2).sum(-1).mean(0))
    assert spread[people_photos.UPPER_LID[0]].max() < 5 < spread[people_photos.JAW].mean()


@needs_people
@pytest.mark.skipif(not SKINS.is_dir(), reason="the skins of ../shared/people are absent")
def test_inputs_are_those_whose_checksums_are_known():
    assert people_photos.digest(sorted(SKINS.glob("*.png"))) == people_albedo.SKINS_SHA256
    files = [FRL / "split.csv", FRL / "london_info.csv"]
    for person in people_photos.people(FRL):
        files += [person.photo, person.photo.with_suffix(".csv")]
    assert people_photos.digest(files) == people_photos.PEOPLE_SHA256
