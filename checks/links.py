"""Check that links and images in Markdown lead to a file, a heading or a page of this machine.

`python -m checks.links [FOLDER]` checks every document that git tracks in the folder.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt

from checks.tracked import tracked
from orchestration.errors import StackError

MARKDOWN = MarkdownIt("commonmark").enable("table")
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)
THIS_MACHINE = re.compile(r"https?://(localhost|127\.0\.0\.1)(?=[:/?#]|$)", re.IGNORECASE)


def links(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the target of each link and image of a document."""
    for token in MARKDOWN.parse(text):
        line = token.map[0] + 1 if token.map else 0
        for part in token.children or ():
            if part.type in ("softbreak", "hardbreak"):
                line += 1
            if part.type in ("link_open", "image"):
                yield line, unquote(str(part.attrs.get("href", part.attrs.get("src", ""))))


def anchors(text: str) -> set[str]:
    """Return the #fragments of a document: its headings, as GitHub converts them."""
    tokens, seen, names = MARKDOWN.parse(text), Counter[str](), set()
    for previous, token in pairwise(tokens):
        if previous.type == "heading_open":
            title = "".join(part.content for part in token.children or () if part.type != "image")
            name = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
            names.add(f"{name}-{seen[name]}" if seen[name] else name)
            seen[name] += 1
    return names


def problem(root: Path, document: Path, target: str) -> str:
    """Return why a link of a document is broken, or a blank string."""
    if ADDRESS.match(target):
        return "" if THIS_MACHINE.match(target) else "external links cannot be checked"
    name, _, fragment = target.partition("#")
    path = (document.parent / name).resolve() if name else document.resolve()
    if not path.is_relative_to(root.resolve()):
        return "outside the repository"
    if not path.exists():
        return "no such file"
    if fragment and (path.suffix != ".md" or fragment not in anchors(path.read_text("utf-8"))):
        return f"no heading #{fragment}"
    return ""


def findings(root: Path, documents: list[str]) -> Iterator[str]:
    """Yield `file:line: target: reason` for each broken link."""
    for name in documents:
        for line, target in links((root / name).read_text("utf-8")):
            if reason := problem(root, root / name, target):
                yield f"{name}:{line}: {target}: {reason}"


def main(root: Path) -> int:
    """Print the broken links and return 1, or print how many links were checked and return 0."""
    documents = tracked(root, "*.md")
    if broken := list(findings(root, documents)):
        print("\n".join(broken))
        return 1
    count = sum(1 for name in documents for _ in links((root / name).read_text("utf-8")))
    print(f"links: {len(documents)} documents, {count} links")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(Path(*sys.argv[1:2])))
    except StackError as error:
        sys.exit(f"Error: {error}")
