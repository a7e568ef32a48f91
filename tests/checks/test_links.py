"""Test which links in Markdown are accepted and which are reported."""

import sys

import pytest

from checks import links
from tests.support.process import run
from tests.support.repository import ROOT

HEADINGS = "# `inv up`, and *then*\n\n## A – ✓ b_c\n\n## Same\n\n## Same\n\nUnder\nlined\n-----\n"


@pytest.fixture
def folder(tmp_path):
    """Return a folder with files that links may lead to."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a b.md").write_text(HEADINGS, "utf-8")
    (tmp_path / "script.sh").write_text("true\n", "utf-8")
    return tmp_path


def findings(folder, text):
    (folder / "docs/page.md").write_text(text, "utf-8")
    return list(links.findings(folder, ["docs/page.md"]))


@pytest.mark.parametrize(
    "target",
    ["../script.sh", "..", "a%20b.md", "<a b.md>", "a%20b.md#same", "#here", "http://localhost:80/x",
     "http://127.0.0.1"],
)  # fmt: skip
def test_link_to_existing_target_passes(folder, target):
    assert findings(folder, f"# Here\n\n[words]({target})\n") == []


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("gone.md", "no such file"),
        ("/script.sh", "outside the repository"),
        ("../../elsewhere", "outside the repository"),
        ("#gone", "no heading #gone"),
        ("a%20b.md#gone", "no heading #gone"),
        ("../script.sh#top", "no heading #top"),
        ("https://example.org/x", "external links cannot be checked"),
        ("http://localhost.example.org", "external links cannot be checked"),
        ("//example.org", "external links cannot be checked"),
        ("mailto:me@example.org", "external links cannot be checked"),
    ],
)
def test_broken_link_is_reported_with_file_line_and_reason(folder, target, reason):
    [finding] = findings(folder, f"# Here\n\n[words]({target})\n")
    assert finding.startswith("docs/page.md:3: ")
    assert finding.endswith(f": {reason}")


def test_line_numbers_in_paragraphs_tables_lists_and_quotes(folder):
    table = "| h |\n|---|\n| i |\n| [b](x2) |"
    text = f"one\ntwo [a](x1)\n\n{table}\n\n- j\n  [c](x3)\n\n> k\n> ![d](x4)\n"
    lines = [finding.split(":")[1] for finding in findings(folder, text)]
    assert lines == ["2", "7", "10", "13"]


def test_images_and_reference_links_are_checked_but_not_code(folder):
    text = "![i](gone.png) [r][1] `[c](gone.c)`\n\n    [d](gone.d)\n\n[1]: gone.r\n"
    targets = [finding.split(": ")[1] for finding in findings(folder, text)]
    assert targets == ["gone.png", "gone.r"]


def test_anchors_are_those_of_github():
    names = {"inv-up-and-then", "a---b_c", "same", "same-1", "underlined"}
    assert links.anchors(HEADINGS) == names


def test_folder_outside_a_repository_fails(tmp_path):
    done = run(sys.executable, "-m", "checks.links", tmp_path, cwd=ROOT)
    assert done.returncode == 1
    assert "not a git repository" in done.stderr
