"""The experiments' bookkeeping with training replaced by its files; a smoke run is marked slow."""

import json

import cv2
import numpy as np
import pytest

from experiments import ablation, hyperparameters, refinement, runs
from focus_jax.photos import refine
from focus_jax.photos.inference import Codes
from tests.training.train_test import load_config, one_device

__all__ = ["one_device"]  # a fixture


@pytest.fixture
def config():
    return load_config("em", "smoke")


@pytest.fixture
def trained(monkeypatch):
    """Every call of the trainer: its workdir, its config, and what the workdir began with."""
    calls = []

    def train(config, workdir, *, masks=True, true_masks=False):
        begun = workdir / "checkpoints" / "from"
        calls.append(
            (workdir, config, masks, true_masks, begun.read_text() if begun.is_file() else "")
        )
        for name in ("checkpoints", "scores"):
            (workdir / name).mkdir(parents=True, exist_ok=True)
        begun.write_text(workdir.name)
        lines = [
            {"step": s, "kind": "evaluation", "occluded/segmenter_f1": s / 100} for s in (8, 18, 27)
        ]
        (workdir / "metrics.jsonl").write_text("\n".join(json.dumps(line) for line in lines))

    monkeypatch.setattr(runs, "train", train)
    monkeypatch.setattr(runs, "load_trained", lambda workdir: calls[-1])

    def score(call):
        """As if a larger area weight were better, and each seed a little."""
        f1 = 0.5 + 0.1 * float(call[1].losses.area) + 0.01 * call[1].seed
        subsets = ("occluded", "heavy", "unoccluded", "mask")
        columns = {"segmenter_f1": f1, "everything_f1": 0.4, "shape": 2.0, "rmse": 9.0}
        means = {subset: {"count": 4, "mean_shape": 3.0, **columns} for subset in subsets}
        return {"validation": means, "test": means}

    monkeypatch.setattr(runs, "score", score)
    return calls


def test_variants_of_a_seed_share_their_beginning(config, trained, tmp_path):
    found = ablation.run(config, tmp_path, [0, 1], misfit_faces=0)
    names = [v.name for v in ablation.variants(config)]
    assert list(found["results"]) == names and len(names) == 9
    began = {
        (w.parent.name, w.name): (source, masks, true) for w, _, masks, true, source in trained
    }
    for seed in ("seed0", "seed1"):
        assert began[seed, "warm-up"] == ("", True, False)
        assert began[seed, "no mask"] == ("warm-up", False, False)
        assert began[seed, "true masks"] == ("warm-up", True, True)
        for name in ("pretrained", "baseline", "neighbour", "perceptual", "full"):
            assert began[seed, name] == ("initialised", True, False)


def test_the_pretrained_variant_trains_the_autoencoder_as_long(config):
    (pretrained,) = [v for v in ablation.variants(config) if v.name == "pretrained"]
    # Two periods of six steps, two of them the segmenter's.
    assert dict(pretrained.fields) == {"schedule.joint": 8, "schedule.segmenter_steps": 0}


def test_a_finished_variant_is_not_trained_again(config, trained, tmp_path):
    first = ablation.run(config, tmp_path, [0], misfit_faces=0, only=("full",))
    count = len(trained)
    assert ablation.run(config, tmp_path, [0], misfit_faces=0, only=("full",)) == first
    assert len(trained) == count


def test_a_third_of_the_photos_chooses_weights():
    kinds = [1 + n % 13 for n in range(156)]  # as many as there are occluders
    validation, test = runs.divided(kinds)
    assert (len(validation), len(test)) == (52, 104) and set(validation) == set(test)
    assert sorted(validation + test) == sorted(kinds)
    assert runs.divided(kinds[:26]) == ([], kinds[:26])


def test_a_copy_that_was_cut_off_is_made_anew(tmp_path):
    for name in ("scores", "checkpoints"):
        (tmp_path / "a" / name).mkdir(parents=True)
        (tmp_path / "a" / name / "file").write_text(name)
    (tmp_path / "b" / "checkpoints.partly").mkdir(parents=True)
    (tmp_path / "b" / "scores").mkdir()
    runs.begin(tmp_path / "a", tmp_path / "b")
    for name in ("scores", "checkpoints"):
        assert (tmp_path / "b" / name / "file").read_text() == name
    assert not list((tmp_path / "b").glob("*.partly"))


def test_area_weights_are_chosen_alike_on_the_first_seed(config, trained, tmp_path):
    found = ablation.run(
        config, tmp_path, [0, 1], misfit_faces=0, areas=(0.5, 1.0), only=("baseline", "full")
    )
    assert found["areas"] == {"baseline": 1.0, "full": 1.0}
    tried = {(workdir.parent.name, workdir.name) for workdir, *_ in trained}
    assert ("seed0", "full, area 0.5") in tried and ("seed1", "full, area 0.5") not in tried
    text = ablation.collect(found, tmp_path, title="test")
    # 0.5 + 0.1 * 1.0 + 0.01 * seed, over seeds 0 and 1.
    assert "| full | - | - | - | 0.605 ± 0.007 |" in text
    assert "everything is face" in text and "| mean face |" in text and "| unoccluded |" in text
    assert (tmp_path / "ablation_segmenter_f1.png").is_file()
    rounds = found["results"]["full"][0]["rounds"]
    assert [r["round"] for r in rounds] == [pytest.approx(3 / 6), pytest.approx(2.0)]
    for result in found["results"]["full"]:  # as of photos, each of which has an occluder
        del result["scores"]["test"]["unoccluded"]
    text = ablation.collect(found, tmp_path, title="test")
    assert "| unoccluded |" not in text and "| heavy |" in text


