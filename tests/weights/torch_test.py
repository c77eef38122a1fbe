"""Other people's networks against the numbers that their own code gives.

`python -m pytest -rP -m "" -k parity tests/weights/torch_test.py` prints the largest difference of
each network.
"""

import argparse
import collections
import datetime
import os
import pathlib
import pickle
import sys
import zlib

import jax
import numpy as np
import pytest
import reference
import torch_files
from torch_files import Call, zip_checkpoint

from focus_jax import weights
from focus_jax.commands import weights as command
from focus_jax.networks import encoder, recognizer, segmenter
from focus_jax.weights.torch import (
    RELEASE_OUTPUTS,
    convert,
    convert_back,
    read,
    read_checkpoint,
)

TOLERANCE = 1e-3  # relative, of the reference README; the differences seen are below 1e-5


def weight(name: str, shape: list[int]) -> np.ndarray:
    """The formula of the reference README, so that no weight file is needed."""
    random = np.random.RandomState(zlib.crc32(("public" + name).encode()))
    if name.endswith("num_batches_tracked"):
        return np.zeros((), np.int64)
    if name.endswith("running_var"):
        value = 1 + 0.2 * random.rand(*shape)
    elif name.endswith("running_mean"):
        value = 0.1 * random.randn(*shape)
    elif len(shape) >= 2:
        value = random.randn(*shape) * np.sqrt(1.6 / np.prod(shape[1:]))
    elif name.endswith("weight"):
        value = 1 + 0.1 * random.randn(*shape)
    else:
        value = 0.05 * random.randn(*shape)
    return (value * (0.25 if "prelu" in name else 1)).astype(np.float32)


@pytest.fixture(scope="module")
def networks():
    arrays = reference.load("networks")
    spec = reference.numbers(arrays["spec"])
    states = {
        name: {key: weight(key, shape) for key, shape in shapes.items()}
        for name, shapes in spec.items()
    }
    return arrays, states


def compare(what, found, expected):
    difference = np.max(np.abs(np.asarray(found) - expected)) / np.max(np.abs(expected))
    print(f"{what}: largest difference {difference:.1e} of the largest value")
    assert difference < TOLERANCE


def assert_same(state, expected):
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name], value, err_msg=name)


# --- parity with the release -------------------------------------------------------------------


def test_parity_of_the_encoder(networks):
    arrays, states = networks
    variables = convert(states["encoder"], "encoder", outputs=531)
    image = np.random.RandomState(6).rand(2, 3, 224, 224).astype(np.float32).transpose(0, 2, 3, 1)
    found = jax.jit(encoder.Encoder(531).apply)(variables, image)
    compare("the authors' encoder", found, arrays["encoder_output"])
    assert_same(convert_back(variables, "encoder"), states["encoder"])
    # The 257 outputs that are used are those columns.
    used = convert(states["encoder"], "encoder")["params"]["fc"]
    np.testing.assert_array_equal(
        used["kernel"], variables["params"]["fc"]["kernel"][:, RELEASE_OUTPUTS]
    )
    assert len(RELEASE_OUTPUTS) == 80 + 64 + 80 + 6 + 27


def test_parity_of_the_segmenter(networks):
    arrays, states = networks
    variables = convert(states["unet"], "segmenter")
    both = arrays["unet_input"].transpose(0, 2, 3, 1)
    logits = jax.jit(segmenter.Segmenter().apply)(variables, both[..., :3], both[..., 3:])
    mask = segmenter.mask_from_logits(logits)
    compare("the authors' U-Net", mask, arrays["unet_output"].transpose(0, 2, 3, 1))
    assert_same(convert_back(variables, "segmenter"), states["unet"])


