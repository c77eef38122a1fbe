"""Pickles of strangers: arrays and containers come out, and nothing is run."""

import fractions
import pickle
import subprocess
import sys
import types

import numpy as np
import pytest
import scipy.sparse

from focus_jax.face_models import pickles

# As Python 2 wrote it, in the oldest protocol: {'a': array([1, 2], 'f4')}.
PYTHON_2 = (
    b"(dS'a'\ncnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\nt"
    b"cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n"
    b"S'\\x00\\x00\\x80?\\x00\\x00\\x00@'\ntbs."
)


@pytest.fixture
def read(tmp_path):
    def through_a_file(content: bytes):
        path = tmp_path / "model.pkl"
        path.write_bytes(content)
        return pickles.read_pickle(path)

    return through_a_file


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)),
        np.zeros((0, 3), np.float32),
        np.array(7, np.uint32),
        np.array([True, False]),
        np.array(["a", "bc"]),
    ],
)
def test_arrays_come_back(read, array, protocol):
    found = read(pickle.dumps({"x": [array, (array,)]}, protocol=protocol))["x"]
    for each in (found[0], found[1][0]):
        np.testing.assert_array_equal(each, array)
        assert each.dtype == array.dtype


def test_numbers_and_arrays_of_objects_come_back(read):
    inner = np.arange(3)
    objects = np.empty((2, 1), object)
    objects[0, 0], objects[1, 0] = inner, {"k": inner}
    equal = np.empty(2, object)
    equal[0], equal[1] = inner, inner + 1
    np.testing.assert_array_equal(read(pickle.dumps(equal))[1], inner + 1)
    found = read(pickle.dumps({"o": objects, "n": np.float32(2.5), "s": {1, 2}, "b": b"x"}))
    assert found["n"] == 2.5 and found["s"] == {1, 2} and found["b"] == b"x"
    np.testing.assert_array_equal(found["o"][1, 0]["k"], inner)


def test_pickles_of_python_2(read):
    np.testing.assert_array_equal(read(PYTHON_2)["a"], np.array([1, 2], np.float32))


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("kind", ["csc", "csr", "coo"])
def test_sparse_matrices_are_written_out(read, kind, protocol):
    dense = np.array([[0, 2.0, 0], [1, 0, 0]])
    sparse = getattr(scipy.sparse, f"{kind}_matrix")(dense)
    np.testing.assert_array_equal(read(pickle.dumps(sparse, protocol=protocol)), dense)


@pytest.mark.parametrize("protocol", [0, 2])
def test_chumpy_arrays_are_read_and_expressions_left(read, protocol, monkeypatch):
    module = types.ModuleType("chumpy.ch")
    module.Ch = type("Ch", (), {"__module__": "chumpy.ch"})
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    monkeypatch.setitem(sys.modules, "chumpy.ch", module)
    array, expression = module.Ch(), module.Ch()
    array.x, expression.a = np.arange(3.0), array
    content = pickle.dumps({"x": array, "y": expression}, protocol=protocol)
    monkeypatch.undo()
    found = read(content)
    np.testing.assert_array_equal(found["x"], np.arange(3.0))
    assert isinstance(found["y"], pickles.Inert) and found["y"].named == "chumpy.ch.Ch"


class Command:
    """A pickle of it asks to run a command."""

    def __init__(self, call, *arguments):
        self.call = call, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_command_is_not_run(read, tmp_path, protocol):
    import os

    mark = tmp_path / "mark"
    content = pickle.dumps({"v_template": Command(os.system, f"touch {mark}")}, protocol=protocol)
    assert read(content)["v_template"].named.endswith(".system")
    assert not mark.exists()
    pickle.loads(content)  # the same bytes do run it where nobody refuses
    assert mark.exists()


@pytest.mark.parametrize(
    "call",
    [
        (eval, "1"),
        (exec, "1"),
        (getattr, "text", "join"),
        (subprocess.Popen, ["true"]),
        (np.load, "x"),
        (np.memmap, "x"),
        (fractions.Fraction, 1, 2),
    ],
)
def test_other_calls_give_nothing(read, call):
    assert isinstance(read(pickle.dumps([Command(*call)]))[0], pickles.Inert)


