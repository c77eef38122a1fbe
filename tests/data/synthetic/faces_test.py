import dataclasses

import numpy as np
import pytest

from focus_jax.data.align import crop_transform
from focus_jax.data.occluders.occluder import OCCLUDERS
from focus_jax.data.synthetic import faces, synthesize
from focus_jax.face_models import load_face_model
from focus_jax.rendering import camera, morphable

SIZE = 64


@pytest.fixture(scope="module")
def face_model():
    return load_face_model("builtin")


@pytest.fixture(scope="module")
def records(face_model):
    return list(synthesize(face_model, 64, size=SIZE, seed=3, noise=False, truths=True))


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
    plain = next(synthesize(face_model, 1, size=SIZE, seed=3, noise=False))
    assert record.keys() - plain.keys() == {"labels", "light", "vertices", "depth", "normals"}


def test_a_record_depends_on_seed_split_and_number_only(face_model, records):
    again = list(synthesize(face_model, 3, size=SIZE, seed=3, noise=False, truths=True))
    for a, b in zip(records, again, strict=False):
        for name in a.keys() - {"filename"}:
            np.testing.assert_array_equal(a[name], b[name])
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


def test_heads_turn_as_far_as_heads_do(face_model):
    rng = np.random.default_rng(0)
    angles = np.rad2deg([faces.draw(face_model, rng).angles for _ in range(1000)])
    assert (np.abs(angles).max(axis=0) > [35, 75, 25]).all()
    assert (np.abs(angles).max(axis=0) <= [40 + 1e-9, 80 + 1e-9, 30 + 1e-9]).all()
    assert (np.median(np.abs(angles), axis=0) < [8, 18, 8]).all()


def test_the_mask_is_what_the_labels_call_face(records):
    for record in records:
        assert set(np.unique(record["labels"])) <= {0, 1, 2, 3}
        np.testing.assert_array_equal(record["mask"] == 255, record["labels"] == 1)
    there = np.array([[(r["labels"] == k).any() for k in range(4)] for r in records])
    assert there[:, :2].all() and (there[:, 2:].mean(axis=0) > 0.2).all()


def test_vertices_landmarks_and_depth_are_of_one_face(face_model, records):
    """Where the mask shows the face, what is nearest lies as deep as the face does."""
    errors = []
    for record in records:
        corners, weights = face_model.landmark_vertices, face_model.landmark_weights
        points = np.einsum("lkc,lk->lc", record["vertices"][corners], weights)
        np.testing.assert_allclose(points[:, :2], record["landmarks"], atol=0.05)
        x, y = points[[27, 28, 29, 30, 33, 51]][:, :2].round().astype(int).T
        seen = (np.minimum(x, y) >= 1) & (np.maximum(x, y) < SIZE - 1)
        seen[seen] = record["mask"][y[seen], x[seen]] == 255
        deep = points[[27, 28, 29, 30, 33, 51], 2][seen]
        errors += list(record["depth"][y[seen], x[seen]] - deep)
    assert len(errors) > 200
    # A pixel is 3 mm wide, and noses of turned heads hide themselves.
    assert np.median(np.abs(errors)) < 2 and np.mean(np.array(errors) > 5) < 0.01


def test_depth_and_normals_are_those_of_surfaces(records):
    for record in records[:8]:
        face = record["mask"] == 255
        lengths = np.linalg.norm(record["normals"][face], axis=-1)
        assert (np.abs(lengths - 1) < 1e-3).mean() > 0.98
        assert (record["normals"][face][:, 2] < 0.3).mean() > 0.98
        assert (record["depth"][face] > 100).mean() > 0.98


def test_pose_and_neutral_shape_explain_the_landmarks(face_model, records):
    """The bridge of the nose hardly moves with the expression; lenses differ a little."""
    off = []
    for record in records:
        points = morphable.landmarks(face_model, record["neutral"])
        matrix = camera.intrinsics(SIZE, SIZE)
        screen = camera.project(points, *camera.extrinsics(record["pose"]), matrix)
        off.append(np.abs(np.asarray(screen)[27:31, :2] - record["landmarks"][27:31]).max())
    assert np.median(off) < 0.02 * SIZE and max(off) < 0.12 * SIZE


def test_coefficients_make_the_face():
    few = load_face_model("builtin", identity=5, expression=4, albedo=3)
    made = list(synthesize(few, 3, size=SIZE, seed=0, occluded=0.0, coefficients=True))
    codes = np.stack([r["coefficients"] for r in made])
    assert codes.shape == (3, 12) and codes.std() > 0.3
    shapes = morphable.vertices(few, codes[:, :5], np.zeros((3, 0), np.float32))
    np.testing.assert_allclose([r["neutral"] for r in made], shapes, atol=1e-3)
    plain = next(synthesize(few, 1, size=SIZE, seed=0, occluded=0.0))
    assert made[0].keys() - plain.keys() == {"coefficients"}
    np.testing.assert_array_equal(made[0]["image"], plain["image"])


def test_none_some_or_all_can_be_occluded(face_model, records):
    kinds = np.array([r["occluder"] for r in records])
    assert 0.3 < (kinds > 0).mean() < 0.7
    assert len(set(kinds.tolist())) >= len(OCCLUDERS) - 6
    none = synthesize(face_model, 6, size=SIZE, seed=0, occluded=0.0)
    assert all(r["occluder"] == 0 for r in none)
    every = synthesize(face_model, 6, size=SIZE, seed=0, occluded=1.0)
    assert all(r["occluder"] > 0 for r in every)


def test_noise_moves_landmarks_and_nothing_else(face_model, records):
    noisy = list(synthesize(face_model, 64, size=SIZE, seed=3, noise=True))
    moved, hidden = [], []
    for exact, record in zip(records, noisy, strict=True):
        np.testing.assert_array_equal(exact["mask"], record["mask"])
        eyes = exact["landmarks"][[36, 45, 27, 8]]
        scale = max(np.linalg.norm(eyes[1] - eyes[0]), np.linalg.norm(eyes[3] - eyes[2]) / 1.25)
        moved.append((record["landmarks"] - exact["landmarks"]) / scale)
        x, y = np.clip(exact["landmarks"].round().astype(int), 0, SIZE - 1).T
        hidden.append(exact["labels"][y, x] >= 2)
    moved, hidden = np.stack(moved), np.stack(hidden)
    jaw = np.arange(68) < 17
    np.testing.assert_allclose(moved[~hidden & ~jaw].std(), faces.NOISE[20], rtol=0.1)
    np.testing.assert_allclose(moved[~hidden & jaw].std(), faces.NOISE[0], rtol=0.1)
    np.testing.assert_allclose(moved[hidden].std(), faces.NOISE_HIDDEN, rtol=0.25)
    # What is hidden of a face errs by one step, mostly.
    guessed = [m[h] for m, h in zip(moved, hidden, strict=True) if h.sum() >= 8]
    together = sum((m.mean(0) ** 2).sum() for m in guessed) / sum(
        (m**2).mean(0).sum() for m in guessed
    )
    assert len(guessed) > 8 and abs(together - faces.TOGETHER) < 0.2
    # The same errors stand beside exact landmarks, for those who look through a detector's.
    found = np.stack([record["found_landmarks"] for record in records])
    np.testing.assert_array_equal(found, np.stack([record["landmarks"] for record in noisy]))
    assert "found_landmarks" not in noisy[0]


def test_face_models_without_regions_have_faces_too(face_model):
    plain = face_model.replace(region=np.zeros_like(face_model.region))
    record = next(synthesize(plain, 1, size=SIZE, seed=0))
    assert (record["mask"] > 0).mean() > 0.1