def test_parity_of_arcface(networks):
    arrays, states = networks
    variables = convert(states["arcface"], "arcface")
    chips = (arrays["arcface_input"].transpose(0, 2, 3, 1) + 1) / 2  # the reference is in [-1, 1]
    found = jax.jit(lambda v, x: recognizer.features(v, x, kind="arcface_r50"))(variables, chips)
    compare("iResNet-50, deep", found.deep, arrays["arcface_output"])
    expected = arrays["arcface_shallow"].transpose(0, 2, 3, 1)
    compare("iResNet-50, shallow", found.shallow[..., ::8], expected)
    assert_same(convert_back(variables, "arcface"), states["arcface"])


def deeper_shapes(state):
    """Names and shapes of iResNet-100: those of the shallower one, with more blocks a stage."""
    shapes = {k: v.shape for k, v in state.items()}
    deeper = {k: v for k, v in shapes.items() if not k.startswith("layer")}
    for stage, blocks in enumerate((3, 13, 30, 3), start=1):
        first, second = f"layer{stage}.0.", f"layer{stage}.1."
        deeper |= {k: v for k, v in shapes.items() if k.startswith(first)}
        inner = {k.removeprefix(second): v for k, v in shapes.items() if k.startswith(second)}
        for block in range(1, blocks):
            deeper |= {f"layer{stage}.{block}.{k}": v for k, v in inner.items()}
    return deeper


def test_arcface_of_100_layers(networks):
    state = {
        name: np.broadcast_to(np.float32(number), shape)
        for number, (name, shape) in enumerate(deeper_shapes(networks[1]["arcface"]).items())
    }
    variables = convert(state, "arcface")
    expected = recognizer.ARCFACE["arcface_r100"].init
    like = jax.eval_shape(expected, jax.random.key(0), np.zeros((1, 112, 112, 3), np.float32))
    assert jax.tree.map(np.shape, variables) == jax.tree.map(lambda x: x.shape, like)
    back = convert_back(variables, "arcface")
    assert back.keys() == state.keys()
    for name, value in state.items():
        if not name.endswith("num_batches_tracked"):
            assert back[name].shape == value.shape and (back[name] == value.flat[0]).all(), name


