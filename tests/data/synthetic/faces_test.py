import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax.data.align import crop_transform
from focus_jax.data.occluders.occluder import HIDDEN, OCCLUDERS, canvas_factor, hidden_part
from focus_jax.data.synthetic import faces as synthetic
from focus_jax.data.synthetic import synthesize
from focus_jax.face_models import load_face_model
from focus_jax.rendering import camera, morphable

SIZE = 64


@pytest.fixture(scope="module")
def face_model():
    return load_face_model("builtin")


@pytest.fixture(scope="module")
def records(face_model):
    return list(synthesize(face_model, 64, size=SIZE, seed=3, noise=False))


def test_records_hold_the_whole_truth(face_model, records):
    record = records[0]
    assert record["image"].shape == (SIZE, SIZE, 3) and record["image"].dtype == np.uint8
    assert record["mask"].shape == (SIZE, SIZE) and set(np.unique(record["mask"])) <= {0, 255}
    assert record["landmarks"].shape == (68, 2)
    assert record["neutral"].shape == face_model.shape_mean.shape
    assert [r["filename"] for r in records[:2]] == [
        "synthetic_train_000000",
        "synthetic_train_000001",
    ]


def test_a_record_depends_on_seed_split_and_number_only(face_model, records):
    again = list(synthesize(face_model, 3, size=SIZE, seed=3, noise=False))
    for a, b in zip(records, again, strict=False):
        np.testing.assert_array_equal(a["image"], b["image"])
        np.testing.assert_array_equal(a["mask"], b["mask"])
        np.testing.assert_array_equal(a["landmarks"], b["landmarks"])
    for other in ({"seed": 4}, {"split": "test"}):
        (record,) = synthesize(face_model, 1, size=SIZE, noise=False, **{"seed": 3, **other})
        assert (record["image"] != records[0]["image"]).any()


def test_dense_landmarks_are_those_of_the_face_model(face_model, records):
    """As the landmarks, on which they lie here; unknown where there is no place."""
    assert "dense_landmarks" not in records[0] or face_model.dense_landmark_weights is not None
    places, shares = (
        np.tile(array, (8, 1))[:478]
        for array in (face_model.landmark_vertices, face_model.landmark_weights)
    )
    shares[477] = 0
    model = dataclasses.replace(
        face_model, dense_landmark_vertices=places, dense_landmark_weights=shares
    )
    (record,) = synthesize(model, 1, size=SIZE, seed=3, noise=False)
    dense = record["dense_landmarks"]
    np.testing.assert_allclose(dense[:68], record["landmarks"], atol=1e-3)
    assert np.isnan(dense[477]).all() and np.isfinite(dense[:477]).all()
    np.testing.assert_array_equal(record["image"], records[0]["image"])
    (noisy,) = synthesize(model, 1, size=SIZE, seed=3)
    away = noisy["dense_landmarks"] - dense
    assert 0 < np.nanmean(np.abs(away)) < 0.05 * SIZE


def test_faces_lie_where_the_alignment_puts_them(records):
    for record in records:
        np.testing.assert_allclose(
            crop_transform(record["landmarks"], SIZE), [[1, 0, 0], [0, 1, 0]], atol=0.5
        )
        assert (record["landmarks"] > -0.1 * SIZE).all()
        assert (record["landmarks"] < 1.1 * SIZE).all()


def test_occluders_take_their_share_of_the_mask(records):
    kinds = np.array([r["occluder"] for r in records])
    assert 0.3 < (kinds > 0).mean() < 0.7
    assert len(set(kinds.tolist())) >= len(OCCLUDERS) - 2
    seen = np.array([(r["mask"] > 0).mean() for r in records])
    assert seen[kinds == 0].mean() > seen[kinds > 0].mean() + HIDDEN[0] * seen[kinds == 0].mean()


def test_noise_moves_landmarks_and_nothing_else(face_model, records):
    noisy = list(synthesize(face_model, 32, size=SIZE, seed=3, noise=True))
    moved = np.stack(
        [a["landmarks"] - b["landmarks"] for a, b in zip(noisy, records, strict=False)]
    )
    eyes = np.linalg.norm(
        np.stack([r["landmarks"][45] - r["landmarks"][36] for r in records]), axis=1
    )
    relative = moved / eyes[:32, None, None]
    clear = [i for i in range(32) if records[i]["occluder"] == 0]
    np.testing.assert_allclose(relative[clear, 17:].std(), 0.015, rtol=0.15)
    np.testing.assert_allclose(relative[clear, :17].std(), 0.025, rtol=0.15)
    np.testing.assert_array_equal(noisy[0]["mask"], records[0]["mask"])


