from pathlib import Path

import pytest

from focus_jax.system.files import bare, read_json, user_path, with_end


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


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"3", b"\xff{}", b'{"a": 1'])
def test_json_that_is_damaged_is_told_of_with_its_file(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json is damaged \(.*\); bring it back"):
        read_json(path)
    path.write_text('{"a": 1}')
    assert read_json(path) == {"a": 1}
