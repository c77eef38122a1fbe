"""PyTorch weights to Flax variables and back, for the paper's three networks.

`read` opens a file as a state dict. `convert` takes torchvision's ResNet-50 or the authors'
encoder, the authors' U-Net, and insightface's iResNet-50 and -100. The names our networks give
their parts determine PyTorch's names one by one, so the table below is all there is to know.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from focus_jax.networks.encoder import Encoder
from focus_jax.networks.recognizer import IResNet
from focus_jax.networks.segmenter import Segmenter
from focus_jax.weights import check_shapes, flatten, load, unflatten
from focus_jax.weights.onnx import read_arcface
from focus_jax.weights.torch_file import read_checkpoint

__all__ = ["RELEASE_OUTPUTS", "convert", "convert_back", "read", "read_checkpoint"]

Network = Literal["encoder", "segmenter", "arcface"]
NETWORKS = ("encoder", "segmenter", "arcface")

# The release's encoder has 199 shape, 100 expression, 199 colour, 6 camera and 27 light outputs and
# uses the first 80, 64 and 80 of the coefficients.
RELEASE_WIDTH = 531
RELEASE_OUTPUTS = np.r_[0:80, 199:263, 299:379, 498:504, 504:531]

_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
_SEGMENTER_STACK = {"conv1": "0", "bn1": "1", "conv2": "3", "bn2": "4"}
_SEGMENTER_UP = {"conv": "1", "bn": "2"}


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The state dict in a file: `.onnx` of ArcFace (read with `onnx`), or a PyTorch checkpoint,
    which may be a `.safetensors`.

    Raises ValueError for any other content, FileNotFoundError for none.
    """
    suffix = Path(path).suffix
    if suffix == ".safetensors":
        return flatten(load(path))
    return read_arcface(path) if suffix == ".onnx" else read_checkpoint(path)


def convert(
    state_dict: Mapping[str, np.ndarray], network: Network | str, *, outputs: int | None = None
) -> dict:
    """Flax variables `{'params', 'batch_stats'}`, float32, from a PyTorch state dict.

    The encoder's last layer follows its width: the release's 531 numbers (or the first 531 of the
    1000 in its own files, whose names begin with 'vgg.') become the 257 that are used, unless
    `outputs` is 531. The last layer of an image classifier, or any other than `outputs` wide
    (default 257), is replaced by zeros. Raises ValueError with every name that is unknown, missing
    or of another shape.
    """
    _check(network)
    state, released = _without_prefix(state_dict)
    if network == "encoder":
        state = _encoder_head(state, released, outputs or len(RELEASE_OUTPUTS))
    elif outputs is not None:
        raise ValueError(f"outputs={outputs} is a choice for the encoder, not for {network}")
    table = _table(network, *_variant(state, network))
    check_shapes(state, {name: _torch_shape(path, shape) for name, (path, shape) in table.items()})
    flat = {
        path: _to_flax(np.asarray(state[name], np.float32), path, shape)
        for name, (path, shape) in table.items()
    }
    return unflatten(flat)


def convert_back(variables: dict, network: Network | str) -> dict[str, np.ndarray]:
    """The PyTorch state dict of Flax variables: the inverse of `convert`."""
    _check(network)
    state = {}
    for path, value in flatten(variables).items():
        name = _torch_name(path, network)
        state[name] = _to_torch(np.asarray(value), path)
        if name.endswith("running_var"):
            counter = name.removesuffix("running_var") + "num_batches_tracked"
            state[counter] = np.zeros((), np.int64)
    return state


def _check(network: str) -> None:
    if network not in NETWORKS:
        raise ValueError(f"the network is one of {', '.join(NETWORKS)}, not {network!r}")


def _without_prefix(state_dict: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], bool]:
    """Without counters and the names of wrappers; and whether it is the authors' own encoder."""
    state, released = dict(state_dict), False
    for prefix in ("module.", "net.", "vgg."):
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
            released = released or prefix == "vgg."
    return {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}, released


