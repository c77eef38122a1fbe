"""A training run as one HTML page: settings, curves, tables and pictures, in a single file.

The page loads nothing from anywhere, so it can be sent or kept. It shows what the workdir holds: an
unfinished run has curves and pictures and no tables yet.
"""

import base64
import html
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from focus_jax.evaluation import plots
from focus_jax.system.files import read_json

STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; font-size: 13px; margin: 1em 0; display: block;
        overflow-x: auto; }
td, th { border-bottom: 1px solid #ddd; padding: 3px 9px; text-align: right; }
td:first-child, th:first-child { text-align: left; }
.curves img, .pictures img { max-width: 100%; }
"""
PICTURES = 3  # the first, the middle and the last evaluation's
# Validation columns worth a curve: of the subsets that a workdir has.
WATCHED = ("segmenter_f1", "everything_f1", "kept", "rmse", "nme", "shape")
SUBSETS = ("all", "occluded", "unoccluded")


def page(workdir: Path) -> str:
    """The HTML text; ValueError for a folder that is not a workdir."""
    path = workdir / "config.json"
    if not path.is_file():
        raise ValueError(f"{workdir} holds no config.json; give the workdir of a training run")
    config = read_json(path)
    title = f"{config.get('name', workdir.name)}"
    parts = [f"<h1>{html.escape(title)}</h1>", "<h2>Tables</h2>", *_tables(workdir)]
    parts += ["<h2>Curves</h2>", '<div class="curves">', *_curves(workdir), "</div>"]
    parts += ["<h2>Pictures</h2>", '<div class="pictures">', *_pictures(workdir), "</div>"]
    parts += ["<h2>Settings</h2>", "<details><summary>all</summary>", _settings(config)]
    body = "\n".join([*parts, "</details>"])
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def markdown(text: str) -> str:
    """Headings, pipe tables, lists and paragraphs as HTML: what this package writes, no more."""
    blocks = []
    for block in filter(None, re.split(r"\n\s*\n", text.strip())):
        lines = block.splitlines()
        if lines[0].startswith("#"):
            # One level lower: the page has a title of its own.
            level = min(len(lines[0]) - len(lines[0].lstrip("#")) + 1, 6)
            blocks.append(f"<h{level}>{html.escape(lines[0].lstrip('# '))}</h{level}>")
        elif lines[0].startswith("|"):
            rows = [[c.strip() for c in line.strip().strip("|").split("|")] for line in lines]
            blocks.append(_table(rows[0], rows[2:]))
        elif lines[0].startswith("- "):
            items = (f"<li>{html.escape(line[2:])}</li>" for line in lines)
            blocks.append(f"<ul>{''.join(items)}</ul>")
        else:
            blocks.append(f"<p>{html.escape(block)}</p>")
    return "\n".join(blocks)


def _table(header: list[str], rows: list[list[str]]) -> str:
    def row(cells: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

    return "<table>" + row(header, "th") + "".join(row(r, "td") for r in rows) + "</table>"


def _tables(workdir: Path) -> list[str]:
    found = sorted(workdir.glob("*.md"))
    if not found:
        return ["<p>None yet: the run has not ended.</p>"]
    return [markdown(path.read_text(encoding="utf-8", errors="replace")) for path in found]


def _curves(workdir: Path) -> list[str]:
    path = workdir / "metrics.jsonl"
    if not path.is_file():
        return ["<p>None: no metrics.jsonl.</p>"]
    series: dict[tuple[str, str], dict[str, list[tuple[int, float]]]] = {}
    broken = 0
    for line in path.read_text().splitlines():
        try:
            values = json.loads(line)
            step, kind = values.pop("step"), values.pop("kind")
        except (json.JSONDecodeError, KeyError, AttributeError):
            broken += 1  # a crash cuts a line off
            continue
        for name, value in values.items():
            subset, _, column = name.rpartition("/")
            if kind == "evaluation":
                if column not in WATCHED or subset not in SUBSETS:
                    continue
                where, label = ("validation", column), subset
            else:
                where, label = (kind, name), name
            series.setdefault(where, {}).setdefault(label, []).append((step, value))
    figures = [f"<p>{broken} broken lines in metrics.jsonl were left out.</p>"] if broken else []
    for (kind, name), labels in series.items():
        curves = {k: (np.array(v)[:, 0], np.array(v)[:, 1]) for k, v in labels.items()}
        figure = plots.lines(curves, title=f"{kind}: {name}")
        memory = io.BytesIO()
        figure.savefig(memory, format="png", dpi=80)
        figures.append(_image(memory.getvalue(), f"{kind}: {name}"))
    return figures


def _pictures(workdir: Path) -> list[str]:
    found = sorted((workdir / "pictures").glob("*.png"))
    if not found:
        return ["<p>None yet.</p>"]
    chosen = sorted({round(i) for i in np.linspace(0, len(found) - 1, PICTURES)}, reverse=True)
    parts = ["<p>Photo, rendering, overlay, predicted mask, and the true mask if known.</p>"]
    for i in chosen:
        step = int(found[i].stem) if found[i].stem.isdigit() else found[i].stem
        parts += [f"<h3>Step {step}</h3>", _image(found[i].read_bytes(), f"step {step}")]
    return parts


def _image(data: bytes, label: str) -> str:
    text = base64.b64encode(data).decode()
    return f'<img alt="{html.escape(label)}" src="data:image/png;base64,{text}">'


def _settings(config: dict[str, Any]) -> str:
    rows: list[list[str]] = []

    def walk(tree: Any, name: str) -> None:
        if isinstance(tree, dict):
            for key, value in sorted(tree.items()):
                walk(value, f"{name}.{key}" if name else key)
        else:
            rows.append([name, str(tree)])

    walk(config, "")
    return _table(["setting", "value"], rows)