def test_coefficients_make_the_face(face_model):
    few = load_face_model("builtin", identity=5, expression=4, albedo=3)
    made = list(synthesize(few, 3, size=SIZE, seed=0, occluded=0.0, coefficients=True))
    codes = np.stack([r["coefficients"] for r in made])
    assert codes.shape == (3, 12) and codes.std() > 0.3
    shapes = morphable.vertices(few, codes[:, :5], np.zeros((3, 0), np.float32))
    np.testing.assert_allclose([r["neutral"] for r in made], shapes, atol=1e-3)
    plain = next(synthesize(few, 1, size=SIZE, seed=0, occluded=0.0))
    assert made[0].keys() - plain.keys() == {"coefficients"}
    np.testing.assert_array_equal(made[0]["image"], plain["image"])


def test_none_or_all_can_be_occluded(face_model):
    none = synthesize(face_model, 6, size=SIZE, seed=0, occluded=0.0)
    assert all(r["occluder"] == 0 for r in none)
    every = synthesize(face_model, 6, size=SIZE, seed=0, occluded=1.0)
    assert all(r["occluder"] > 0 for r in every)


@pytest.fixture(scope="module")
def painted(face_model):
    """Records with all faces occluded, each with the layer painted on it and the face's region."""
    seen, paint = [], synthetic.paint_occluder

    def spy(scene, kind, region, rng):
        layer = paint(scene, kind, region, rng)
        seen.append((scene.landmarks, kind, layer, region))
        return layer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "paint_occluder", spy)
        made = list(synthesize(face_model, 96, size=SIZE, seed=5, occluded=1.0, noise=False))
    # Threads paint in any order; the landmarks on the canvas tell whose layer it is.
    places = (np.array([p[0] for p in seen]) + 0.5) / canvas_factor(SIZE) - 0.5
    nearest = [np.abs(places - r["landmarks"]).sum((1, 2)).argmin() for r in made]
    assert len(set(nearest)) == len(made)
    return [(record, *seen[k][1:]) for record, k in zip(made, nearest, strict=True)]


def _share(plane):
    factor = canvas_factor(SIZE)
    return plane.reshape(SIZE, factor, SIZE, factor).mean((1, 3))


def test_the_mask_is_the_face_without_what_is_before_it(painted):
    for record, _, layer, region in painted:
        face = record["mask"] > 0
        assert not face[_share(region) < 0.5].any()
        assert not face[_share(layer.alpha > 0.5) > 0.5].any()
        bare = _share((region > 0.5) & (layer.alpha <= 0.5))
        assert face[bare > 0.51].all()


def test_every_kind_occurs_and_hides_within_bounds(painted):
    assert {record["occluder"] for record, *_ in painted} == set(range(1, len(OCCLUDERS)))
    for record, kind, layer, region in painted:
        assert OCCLUDERS[record["occluder"]] == kind
        assert HIDDEN[0] <= hidden_part(layer.alpha, region) <= HIDDEN[1]


def test_pose_and_neutral_shape_explain_the_landmarks(face_model, records):
    """The bridge of the nose hardly moves with the expression."""
    for record in records[:8]:
        points = morphable.landmarks(face_model, jnp.asarray(record["neutral"]))
        matrix = camera.intrinsics(SIZE, SIZE)
        screen = camera.project(points, *camera.extrinsics(jnp.asarray(record["pose"])), matrix)
        off = np.abs(np.asarray(screen)[27:31, :2] - record["landmarks"][27:31])
        assert off.max() < 0.03 * SIZE


def test_a_detector_errs_most_where_it_guesses(face_model, painted):
    noisy = synthesize(face_model, len(painted), size=SIZE, seed=5, occluded=1.0)
    hidden = []
    for record, (exact, _, layer, _) in zip(noisy, painted, strict=True):
        eyes = np.linalg.norm(exact["landmarks"][45] - exact["landmarks"][36])
        x, y = np.clip(exact["landmarks"].round().astype(int), 0, SIZE - 1).T
        under = _share(layer.alpha)[y, x] > 0.9  # well inside
        hidden.append((record["landmarks"] - exact["landmarks"])[under] / eyes)
    spread = np.concatenate(hidden).std()
    np.testing.assert_allclose(spread, synthetic.NOISE_HIDDEN, rtol=0.1)
