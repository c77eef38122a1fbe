"""Settings of the documentation's builder: `make docs`."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import api  # noqa: E402

project, author = "focus_jax", "The focus_jax authors"
(release,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
copyright = author

extensions = ["myst_nb"]
exclude_patterns = ["_build", "*.py"]
add_module_names = False
suppress_warnings = ["ref.python"]  # a name of two modules, in annotations
html_theme = "furo"
html_title = f"focus_jax {release}"
html_show_sourcelink = False
html_static_path, html_css_files = ["_static"], ["wide.css"]
toc_object_entries_show_parents = "hide"
highlight_language = "text"  # where a block says none
python_maximum_signature_line_length = 80  # longer ones have a line a parameter

# Pages are Markdown, as GitHub shows it; a link to a heading is its words.
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
nb_execution_mode = "force"  # the notebook runs whenever the site is built
nb_execution_raise_on_error = True
nb_execution_timeout = 1200  # a cell, on a busy machine
nb_merge_streams = True
nb_output_stderr = "remove"  # Warp's line on a machine without a GPU

# The reference, made of the sources.
api.write(Path(__file__).parent / "_api")
