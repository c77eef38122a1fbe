"""The reference of public names, as Markdown made of the sources: `docs/conf.py` calls `write`.

The code is read and not imported, so that signatures have jaxtyping's shapes as they are written,
and the site is built in seconds. A page a room, a section a module.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import focus_jax

PACKAGE = Path(focus_jax.__file__).parent
# Modules beside those that have a name in `focus_jax`.
OTHERS = (
    *("data.align", "data.detect", "data.landmarks", "data.occluders.paste"),
    *("data.synthetic.faces", "evaluation.masks", "evaluation.now", "evaluation.shape"),
    *("face_models", "face_models.npz", "forward", "losses", "networks.recognizer", "types"),
    *("weights", "weights.run", "weights.torch"),
)


def modules() -> list[str]:
    """Names of the modules that the reference describes, without the package's."""
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    named = {module for module, _ in focus_jax._PLACES.values()} - rooms
    return sorted(named | set(OTHERS))


def write(folder: Path) -> None:
    """The pages of all modules in `folder`, `index.md` with their table of contents."""
    pages: dict[str, list[str]] = {}
    for module in modules():
        room = module.partition(".")[0]
        heading = "" if module == room else f"## {module}\n\n"
        pages.setdefault(room, []).append(heading + "\n".join(_section(module)))
    folder.mkdir(exist_ok=True)
    for room, sections in pages.items():
        (folder / f"{room}.md").write_text(f"# {room}\n\n" + "\n".join(sections), encoding="utf-8")
    listed = "\n".join(sorted(pages))
    (folder / "index.md").write_text(
        "# API\n\nPublic names: what `focus_jax` hands up, and the modules behind it. Axes are "
        f"those of [types](types.md).\n\n```{{toctree}}\n:maxdepth: 2\n\n{listed}\n```\n",
        encoding="utf-8",
    )


def _section(module: str) -> Iterator[str]:
    path = PACKAGE.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    yield f"{ast.get_docstring(tree) or ''}\n"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_":
            yield from _described(f"focus_jax.{module}.{node.name}", node, source)


def _described(name: str, node: ast.FunctionDef | ast.ClassDef, source: str) -> Iterator[str]:
    said = ast.get_docstring(node) or ""
    if isinstance(node, ast.FunctionDef):
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        yield f"::::{{py:function}} {name}({ast.unparse(node.args)}){returns}\n\n{said}\n::::\n"
        return
    yield f"::::{{py:class}} {name}\n\n{said}\n"
    fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
    if fields:
        lines = source.splitlines()[fields[0].lineno - 1 : fields[-1].end_lineno]
        yield "```python\n" + "\n".join(line.removeprefix("    ") for line in lines) + "\n```\n"
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name[0] != "_" and ast.get_docstring(part):
            arguments = ast.unparse(part.args).removeprefix("self, ").removeprefix("self")
            returns = f" -> {ast.unparse(part.returns)}" if part.returns else ""
            yield f":::{{py:method}} {part.name}({arguments}){returns}\n"
            yield f"{ast.get_docstring(part)}\n:::\n"
    yield "::::\n"


if __name__ == "__main__":
    write(Path(__file__).parent / "_api")
