"""Names as people give them: dots, numbers, homes; files written whole."""

from pathlib import Path

import pytest

from focus_jax.system.files import bare, user_path, with_end, write_whole


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("face.jpg", "face"),
        ("bareteeth.000001.jpg", "bareteeth.000001"),
        ("bareteeth.000001", "bareteeth.000001"),  # a number is no suffix
        ("2026.11.29 at 10.15.png", "2026.11.29 at 10.15"),
        (".jpg", ".jpg"),
        ("clip.mp4", "clip"),
    ],
)
def test_only_a_suffix_is_taken_off(name, stem):
    assert bare(Path("deep.er") / name) == Path("deep.er") / stem


def test_frames_of_a_film_have_names_of_their_own():
    names = {with_end(Path(f"bareteeth.{n:06d}.jpg"), ".obj").name for n in range(3)}
    assert names == {f"bareteeth.{n:06d}.obj" for n in range(3)}


def test_a_home_is_understood(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert user_path("~/x") == Path("/somewhere/x") and user_path("x~") == Path("x~")


def test_text_is_written_whole_whatever_the_names_in_it(tmp_path):
    name = b"caf\xe9.jpg".decode(errors="surrogateescape")
    write_whole(tmp_path / "a.txt", name)
    assert (tmp_path / "a.txt").read_bytes() == b"caf\xe9.jpg"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