def test_a_claim_holds_beyond_three_standard_errors():
    def of(**columns):
        return [
            {
                "test": {
                    "occluded": {name: float(v) for name, v in zip(columns, values, strict=True)}
                }
            }
            for values in zip(*columns.values(), strict=True)
        ]

    scores = {
        "full": of(segmenter_f1=(0.8, 0.9), everything_f1=(0.6, 0.7), rmse=(9, 9), shape=(3, 3)),
        "no mask": of(rmse=(8, 9), shape=(3.0, 3.2)),
    }
    text = ablation._claims(scores)
    assert "| learnt masks beat calling everything face, F1 | +0.200 | 0.000 | yes |" in text
    assert "| masks bring colours closer, RMSE | -0.500 | 0.500 | no |" in text
    assert "| masks bring shapes closer, mm | +0.100 | 0.100 | within chance |" in text
    assert "threshold" not in text and "true masks" not in text
    one = {name: theirs[:1] for name, theirs in scores.items()}
    assert "| masks bring shapes closer, mm | +0.000 | nan | one seed |" in ablation._claims(one)


def test_weights_change_one_at_a_time(config, trained, tmp_path):
    found = hyperparameters.run(config, tmp_path, [0], (0.5,))
    for eta in hyperparameters.ETAS:
        assert sorted(found[eta]) == [0.5 * config.losses[eta], config.losses[eta]]
    changed = {}
    for workdir, theirs, *_ in trained:
        changed[workdir.name] = {
            eta for eta in hyperparameters.ETAS if theirs.losses[eta] != config.losses[eta]
        }
    area = 0.5 * config.losses.area
    half, score = f"{area:g}", f"{0.5 + 0.1 * area:.3f}"
    assert changed["full"] == set() and changed[f"area {half}"] == {"area"}
    assert len([name for name in changed if changed[name]]) == 5
    text = hyperparameters.collect(found, tmp_path, title="test")
    assert f"| eta 3, area | {half} | - | - | - | {score} |" in text
    assert (tmp_path / "hyperparameters.svg").stat().st_size > 5000
    with pytest.raises(ValueError, match="negative"):
        hyperparameters.run(config, tmp_path, [0], (-1.0,))


def test_deviation_is_over_seeds():
    assert str(runs.spread([1.0, 3.0])) == "2.000 ± 1.414"
    assert str(runs.spread([1.0])) == "1.000" and np.isnan(runs.spread([1.0]).deviation)


@pytest.mark.slow
def test_a_smoke_ablation_trains_and_collects(config, tmp_path):
    config.data.cache = str(tmp_path / "cache")
    config.schedule.update(warmup=2, initialisation=2, pretraining=2, joint=4, period=4)
    config.schedule.segmenter_steps = 2
    found = ablation.run(config, tmp_path / "runs", [0], misfit_faces=24)
    text = ablation.collect(found, tmp_path / "runs", title="smoke")
    for name in ("no mask", "full + misfit prior", "true masks, cutmix", "paired t-test"):
        assert name in text
    print(text)


def test_the_table_of_refinement(tmp_path, monkeypatch, capsys):
    line = ",".join(str(v) for v in np.random.default_rng(0).uniform(10, 50, 136))
    for name in "abc":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((60, 60, 3), np.uint8))
    names = ("a.png", "b.png", "c.png", "gone.png")
    (tmp_path / "val_landmarks.csv").write_text("".join(f"{n},{line}\n" for n in names))

    def find_codes(model, batch, steps):
        assert batch.image.shape[0] == 2 and steps == 7
        before = refine.Errors(np.array([0.2, 0.1]), np.array([0.02, 0.02]), np.ones(2))
        after = refine.Errors(np.array([0.1, 0.1]), np.array([0.02, 0.005]), np.ones(2))
        return Codes(None, before, after, None)

    monkeypatch.setattr(refinement, "BATCH", 2)
    monkeypatch.setattr(refinement, "find_codes", find_codes)
    assert refinement.main(["none", str(tmp_path), "--steps", "7"]) == 0
    printed = capsys.readouterr()
    assert "skipped gone.png" in printed.err
    # Three faces, the first of each pair improved in colour, the second in its landmarks.
    cells = [cell.strip() for cell in printed.out.strip().splitlines()[-1].split("|")[1:8]]
    assert cells == ["7", "42.50", "25.50", "2 of 3", "20.00", "16.67", "0 of 3"]
    assert refinement.main(["none", str(tmp_path / "no")]) == 1