class InPyTorch:
    """The two residual networks by PyTorch's functions, in double precision, from a state dict."""

    def __init__(self, state):
        self.torch = pytest.importorskip("torch", reason="PyTorch, to compare with, is missing")
        self.state = {k: self.torch.from_numpy(np.asarray(v)).double() for k, v in state.items()}
        self.f = self.torch.nn.functional

    def norm(self, x, name):
        mean, var, weight, bias = (
            self.state[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")
        )
        return self.f.batch_norm(x, mean, var, weight, bias, eps=1e-5)

    def conv(self, x, name, stride=1):
        kernel = self.state[f"{name}.weight"]
        return self.f.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)

    def slope(self, x, name):
        return self.f.prelu(x, self.state[f"{name}.weight"])

    def shortcut(self, x, name, stride):
        if f"{name}.downsample.0.weight" not in self.state:
            return x
        return self.norm(self.conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")

    def blocks(self):
        """Name of each block, its stage and its place in it."""
        for stage in range(1, 5):
            block = 0
            while f"layer{stage}.{block}.conv1.weight" in self.state:
                yield f"layer{stage}.{block}", stage, block
                block += 1

    def dense(self, x):
        return self.f.linear(x, self.state["fc.weight"], self.state["fc.bias"])

    def iresnet(self, chips):
        x = self.torch.from_numpy(np.moveaxis(2 * chips - 1, -1, 1)).double()
        x = self.slope(self.norm(self.conv(x, "conv1"), "bn1"), "prelu")
        for name, _, block in self.blocks():
            stride = 2 if block == 0 else 1
            y = self.conv(self.norm(x, f"{name}.bn1"), f"{name}.conv1")
            y = self.slope(self.norm(y, f"{name}.bn2"), f"{name}.prelu")
            y = self.norm(self.conv(y, f"{name}.conv2", stride), f"{name}.bn3")
            x = y + self.shortcut(x, name, stride)
        return self.norm(self.dense(self.norm(x, "bn2").flatten(1)), "features").numpy()

    def resnet50(self, images):
        x = self.torch.from_numpy(np.moveaxis(images, -1, 1)).double()
        x = self.norm(self.conv(x, "conv1", 2), "bn1").relu()
        x = self.f.max_pool2d(x, 3, 2, 1)
        for name, stage, block in self.blocks():
            stride = 2 if block == 0 and stage > 1 else 1
            y = self.norm(self.conv(x, f"{name}.conv1"), f"{name}.bn1").relu()
            y = self.norm(self.conv(y, f"{name}.conv2", stride), f"{name}.bn2").relu()
            y = self.norm(self.conv(y, f"{name}.conv3"), f"{name}.bn3")
            x = (y + self.shortcut(x, name, stride)).relu()
        return self.dense(x.mean((2, 3))).numpy()


@pytest.mark.slow
def test_parity_of_arcface_of_100_layers(networks):
    arrays, states = networks
    state = {k: weight(k, list(v)) for k, v in deeper_shapes(states["arcface"]).items()}
    variables = convert(state, "arcface")
    chips = (arrays["arcface_input"].transpose(0, 2, 3, 1) + 1) / 2
    found = jax.jit(lambda v, x: recognizer.features(v, x, kind="arcface_r100"))(variables, chips)
    compare("iResNet-100, deep", found.deep, InPyTorch(state).iresnet(chips))
    assert_same(convert_back(variables, "arcface"), state)
    # What is compared with is right: it gives the reference's numbers for the shallower network.
    expected = InPyTorch(states["arcface"]).iresnet(chips)
    compare("iResNet-50, PyTorch's functions", expected, arrays["arcface_output"])


@pytest.mark.slow
def test_parity_of_the_image_classifier(networks):
    """torchvision's ResNet-50, with its thousand classes."""
    shapes = {k: list(v.shape) for k, v in networks[1]["encoder"].items()}
    shapes |= {"fc.weight": [1000, 2048], "fc.bias": [1000]}
    state = {k: weight(k, v) for k, v in shapes.items()}
    variables = convert(state, "encoder", outputs=1000)
    image = np.random.RandomState(7).rand(1, 224, 224, 3).astype(np.float32)
    found = jax.jit(encoder.Encoder(1000).apply)(variables, image)
    compare("torchvision's ResNet-50", found, InPyTorch(state).resnet50(image))
    assert_same(convert_back(variables, "encoder"), state)


# --- what fits and what does not -----------------------------------------------------------------


@pytest.fixture(scope="module")
def narrow():
    """A state dict of a narrow U-Net."""
    module = segmenter.Segmenter(width=2)
    images = [np.zeros((1, 16, 16, 3), np.float32)] * 2
    shapes = jax.eval_shape(module.init, jax.random.key(0), *images)
    random = np.random.default_rng(0)
    filled = jax.tree.map(lambda s: random.random(s.shape, dtype=np.float32), shapes)
    return convert_back(filled, "segmenter")


def test_all_problems_are_listed_at_once(narrow):
    state = dict(narrow)
    state["extra.weight"] = np.zeros(3)
    state["Up2.up.1.bias"] = np.zeros(5)
    del state["Conv.bias"]
    with pytest.raises(ValueError) as caught:
        convert(state, "segmenter")
    message = str(caught.value)
    for part in ("unknown: extra.weight", "missing: Conv.bias", "Up2.up.1.bias: (5,), not (2,)"):
        assert part in message


def test_half_precision_widens(narrow):
    halves = {f"module.{k}": v.astype(np.float16) for k, v in narrow.items()}
    variables = convert(halves, "segmenter")
    assert {x.dtype for x in jax.tree.leaves(variables)} == {np.dtype(np.float32)}


def test_width_of_the_last_layer(networks):
    state = networks[1]["encoder"]
    rng = np.random.default_rng(0)
    thousand = {
        **state,
        "fc.weight": rng.random((1000, 2048), dtype=np.float32),
        "fc.bias": rng.random(1000, dtype=np.float32),
    }
    # torchvision's classifier says nothing of faces: the last layer begins at zero.
    classifier = convert(thousand, "encoder")["params"]["fc"]
    assert classifier["kernel"].shape == (2048, 257) and not classifier["kernel"].any()
    # The authors' files have 1000 outputs too, of which 531 are used.
    released = convert({f"vgg.{k}": v for k, v in thousand.items()}, "encoder")["params"]["fc"]
    np.testing.assert_array_equal(released["bias"], thousand["fc.bias"][RELEASE_OUTPUTS])
    other = convert(state, "encoder", outputs=107)["params"]["fc"]
    assert other["kernel"].shape == (2048, 107) and not other["kernel"].any()


def test_refusals(narrow):
    with pytest.raises(ValueError, match="not 'unet'"):
        convert(narrow, "unet")
    with pytest.raises(ValueError, match="a choice for the encoder"):
        convert(narrow, "segmenter", outputs=3)


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("function", "arguments"),
    [(os.system, "touch {}"), (exec, "open({!r}, 'w')"), (open, "{}"), (getattr, "{}")],
)
def test_no_code_of_a_file_is_run(tmp_path, zipped, function, arguments):
    touched, path = tmp_path / "touched", tmp_path / "evil.pt"
    text = arguments.format(str(touched))
    call = Call(function, text, "w") if function is open else Call(function, text)
    if zipped:
        zip_checkpoint(path, pickle.dumps({"x": call}, protocol=2))
    else:
        parts = (0x1950A86A20F9469CFC6C, 1001, {}, {"x": call}, [])
        path.write_bytes(b"".join(pickle.dumps(x, protocol=2) for x in parts))
    with pytest.raises(ValueError, match=r"holds no named tensors; 'x' was to be made by \w+\."):
        read_checkpoint(path)
    assert not touched.exists()


