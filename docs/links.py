"""Whether links lead anywhere: `python docs/links.py docs/_build README.md`.

Of each built page, or Markdown file of the repository: files that it links to exist, and so do the
places within them. Addresses elsewhere are not asked. Exits with 1 and a line for each broken link.
"""

import functools
import html.parser
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit


class Page(html.parser.HTMLParser):
    """Links of an HTML page, and the names that can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name in ("id", "name") and value:
                self.names.add(value)


def broken(path: Path) -> Iterator[str]:
    """The links of a page that lead nowhere: of an HTML file with places, of Markdown without."""
    if path.suffix == ".md":
        links = re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
    else:
        links = _page(path).links
    for link in links:
        where, place = urldefrag(link)
        parts = urlsplit(where)
        if parts.scheme or parts.netloc:
            continue
        target = path.parent / unquote(parts.path) if parts.path else path
        if target.suffix == ".html" and place and target.is_file():
            if unquote(place) not in _page(target.resolve()).names:
                yield f"{path}: {link}"
        elif not target.exists():
            yield f"{path}: {link}"


@functools.cache
def _page(path: Path) -> Page:
    return Page(path)


def main(places: Sequence[str]) -> int:
    """Print the broken links of files, and of all pages in folders; returns the exit status."""
    files = [
        file
        for place in map(Path, places)
        for file in (sorted(place.rglob("*.html")) if place.is_dir() else [place])
    ]
    found = [line for file in files for line in broken(file)]
    print("\n".join(found) or f"links of {len(files)} pages lead somewhere")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
