"""The pages: what stands in the README, their code blocks and links, and the reference.

`make blocks` runs the blocks, `make docs` builds the site.
"""

import re
import sys
from pathlib import Path

import pytest

import focus_jax

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "docs"))

import api  # noqa: E402
import blocks  # noqa: E402
import links  # noqa: E402

README = (ROOT / "README.md").read_text(encoding="utf-8")
RUN = re.search(r"docs/blocks.py (.*)", (ROOT / "Makefile").read_text(encoding="utf-8"))[1].split()


def test_the_readme_is_short_and_begins_with_what_one_needs():
    assert len(README.splitlines()) <= 200
    screen = README.splitlines()[:35]
    assert any(line.startswith("![") for line in screen)
    assert {"```sh", "```python"} <= set(screen)
    assert "\nmake em  " in README and "\nmake test " in README


def test_the_table_of_make_em_is_one_that_can_be_replaced():
    (found,) = re.findall(r"em`: begin -->(.*)<!-- The table of `make em`: end", README, re.DOTALL)
    assert "| FOCUS |" in found and found.count("\n| ---") == 2  # masks, faces


@pytest.mark.parametrize("page", RUN)
def test_blocks_of_a_page_are_run_or_say_why_not(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    found = list(blocks.blocks(text))
    assert any(block.reason is None for block in found)
    fences = re.findall(r"^```(?:sh|python)$", text, re.MULTILINE)
    assert len(found) == len(fences)
    for block in found:
        assert text.splitlines()[block.line :][0] == block.code.splitlines()[0]


def test_every_not_run_belongs_to_a_block():
    for page in RUN:
        text = (ROOT / page).read_text(encoding="utf-8")
        reasons = [block.reason for block in blocks.blocks(text) if block.reason]
        assert len(reasons) == text.count("<!-- not run:"), page


def test_blocks_share_names_and_fail_with_their_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = "# A page\n\n```python\nx = 1\n```\n\n```python\n>>> x + 1\n2\n>>> y = 5\n\n```\n"
    page += "\n```python\nassert y == 5\n```\n\n```sh\npip install nothing-such\necho a > b\n```\n"
    names = {"__name__": "page"}
    for block in blocks.blocks(page):
        blocks.run(block, "page.md", names)
    assert (tmp_path / "b").read_text() == "a\n"
    (wrong,) = blocks.blocks("\n```python\n>>> 1 + 1\n3\n\n```\n")
    with pytest.raises(RuntimeError, match="Expected:\n    3\nGot:\n    2"):
        blocks.run(wrong, "page.md", {})
    (wrong,) = blocks.blocks("\n```sh\nfalse | true\n```\n")
    with pytest.raises(RuntimeError, match=r"page.md, line 2: exit status 1"):
        blocks.run(wrong, "page.md", {})
    (left,) = blocks.blocks("<!-- not run: takes an hour -->\n\n```sh\nfalse\n```\n")
    assert left.reason == "takes an hour"


def test_links_of_the_repositorys_pages_lead_somewhere(tmp_path):
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")]:
        # What the builder writes, and anchors within pages, `make docs` follows.
        wrong = [line for line in links.broken(page) if "_api/" not in line]
        assert not wrong, wrong
    (tmp_path / "a.html").write_text('<a href="b.html#there">x</a><a href="b.html#no">x</a>')
    (tmp_path / "b.html").write_text('<p id="there"></p><img src="gone.png">')
    assert links.main([str(tmp_path)]) == 1
    assert [line.split(": ")[1] for line in links.broken(tmp_path / "a.html")] == ["b.html#no"]
    assert [line.split(": ")[1] for line in links.broken(tmp_path / "b.html")] == ["gone.png"]


def test_every_page_is_in_the_table_of_contents():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^([a-z_0-9/]+)$", index, re.MULTILINE))
    assert {path.stem for path in ROOT.glob("docs/*.md")} - {"index"} <= listed


def test_the_reference_has_every_public_name(tmp_path):
    api.write(tmp_path)
    pages = "\n".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("*.md"))
    for name in dir(focus_jax):
        module, attribute = focus_jax._PLACES[name]
        if attribute:
            assert re.search(rf"\{{py:\w+\}} focus_jax\.{module}\.{attribute}\b", pages), name
        elif "." in module:
            assert f"## {module}\n" in pages, name
    # Shapes as they are written, and fields with their comments.
    assert (
        "project(vertices: Float[AnyArray, '*n v 3'], rotation: Float[AnyArray, '*n 3 3']" in pages
    )
    assert 'triangles: Int[Array, "t 3"]  # counter-clockwise' in pages
