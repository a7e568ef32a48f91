"""Links and images in Markdown lead somewhere: to a file, a heading, or a page of this machine.

python -m checks.links [FOLDER]: every document that git knows there.
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
AN_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)
THIS_MACHINE = re.compile(r"https?://(localhost|127\.0\.0\.1)(?=[:/?#]|$)", re.IGNORECASE)


def links(text: str) -> Iterator[tuple[int, str]]:
    """Each link and image of a document: its line and where it leads."""
    for token in MARKDOWN.parse(text):
        line = token.map[0] + 1 if token.map else 0
        for part in token.children or ():
            if part.type in ("softbreak", "hardbreak"):
                line += 1
            if part.type in ("link_open", "image"):
                yield line, unquote(str(part.attrs.get("href", part.attrs.get("src", ""))))


def anchors(text: str) -> set[str]:
    """What a #fragment may name: a document's headings, as GitHub makes names of them."""
    tokens, seen, names = MARKDOWN.parse(text), Counter[str](), set()
    for before, token in pairwise(tokens):
        if before.type == "heading_open":
            words = "".join(part.content for part in token.children or () if part.type != "image")
            name = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
            names.add(f"{name}-{seen[name]}" if seen[name] else name)
            seen[name] += 1
    return names


def wrong(root: Path, document: Path, target: str) -> str:
    """Why a link of a document leads nowhere; blank when it leads somewhere."""
    if AN_ADDRESS.match(target):
        return "" if THIS_MACHINE.match(target) else "leads elsewhere, where nothing can be checked"
    name, _, fragment = target.partition("#")
    path = (document.parent / name).resolve() if name else document.resolve()
    if not path.is_relative_to(root.resolve()):
        return "leads out of the repository"
    if not path.exists():
        return "there is no such file"
    if fragment and (path.suffix != ".md" or fragment not in anchors(path.read_text("utf-8"))):
        return f"there is no heading #{fragment}"
    return ""


def findings(root: Path, documents: list[str]) -> Iterator[str]:
    """`file:line: target: reason` for each link that leads nowhere."""
    for name in documents:
        for line, target in links((root / name).read_text("utf-8")):
            if reason := wrong(root, root / name, target):
                yield f"{name}:{line}: {target}: {reason}"


def main(root: Path) -> int:
    """Print what is wrong, or how much was looked at; 1 for findings."""
    documents = tracked(root, "*.md")
    if found := list(findings(root, documents)):
        print("\n".join(found))
        return 1
    count = sum(1 for name in documents for _ in links((root / name).read_text("utf-8")))
    print(f"links: {len(documents)} documents, {count} links")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(Path(*sys.argv[1:2])))
    except StackError as refused:
        sys.exit(f"links: {refused}")