class Settings:
    """Of a class that is not there when the file is read."""

    def __init__(self):
        self.rate = 0.1


@pytest.mark.parametrize("zipped", [True, False])
def test_what_people_save_beside_tensors_is_passed_over(tmp_path, stand_in, zipped):
    weights_of = {"w": stand_in.tensor(0, (2, 3), (3, 1))}
    beside = {
        "epoch": np.float64(3.5),
        "best": np.int64(4),
        "mean": np.arange(3.0),
        "names": np.array(["a", None], object),
        "raw": b"\x00\xff",
        "rate": collections.defaultdict(list, a=[1]),
        "path": pathlib.Path("/runs/1"),
        "part": slice(0, 3),
        "numbers": range(5),
        "when": datetime.datetime(2024, 1, 1),
        "settings": Settings(),
        "arguments": argparse.Namespace(lr=0.1),
        "loss": stand_in.tensor(0, (), ()),
        "evil": Call(os.system, "false"),
    }
    for content in (
        {**beside, "state_dict": weights_of},
        {"state_dict": {**weights_of, "_extra_state": beside["settings"]}, **beside},
        {"outer": {**beside, "model": weights_of}},
    ):
        stand_in.write(tmp_path / "a.pt", content, zipped=zipped)
        found = read_checkpoint(tmp_path / "a.pt")
        assert list(found) == ["w"]
        np.testing.assert_array_equal(found["w"], np.arange(6).reshape(2, 3))


def test_a_state_dict_of_arrays(tmp_path, stand_in):
    content = {"state_dict": {"w": np.arange(6.0).reshape(2, 3)}, "epoch": np.float64(2)}
    stand_in.write(tmp_path / "a.pt", content, zipped=True)
    assert_same(read_checkpoint(tmp_path / "a.pt"), {"w": np.arange(6.0).reshape(2, 3)})


