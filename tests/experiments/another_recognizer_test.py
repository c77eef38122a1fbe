from types import SimpleNamespace

import numpy as np
import pytest

from experiments import another_recognizer
from experiments.another_recognizer import choose_colours, likeness, pairs_of, read_judge


def seen(rng, people=6):
    """Two pictures of each person, who differ in blue alone, of which there is much outside."""
    blue = np.repeat(rng.uniform(0, 0.2, (people, 1, 1)), 2, axis=0)
    image = np.stack([np.full((2 * people, 8, 8), 0.5)] * 2 + [np.tile(blue, (1, 8, 8))], axis=-1)
    image[:, :2] = rng.uniform(0, 1, (2 * people, 2, 8, 3))
    coverage = np.ones((2 * people, 8, 8, 1))
    coverage[:, :2] = 0
    return SimpleNamespace(image=image, coverage=coverage)


def test_colours_are_those_by_which_people_are_told_apart():
    """To a judge that sees in the first channel what people differ in, and signs."""

    def judge(pictures):
        first = pictures[..., 0].mean((1, 2))
        return np.stack([first, np.ones_like(first)], axis=1)

    assert choose_colours(judge, seen(np.random.default_rng(0))).startswith("BGR")


def test_likeness_counts_photos_that_are_nearer_than_a_renderings_own():
    alike = np.array([[0.9, 0.1, 0.3], [0.2, 0.5, 0.4], [0.1, 0.8, 0.2]])
    nearest, nearer, own, others = likeness(alike)
    assert nearest == pytest.approx(1 / 3)  # 0.9 of the first only
    assert nearer == pytest.approx((0 + 1 + 2) / 3)
    assert own == pytest.approx((0.9 + 0.5 + 0.2) / 3)
    assert others == pytest.approx((0.1 + 0.3 + 0.2 + 0.4 + 0.1 + 0.8) / 6)


def test_people_without_a_face_in_both_photos_are_left_out(monkeypatch):
    faces = {"a.jpg": ["a"], "b.jpg": [], "c.jpg": ["c"], "d.jpg": ["d"]}
    monkeypatch.setattr(
        another_recognizer, "read_faces", lambda photo, *_: (None, faces[photo.name])
    )
    people = [
        SimpleNamespace(neutral=one, smiling=two)
        for one, two in (("a.jpg", "b.jpg"), ("c.jpg", "d.jpg"), ("a.jpg", None))
    ]
    assert pairs_of(people, None, 8) == [("c", "d")]


def test_a_judge_is_an_onnx_file_of_pictures(tmp_path):
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT

    def network(*shape):
        given = helper.make_tensor_value_info("x", kind, shape)
        made = helper.make_tensor_value_info("y", kind, None)
        mean = helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)
        graph = helper.make_graph([mean], "mean", [given], [made])
        path = tmp_path / f"{len(shape)}.onnx"
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        model.ir_version = 8
        onnx.save(model, path)
        return path

    pictures = np.random.default_rng(0).uniform(size=(2, 8, 8, 3)).astype(np.float32)
    found = read_judge(network("n", 3, 4, 4))(pictures)
    np.testing.assert_allclose(found, pictures.mean((1, 2)), atol=1e-6)
    with pytest.raises(ValueError, match="one input of pictures"):
        read_judge(network("n", 3, 4, 4, 4))
    (tmp_path / "none.onnx").write_bytes(b"no network")
    with pytest.raises(ValueError, match="no network that onnxruntime can run"):
        read_judge(tmp_path / "none.onnx")
