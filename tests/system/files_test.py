from pathlib import Path

import numpy as np
import pytest

from focus_jax.system.files import (
    bare,
    check_apart,
    read_json,
    user_path,
    with_end,
    write_npz,
    write_whole,
)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a/bareteeth.000001.jpg", "a/bareteeth.000001"),
        ("frame.000001", "frame.000001"),
        ("14_1.JPEG", "14_1"),
        ("photo.jp2", "photo"),
        ("a.b/c", "a.b/c"),
        ("Mr. Smith", "Mr. Smith"),
        (".jpg", ".jpg"),
        ("é.ü.tiff", "é.ü"),
    ],
)
def test_dots_within_a_name_are_part_of_it(name, stem):
    assert bare(Path(name)) == Path(stem)
    assert with_end(Path(name), ".npz") == Path(stem + ".npz")


def test_home_is_found_wherever_a_path_begins_with_it(monkeypatch):
    monkeypatch.setenv("HOME", "/of/somebody")
    assert user_path("~/x") == Path("/of/somebody/x")
    assert user_path("a/~b") == Path("a/~b")


@pytest.mark.parametrize(
    ("text", "said"), [("", "a path is empty"), ("hf://a/b", "hf://a/b is an address; give a file")]
)
def test_what_is_no_path_here_is_refused(text, said):
    """`Path` takes an address for a local folder, and nothing for the folder one is in."""
    with pytest.raises(ValueError, match=said):
        user_path(text)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"3", b"\xff{}", b'{"a": 1'])
def test_json_that_is_damaged_is_told_of_with_its_file(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json is damaged \(.*\); bring it back"):
        read_json(path)
    path.write_text('{"a": 1}')
    assert read_json(path) == {"a": 1}


@pytest.mark.parametrize("name", ["a.npz", "a", "a.of.today", "a.dat"])
def test_arrays_are_written_where_they_were_asked_for(tmp_path, name):
    """NumPy adds `.npz` to other names, under which nobody looked for them."""
    write_npz(tmp_path / name, path=np.arange(3), b=np.eye(2))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with np.load(tmp_path / name) as arrays:
        np.testing.assert_array_equal(arrays["path"], [0, 1, 2])
        np.testing.assert_array_equal(arrays["b"], np.eye(2))


@pytest.mark.parametrize("content", ["a text\n", b"bytes"])
def test_a_full_disk_keeps_what_was_there_and_no_half_file(tmp_path, monkeypatch, content):
    (tmp_path / "a").write_text("before")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        write_whole(tmp_path / "a", content)
    assert error.value.errno == 28
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


def test_what_is_read_is_not_written_over(tmp_path):
    (tmp_path / "a").write_text("weights")
    (tmp_path / "b").symlink_to("a")
    for out in ("a", "b", "../" + tmp_path.name + "/a"):
        with pytest.raises(ValueError, match="is the file that is read; give another name"):
            check_apart(tmp_path / "a", tmp_path / out)
    check_apart(tmp_path / "a", tmp_path / "c")
    check_apart("builtin", tmp_path / "a")