def test_no_tensor_depends_on_what_is_not_run(tmp_path, stand_in):
    def write(content):
        stand_in.write(tmp_path / "a.pt", content, zipped=True)
        return read_checkpoint(tmp_path / "a.pt")

    evil, good = Call(os.system, "false"), stand_in.tensor(0, (1,), (1,))
    for wrong in (stand_in.tensor(evil, (1,), (1,)), stand_in.tensor(0, (evil,), (1,))):
        with pytest.raises(ValueError, match=r"a\.pt: refused: a tensor depends on \w+\.system"):
            write({"w": wrong})
    rebuild = sys.modules["torch._utils"]
    rebuild._rebuild_qtensor = lambda: None
    rebuild._rebuild_qtensor.__module__ = "torch._utils"
    rebuild._rebuild_qtensor.__qualname__ = "_rebuild_qtensor"
    with pytest.raises(ValueError, match=r"'q' is of a kind .*: torch\._utils\._rebuild_qtensor"):
        write({"w": good, "q": Call(rebuild._rebuild_qtensor, 1)})


@pytest.fixture
def stand_in():
    with torch_files.stand_in() as writer:
        yield writer


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_without_pytorch(tmp_path, stand_in, zipped):
    tensor = stand_in.tensor

    def write(content):
        stand_in.write(tmp_path / "a.pt", content, zipped=zipped)
        return read_checkpoint(tmp_path / "a.pt")

    found = write({"whole": tensor(0, (2, 3), (3, 1)), "turned": tensor(1, (2, 2), (1, 3))})
    np.testing.assert_array_equal(found["whole"], np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(found["turned"], [[1, 4], [2, 5]])
    inside = write({"epoch": 3, "state_dict": collections.OrderedDict(w=tensor(0, (1,), (1,)))})
    assert list(inside) == ["w"] and inside["w"].shape == (1,)
    wrongs = [tensor(0, (7,), (1,)), tensor(-1, (1,), (1,)), tensor(0, (1 << 40,), (1,))]
    for wrong in [*wrongs, tensor(0, (1 << 30,), (0,))]:
        with pytest.raises(ValueError, match="damaged"):
            write({"w": wrong})
    with pytest.raises(ValueError, match="several sets"):
        write({"a": {"w": tensor(0, (1,), (1,))}, "b": {"w": tensor(0, (1,), (1,))}})
    if zipped:
        with pytest.raises(ValueError, match="no named tensors"):
            write({"epoch": 3})


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_network_without_pytorch_or_its_classes(tmp_path, stand_in, monkeypatch, zipped):
    def network(parameters, children):
        made = stand_in.net()
        made.__dict__.update(
            _parameters=collections.OrderedDict(parameters),
            _buffers=collections.OrderedDict(empty=None),
            _modules=collections.OrderedDict(children),
            training=True,
        )
        return made

    inner = network({"weight": stand_in.tensor(0, (2, 3), (3, 1)), "bias": None}, {})
    outer = network({"scale": stand_in.tensor(5, (1,), (1,))}, {"conv": inner, "none": None})
    stand_in.write(tmp_path / "unet_030000.model", outer, zipped=zipped)
    for name in ("torch", "torch._utils", "unet"):
        monkeypatch.delitem(sys.modules, name)
    found = read_checkpoint(tmp_path / "unet_030000.model")
    expected = {"scale": np.array([5.0]), "conv.weight": np.arange(6.0).reshape(2, 3)}
    assert_same(found, expected)


def test_other_files(tmp_path):
    path = tmp_path / "a.pt"
    for content in (b"", b"hello", pickle.dumps({"w": 1}), b"\x80\x02]q\x00(K\x01K\x02e."):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.pt"):
            read_checkpoint(path)
    path.write_bytes(b"\x80\x02K\x01r" + (1 << 30).to_bytes(4, "little") + b".")  # 16 GB of memo
    with pytest.raises(ValueError, match=r"a\.pt: .* it begins with int"):
        read_checkpoint(path)
    zip_checkpoint(path, b"")
    with pytest.raises(ValueError, match=r"a\.pt"):
        read_checkpoint(path)
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "none.pt")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("zipped", [True, False])
def test_files_that_pytorch_writes(tmp_path, zipped):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is not needed to run")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3)
            self.rest = torch.nn.Sequential(torch.nn.BatchNorm2d(4), torch.nn.PReLU(4))

    Net.__qualname__ = "Net"
    sys.modules[__name__].Net = Net
    net = Net()
    expected = {k: v.numpy() for k, v in net.state_dict().items()}
    numbers = torch.arange(24.0).reshape(4, 6)
    views = {
        "step": numbers[1:3, ::2],
        "turned": numbers.t(),
        "half": numbers.half(),
        "brain": numbers.to(torch.bfloat16),
        "whole": numbers.long(),
    }
    path = tmp_path / "a.pt"

    def write_and_read(content):
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        return read_checkpoint(path)

    assert_same(write_and_read(net.state_dict()), expected)
    assert_same(write_and_read(net), expected)
    assert_same(write_and_read({"state_dict": net.state_dict(), "epoch": 3}), expected)
    found = write_and_read(views)
    assert_same(found, {k: v.float().numpy() for k, v in views.items()})
    assert found["half"].dtype == np.float16 and found["whole"].dtype == np.int64


