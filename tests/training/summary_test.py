"""The page that a run ends with says whether the method kept what it promises."""

from ml_collections import ConfigDict

from focus_jax.training.summary import write_summary

EVERYTHING = {"everything_f1": 0.8, "everything_iou": 0.7}


def scores(**changes):
    own = {
        **EVERYTHING,
        **{"segmenter_f1": 0.9, "segmenter_iou": 0.8, "rmse": 20.0, "nme": 4.0, "shape": 2.5},
        "mean_shape": 3.0,
        **changes,
    }
    hand = {**own, "count": 7, "segmenter_f1": 0.79}
    glasses = {**own, "count": 5}
    return {"joint": {"occluded": own, "unoccluded": own, "hand": hand, "glasses": glasses}}


def claims(tmp_path, *pages):
    text = write_summary(ConfigDict({"name": "em"}), tmp_path, *pages)
    return dict(line[2:].split(": ", 1) for line in text.splitlines() if line.startswith("- "))


def test_each_claim_has_its_verdict_and_by_how_much(tmp_path):
    found = claims(tmp_path, scores(), scores(rmse=22.5, shape=2.48))
    assert found == {
        "Masks find what hides a face": "holds, by +0.100 in F1 over calling all of it face.",
        "So they do for every kind of occluder": "does not hold, by -0.010 for hand, the least.",
        "Masks bring colours closer": "holds, by +2.50 grey levels against no masks.",
        "Masks bring shapes closer": "does not hold, by -0.020 mm against no masks.",
        "Shapes are of who is seen": "holds, by +0.500 mm against the mean face.",
    }


def test_what_was_not_measured_is_not_claimed(tmp_path):
    assert not [name for name in claims(tmp_path, scores(), None) if "closer" in name]
    assert not claims(tmp_path, {"joint": {"all": {"rmse": 20.0, "nme": 4.0}}}, None)


def test_each_row_says_what_it_shows(tmp_path):
    text = write_summary(ConfigDict({"name": "em"}), tmp_path, scores(), scores())
    for label, shown in (("FOCUS", "the whole method"), ("mean face", "what seeing no photo")):
        assert any(label in row and shown in row for row in text.splitlines())


def test_a_run_without_a_joint_stage_has_a_page(tmp_path):
    text = write_summary(ConfigDict({"name": "em"}), tmp_path, {"initialisation": {}}, None)
    assert "no joint stage" in text and (tmp_path / "summary.md").read_text() == text
