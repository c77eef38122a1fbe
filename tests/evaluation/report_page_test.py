import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from focus_jax.evaluation.report_page import markdown, page
from focus_jax.rendering import pictures


class Tags(HTMLParser):
    """Every tag that opens, and the sources that it names."""

    def __init__(self):
        super().__init__()
        self.tags, self.sources = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]


@pytest.fixture
def workdir(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"name": "a<b", "losses": {"area": 0.85}}))
    lines = [{"step": s, "kind": "train autoencoder", "loss": 1 / s} for s in (1, 2, 3)]
    lines += [{"step": 3, "kind": "evaluation", "occluded/segmenter_f1": 0.5, "hand/rmse": 1.0}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 4, "ki')
    for step in range(5):
        picture = np.full((8, 8, 3), 40 * step, np.uint8)
        pictures.write_png(tmp_path / "pictures" / f"{step:07d}.png", picture)
    return tmp_path


def test_the_page_holds_everything_and_loads_nothing(workdir):
    (workdir / "summary.md").write_text("# Results\n\n| a | b |\n| --- | --- |\n| x<y | 0.919 |\n")
    text = page(workdir)
    tags = Tags()
    tags.feed(text)
    assert tags.sources and all(s.startswith("data:image/png;base64,") for s in tags.sources)
    assert tags.tags.count("img") == 2 + 3  # loss, F1; three of five pictures
    assert "0.919" in text and "losses.area" in text and "x&lt;y" in text
    assert "a&lt;b" in text and "a<b" not in text
    assert "1 broken lines" in text
    assert re.findall(r"Step (\d+)", text) == ["4", "2", "0"]


def test_an_unfinished_run_has_a_page_too(tmp_path, workdir):
    assert "has not ended" in page(workdir)
    (workdir / "metrics.jsonl").unlink()
    assert "no metrics.jsonl" in page(workdir)


def test_notes_of_ones_own_are_shown(workdir, monkeypatch):
    """An empty file ended in a traceback, as blank lines did; others were read as the system's."""
    monkeypatch.setattr(io, "text_encoding", lambda encoding, *_: encoding or "ascii")
    (workdir / "a.md").write_bytes(b"")
    (workdir / "b.md").write_bytes("# Zoë\n\n\n\n \nsaid é\u00e9\r\n".encode() + b"\xff")
    text = page(workdir)
    assert "<h2>Zoë</h2>" in text and "<p>said éé" in text


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json"):
        page(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        page(tmp_path)


def test_markdown_of_tables_and_lists():
    text = markdown("## T\n\n| a | b |\n| --- | --- |\n| 1 | - |\n\n- x\n- y\n\nwords & more")
    assert text == (
        "<h3>T</h3>\n<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>-</td></tr></table>\n"
        "<ul><li>x</li><li>y</li></ul>\n<p>words &amp; more</p>"
    )