def test_command(tmp_path, narrow, monkeypatch, capsys):
    monkeypatch.setattr(command, "read", lambda path: narrow)
    out = tmp_path / "unet.safetensors"
    assert command.main(["import", "unet.model", "--as", "segmenter", str(out)]) == 0
    loaded, expected = weights.load(out), convert(narrow, "segmenter")
    jax.tree.map(np.testing.assert_array_equal, loaded, expected)
    assert "weights" in capsys.readouterr().out
    assert command.main(["import", "unet.model", "--as", "arcface", str(out)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: unet.model as arcface: the weights do not fit the network")
    nowhere = tmp_path / "missing" / "unet.safetensors"
    assert command.main(["import", "unet.model", "--as", "segmenter", str(nowhere)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: cannot write {nowhere}: ") and said.count("\n") == 1


def test_pytorch_names_in_safetensors(tmp_path, narrow):
    weights.save(tmp_path / "unet.safetensors", narrow)
    found = read(tmp_path / "unet.safetensors")
    jax.tree.map(
        np.testing.assert_array_equal, convert(found, "segmenter"), convert(narrow, "segmenter")
    )


def test_command_on_no_file(tmp_path, capsys):
    none = tmp_path / "none.pth"
    assert command.main(["import", str(none), "--as", "arcface", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"error: there is no file {none}\n"


@pytest.mark.parametrize("zipped", [True, False])
def test_command_on_a_file_that_pytorch_wrote(tmp_path, narrow, zipped, capsys):
    """From the file to what `config.init.segmenter` reads, halves widened."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is not needed to run")
    state = {k: torch.from_numpy(np.array(v, np.float16)) for k, v in narrow.items()}
    path, out = tmp_path / "unet.pth", tmp_path / "unet.safetensors"
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=zipped)
    assert command.main(["import", str(path), "--as", "segmenter", str(out)]) == 0
    images = [np.zeros((1, 16, 16, 3), np.float32)] * 2
    like = jax.eval_shape(segmenter.Segmenter(width=2).init, jax.random.key(0), *images)
    found = weights.load_like(out, like, what="the segmenter")
    expected = convert({k: v.astype(np.float16) for k, v in narrow.items()}, "segmenter")
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    # A file cut short is one sentence.
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    capsys.readouterr()
    assert command.main(["import", str(path), "--as", "segmenter", str(out)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "unet.pth" in said and said.count("\n") == 1
