"""Test reading requirements.txt, and which lines are refused before a build."""

import pytest

from orchestration.dependencies.requirements import unmet_lines
from orchestration.dependencies.requirements_file import (
    applies,
    content,
    imported_packages,
    lines,
    refusals,
    requirement,
)

WHEEL = "./wheels/colleague-1.0-py3-none-any.whl"


@pytest.fixture
def install(tmp_path):
    (tmp_path / "wheels").mkdir()
    (tmp_path / WHEEL).touch()
    return tmp_path


def test_lines_joins_continued_lines_and_skips_comments():
    text = "# first\n\nfoo \\\n  ==2 \\\r\n  --hash=sha256:aa\r\nbar  # why\n"
    assert [(n, content(line)) for n, line in lines(text)] == [
        (3, "foo ==2 --hash=sha256:aa"),
        (6, "bar"),
    ]


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("--index-url https://pypi.example/simple", "Set PYPI_INDEX_URL in .env instead."),
        ("-i https://pypi.example/simple", "Set PYPI_INDEX_URL in .env instead."),
        ("--extra-index-url https://whl.example/cpu", "Builds use one package index"),
        ("--find-links https://whl.example", "Builds use one package index"),
        ("-e .", "move the code to include/"),
        ("--editable ./src", "move the code to include/"),
        ("-r other.txt", "Copy the lines of that file"),
        ("-c limits.txt", "Copy the lines of that file"),
        ("--pre", "Remove the option."),
        ("git+https://git.example/a/b", "Builds have no git."),
        ("b @ git+ssh://git.example/a/b@main", "Builds have no git."),
        ("./wheels/absent-1.0-py3-none-any.whl", "does not exist"),
        ("colleague-1.0-py3-none-any.whl", "install/wheels/"),
        ("../colleague-1.0-py3-none-any.whl", "install/wheels/"),
        ("/srv/colleague-1.0-py3-none-any.whl", "install/wheels/"),
        ("colleague @ file:///srv/colleague-1.0.tar.gz", "install/wheels/"),
        ("./src", "install/wheels/"),
    ],
)
def test_refusals_names_line_and_alternative(install, line, advice):
    (message,) = refusals(f"pandas\n{line}  # why\n", install)
    first, second = message.splitlines()
    assert first == f"install/requirements.txt line 2: {line}"
    assert advice in second


@pytest.mark.parametrize(
    "line",
    [
        "pandas<3",
        "pandera[pandas]==0.35.0 --hash=sha256:aa",
        "tomli; python_version < '3.11'",
        "w @ https://whl.example/w-1.0-py3-none-any.whl",
        WHEEL,
        f"colleague @ {WHEEL}",
        # uv's message about it is better than ours.
        "numpy==",
    ],
)
def test_refusals_accepts_what_both_engines_can_build(install, line):
    assert refusals(f"{line}\n", install) == []


def test_refusals_hides_passwords(install):
    (message,) = refusals("--extra-index-url https://ada:secret@x.example/simple\n", install)
    assert "secret" not in message
    assert "https://***@x.example/simple" in message


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tomli; python_version < '3.11'", False),
        ("tomli; python_version >= '3.11'", True),
        ("pywin32; sys_platform == 'win32'", False),
        ("uvloop; sys_platform == 'linux' and implementation_name == 'cpython'", True),
    ],
)
def test_applies_evaluates_markers_for_the_stack_not_for_this_machine(line, expected):
    assert applies(requirement(line)) is expected


def test_imported_packages_skips_excluded_lines_and_names_wheels():
    text = f"Some_Name>=1\n{WHEEL}\ntomli; python_version < '3'\ndata==1  # not imported: a CSV\n"
    assert [name for name, _ in imported_packages(text)] == ["some-name", "colleague"]


@pytest.mark.parametrize(
    ("line", "lock", "is_met"),
    [
        ("tomli; python_version < '3.11'", "", True),
        (WHEEL, f"{WHEEL} \\\n    --hash=sha256:aa\n", True),
        (WHEEL, "pandas==2\n", False),
        ("w @ https://x.example/w-1.0.zip", "w @ https://x.example/w-1.0.zip \\\n", True),
        ("w @ https://x.example/w-2.0.zip", "w @ https://x.example/w-1.0.zip \\\n", False),
    ],
)
def test_unmet_lines_understands_markers_wheels_and_urls(line, lock, is_met):
    assert list(unmet_lines(f"{line}\n", lock)) == ([] if is_met else [(1, line)])