def _encoder_head(
    state: dict[str, np.ndarray], released: bool, outputs: int
) -> dict[str, np.ndarray]:
    weight, bias = state.get("fc.weight"), state.get("fc.bias")
    if weight is None or bias is None or weight.ndim != 2:
        return state  # `check_shapes` will say so
    if released and len(weight) > RELEASE_WIDTH:
        weight, bias = weight[:RELEASE_WIDTH], bias[:RELEASE_WIDTH]
    if len(weight) == RELEASE_WIDTH and outputs == len(RELEASE_OUTPUTS):
        weight, bias = weight[RELEASE_OUTPUTS], bias[RELEASE_OUTPUTS]
    elif len(weight) != outputs:
        weight, bias = np.zeros((outputs, weight.shape[1])), np.zeros(outputs)
    return {**state, "fc.weight": weight, "fc.bias": bias}


def _variant(state: Mapping[str, np.ndarray], network: str) -> tuple[int, ...]:
    """What the names and shapes say of the size of the network: arguments of `_table`."""
    if network == "encoder":
        return (len(state["fc.bias"]) if "fc.bias" in state else len(RELEASE_OUTPUTS),)
    if network == "segmenter":
        first = state.get("Conv1.double_conv.0.weight")
        return (64 if first is None else len(first),)
    return (3, 13, 30, 3) if "layer3.14.conv1.weight" in state else (3, 4, 14, 3)


def _table(network: str, *variant: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """PyTorch's name -> our path and shape, for every array of a network."""
    if network == "encoder":
        module, sizes, count = Encoder(variant[0]), (64, 64), 1
    elif network == "segmenter":
        module, sizes, count = Segmenter(variant[0]), (16, 16), 2
    else:
        module, sizes, count = IResNet(variant), (112, 112), 1
    images = [jnp.zeros((1, *sizes, 3))] * count
    shapes = jax.eval_shape(module.init, jax.random.key(0), *images)
    return {
        _torch_name(path, network): (path, tuple(leaf.shape))
        for path, leaf in flatten(shapes).items()
    }


def _torch_name(path: str, network: str) -> str:
    _, *parts, leaf = path.split("/")
    leaf = _LEAVES.get(leaf, leaf)
    if network == "segmenter":
        return f"{_segmenter_part(parts)}.{leaf}"
    name = ".".join(parts)
    for ours, theirs in (("downsample_conv", "downsample.0"), ("downsample_bn", "downsample.1")):
        name = name.replace(ours, theirs)
    if name.startswith("layer"):
        name = name.replace("_", ".", 1)
    return f"{name}.{leaf}"


def _segmenter_part(parts: list[str]) -> str:
    block, level = parts[0].rstrip("12345"), parts[0][-1]
    if block == "down":
        # The two deepest blocks sit one level further in, beside their dropout.
        inner = "0." if int(level) >= 4 else ""
        return f"Conv{level}.double_conv.{inner}{_SEGMENTER_STACK[parts[1]]}"
    if block == "up":
        return f"Up{level}.up.{_SEGMENTER_UP[parts[1]]}"
    if block == "merge":
        return f"Up_conv{level}.double_conv.{_SEGMENTER_STACK[parts[1]]}"
    if block == "head":
        return "Conv"
    raise ValueError(f"the authors' U-Net has no {'/'.join(parts)}: only the 'authors' stem has")


def _torch_shape(path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if not path.endswith("/kernel"):
        return shape
    return (*reversed(shape[-2:]), *shape[:-2])


def _to_flax(value: np.ndarray, path: str, shape: tuple[int, ...]) -> np.ndarray:
    if not path.endswith("/kernel"):
        return value
    if value.ndim == 4:
        return np.ascontiguousarray(value.transpose(2, 3, 1, 0))
    if _reads_map(path, shape):
        # PyTorch flattens a 7 x 7 map channel by channel, we pixel by pixel.
        value = value.reshape(shape[1], -1, 7, 7).transpose(0, 2, 3, 1).reshape(shape[1], -1)
    return np.ascontiguousarray(value.T)


def _to_torch(value: np.ndarray, path: str) -> np.ndarray:
    if not path.endswith("/kernel"):
        return value
    if value.ndim == 4:
        return value.transpose(3, 2, 0, 1)
    if _reads_map(path, value.shape):
        value = value.reshape(7, 7, -1, value.shape[1]).transpose(2, 0, 1, 3).reshape(value.shape)
    return value.T


def _reads_map(path: str, shape: tuple[int, ...]) -> bool:
    """Whether this is the last layer of ArcFace, which reads a map of 512 channels."""
    return path == "params/fc/kernel" and shape[0] == 7 * 7 * 512
