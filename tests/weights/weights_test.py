import numpy as np
import pytest
from safetensors.numpy import save_file

from focus_jax import weights
from focus_jax.weights.torch_file import read_checkpoint


@pytest.fixture
def variables():
    rng = np.random.default_rng(0)
    kernel, mean = rng.random((3, 2), dtype=np.float32), rng.random(2, dtype=np.float32)
    return {"params": {"fc": {"kernel": kernel}}, "batch_stats": {"bn": {"mean": mean}}}


def test_flat_and_back(variables):
    flat = weights.flatten(variables)
    assert list(flat) == ["params/fc/kernel", "batch_stats/bn/mean"]
    assert weights.unflatten(flat) == variables


@pytest.mark.parametrize(
    "names", [("a/b", "a/b/c"), ("a/b/c", "a/b"), ("a", "a/b/c"), ("a/b", "a")]
)
def test_names_that_clash_are_refused(tmp_path, names):
    """The later one took the place of all that the other had, or there was a traceback."""
    flat = {name: np.zeros(2, np.float32) for name in names}
    with pytest.raises(ValueError, match=r"is below|are below it"):
        weights.unflatten(flat)
    save_file(flat, str(tmp_path / "a.safetensors"))
    with pytest.raises(ValueError, match=r"a\.safetensors has names that clash: a"):
        weights.load(tmp_path / "a.safetensors")


def test_a_home_is_meant_by_both(variables, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    weights.save("~/a.safetensors", variables)
    assert (tmp_path / "a.safetensors").is_file()
    assert weights.load("~/a.safetensors").keys() == variables.keys()


def test_files_keep_every_number(variables, tmp_path):
    weights.save(tmp_path / "a.safetensors", variables)
    (tmp_path / "plain").touch()
    modes = [(tmp_path / name).stat().st_mode for name in ("a.safetensors", "plain")]
    assert modes[0] == modes[1]  # for others to read, as files of this user are
    found = weights.load(tmp_path / "a.safetensors")
    like = weights.load_like(tmp_path / "a.safetensors", variables, what="a network")
    for one in (found, like):
        assert weights.flatten(one).keys() == weights.flatten(variables).keys()
        np.testing.assert_array_equal(
            one["params"]["fc"]["kernel"], variables["params"]["fc"]["kernel"]
        )
        np.testing.assert_array_equal(
            one["batch_stats"]["bn"]["mean"], variables["batch_stats"]["bn"]["mean"]
        )


def test_half_precision_widens_to_the_networks(variables, tmp_path):
    halves = {"params": {"fc": {"kernel": variables["params"]["fc"]["kernel"].astype(np.float16)}}}
    weights.save(tmp_path / "a.safetensors", halves)
    like = {"params": variables["params"]}
    found = weights.load_like(tmp_path / "a.safetensors", like, what="a network")
    assert found["params"]["fc"]["kernel"].dtype == np.float32


def test_numbers_beyond_half_precision_stay_single(tmp_path):
    """A variance of batch norm was infinite in an exported model."""
    large = np.array([65504.0, 65505.0, 3e38], np.float32)
    variables = {"params": {"scale": large[:1]}, "batch_stats": {"var": large}}
    weights.save(tmp_path / "a.safetensors", weights.halved(variables))
    found = weights.load(tmp_path / "a.safetensors")
    assert found["params"]["scale"].dtype == np.float16
    np.testing.assert_array_equal(found["params"]["scale"], large[:1])
    np.testing.assert_array_equal(found["batch_stats"]["var"], large)
    like = weights.load_like(tmp_path / "a.safetensors", variables, what="a network")
    np.testing.assert_array_equal(like["batch_stats"]["var"], large)


def test_a_file_of_another_network_is_refused_with_all_names(variables, tmp_path):
    other = {
        "params": {"fc": {"kernel": np.zeros((3, 4), np.float32), "bias": np.zeros(4, np.float32)}}
    }
    weights.save(tmp_path / "a.safetensors", other)
    with pytest.raises(ValueError) as caught:
        weights.load_like(tmp_path / "a.safetensors", variables, what="the encoder")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "a.safetensors is not for the encoder",
        "(3)",
        "unknown: params/fc/bias",
        "missing: batch_stats/bn/mean",
        "params/fc/kernel: (3, 4), not (3, 2)",
    ):
        assert part in message


def test_load_refuses_other_files(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="focus-jax weights import"):
        weights.load(tmp_path / "a.safetensors")
    with pytest.raises(FileNotFoundError):
        weights.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize(("read", "kind"), [(weights.load, "safe"), (read_checkpoint, "PyTorch")])
def test_a_download_that_went_wrong_is_called_what_it_is(tmp_path, read, kind):
    path = tmp_path / "weights.bin"
    for content, what in ((b"", "an empty file"), (b"<html>Sign in</html>", "a web page")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"weights\.bin is not a {kind}.*it is {what}"):
            read(path)


def test_single_numbers_stay_single(tmp_path):
    weights.save(tmp_path / "a.safetensors", {"scale": np.float32(3), "turned": np.eye(2, 3).T})
    found = weights.load(tmp_path / "a.safetensors")
    assert found["scale"].shape == () and found["scale"] == 3
    np.testing.assert_array_equal(found["turned"], np.eye(3, 2))


def test_a_full_disk_keeps_no_half_file(tmp_path, monkeypatch, variables):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"cannot write .*a\.safetensors: No space left"):
        weights.save(tmp_path / "a.safetensors", variables)
    assert not list(tmp_path.iterdir())
