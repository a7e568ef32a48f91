"""Where links in Markdown may lead, and where not."""

import sys

import pytest

from checks import links
from tests.support.process import run
from tests.support.repository import ROOT

HEADINGS = "# `inv up`, and *then*\n\n## A – ✓ b_c\n\n## Same\n\n## Same\n\nUnder\nlined\n-----\n"


@pytest.fixture
def folder(tmp_path):
    """Documents that links may lead to."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a b.md").write_text(HEADINGS, "utf-8")
    (tmp_path / "script.sh").write_text("true\n", "utf-8")
    return tmp_path


def found(folder, text):
    (folder / "docs/page.md").write_text(text, "utf-8")
    return list(links.findings(folder, ["docs/page.md"]))


@pytest.mark.parametrize(
    "target",
    ["../script.sh", "..", "a%20b.md", "<a b.md>", "a%20b.md#same", "#here", "http://localhost:80/x",
     "http://127.0.0.1"],
)  # fmt: skip
def test_a_link_to_what_is_there_passes(folder, target):
    assert found(folder, f"# Here\n\n[words]({target})\n") == []


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("gone.md", "there is no such file"),
        ("/script.sh", "leads out of the repository"),
        ("../../elsewhere", "leads out of the repository"),
        ("#gone", "there is no heading #gone"),
        ("a%20b.md#gone", "there is no heading #gone"),
        ("../script.sh#top", "there is no heading #top"),
        ("https://example.org/x", "leads elsewhere, where nothing can be checked"),
        ("http://localhost.example.org", "leads elsewhere, where nothing can be checked"),
        ("//example.org", "leads elsewhere, where nothing can be checked"),
        ("mailto:me@example.org", "leads elsewhere, where nothing can be checked"),
    ],
)
def test_a_link_that_leads_nowhere_is_told_with_file_line_and_reason(folder, target, reason):
    [told] = found(folder, f"# Here\n\n[words]({target})\n")
    assert told.startswith("docs/page.md:3: ")
    assert told.endswith(f": {reason}")


def test_lines_are_right_in_paragraphs_tables_lists_and_quotes(folder):
    table = "| h |\n|---|\n| i |\n| [b](x2) |"
    text = f"one\ntwo [a](x1)\n\n{table}\n\n- j\n  [c](x3)\n\n> k\n> ![d](x4)\n"
    lines = [told.split(":")[1] for told in found(folder, text)]
    assert lines == ["2", "7", "10", "13"]


def test_images_and_links_by_reference_count_and_code_does_not(folder):
    text = "![i](gone.png) [r][1] `[c](gone.c)`\n\n    [d](gone.d)\n\n[1]: gone.r\n"
    assert [told.split(": ")[1] for told in found(folder, text)] == ["gone.png", "gone.r"]


def test_headings_have_the_names_that_github_gives_them():
    names = {"inv-up-and-then", "a---b_c", "same", "same-1", "underlined"}
    assert links.anchors(HEADINGS) == names


def test_a_folder_without_a_repository_is_no_pass(tmp_path):
    done = run(sys.executable, "-m", "checks.links", tmp_path, cwd=ROOT)
    assert done.returncode == 1
    assert "not a git repository" in done.stderr