@pytest.mark.parametrize("call", [(bytes, 10**12), (bytearray, 10**12)])
def test_a_number_makes_no_bytes(read, call):
    with pytest.raises(ValueError, match=r"model\.pkl: refused: bytes of something"):
        read(pickle.dumps(Command(*call)))


def test_an_array_of_what_is_not_run_has_no_numbers(read):
    array = pickle.dumps({"x": np.arange(3.0)}, protocol=2)
    start = array.index(b"c_codecs\nencode")
    other = array[:start] + array[start:].replace(b"c_codecs\nencode", b"cbuiltins\neval", 1)
    with pytest.raises(ValueError, match="no numbers for an array"):
        read(other)


def test_what_occurs_twice_is_made_once(read):
    content = [np.arange(3.0)]
    for _ in range(60):  # as lists of lists: 2^60 of the first
        content = [content, content]
    found = read(pickle.dumps(content))
    for _ in range(60):
        found = found[1]
    np.testing.assert_array_equal(found[0], np.arange(3.0))


def test_arrays_with_fields_are_refused(read):
    with pytest.raises(ValueError, match="refused: an array of type 'V12'"):
        read(pickle.dumps(np.zeros(2, [("a", "f4"), ("b", "f8")])))


def test_indices_of_a_sparse_matrix_stay_inside(read):
    sparse = scipy.sparse.csc_matrix(np.eye(3))
    sparse.indices[1] = 10**6
    with pytest.raises(ValueError, match="cannot be read as a pickle"):
        read(pickle.dumps(sparse))


def test_a_large_number_takes_no_memory(read):
    """What is remembered by number 2^30 takes one place, not 16 GB."""
    assert read(b"\x80\x02K\x01r" + (1 << 30).to_bytes(4, "little") + b".") == 1


@pytest.mark.parametrize("content", [b"", b"\x80", b"not a pickle", b"\x80\x04]\x94h\x00a."])
def test_what_is_no_pickle_is_named(read, content):
    with pytest.raises(ValueError, match=r"model\.pkl cannot be read as a pickle"):
        read(content)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_pickle_is_named(read, share):
    content = pickle.dumps({"x": np.arange(100.0)})
    with pytest.raises(ValueError, match=r"model\.pkl cannot be read as a pickle, or is truncated"):
        read(content[: int(share * len(content))])


def test_npy_files_with_and_without_objects(tmp_path):
    np.save(tmp_path / "plain.npy", np.arange(3))
    np.testing.assert_array_equal(pickles.read_npy(tmp_path / "plain.npy"), np.arange(3))
    np.save(tmp_path / "dict.npy", np.array({"k": np.arange(3)}), allow_pickle=True)
    np.testing.assert_array_equal(pickles.read_npy(tmp_path / "dict.npy")["k"], np.arange(3))
    (tmp_path / "short.npy").write_bytes((tmp_path / "plain.npy").read_bytes()[:-4])
    (tmp_path / "other.npy").write_bytes(b"other")
    np.savez(tmp_path / "both.npz", a=np.arange(3), b=np.array({"k": 1}))
    both = pickles.read_npz(tmp_path / "both.npz")
    assert both["b"] == {"k": 1} and both["a"].sum() == 3
    for name in ("short", "other"):
        with pytest.raises(ValueError, match=rf"{name}\.npy cannot be read as \.npy"):
            pickles.read_npy(tmp_path / f"{name}.npy")


def test_a_header_that_is_no_python_is_named(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(3))
    for place, new in ((10, b"{{"), (12, b"\n ")):  # a brace that stays open, an indentation
        content = bytearray(path.read_bytes())
        content[place : place + 2] = new
        (tmp_path / "b.npy").write_bytes(content)
        with pytest.raises(ValueError, match=r"b\.npy cannot be read as \.npy"):
            pickles.read_npy(tmp_path / "b.npy")
