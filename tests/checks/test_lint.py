"""Run `nox -s lint` on a copy of this repository with planted faults."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import ROOT, copy_repository

# The steps for documents and artifacts. ruff and mypy need no test here.
STEPS = ["shellcheck", "hadolint", "yamllint", "compose-lint", "unit-files", "links", "wording"]
STEPS += ["leaks"]
MISSPELLED = ("orchestration/systemd/stack.service", "",
            "[Service]\nExecStart=/bin/true\nRestrat=always\n")  # fmt: skip
# Concatenated so that this file contains no secret.
KEY = "AKIA" + "Q7ZP2M9XK4T1VB6N"

with_compose = pytest.mark.skipif(
    not any(
        shutil.which(argv[0])
        and not subprocess.run([*argv, "version"], capture_output=True).returncode
        for argv in (["docker", "compose"], ["docker-compose"])
    ),
    reason="needs Compose",
)


def git(folder, *words):
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def lint(folder, *steps):
    """Run lint steps in a folder; return the exit code and the output."""
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "nox", "-s", "lint", "--", *steps], cwd=folder, text=True,
        env={**os.environ, "PATH": tools}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Return a copy of the repository in which git tracks only documents and artifacts."""
    folder = copy_repository(tmp_path_factory.mktemp("copy"))
    git(folder, "init", "-q")
    git(folder, "add", "*.md", "*.yaml", "*.sh", "*.dockerfile")
    return folder


@pytest.fixture
def edit(copy):
    """Change a file of the copy or add one; undo that after the test."""
    originals = {}

    def edit(name, old="", new=""):
        path = copy / name
        originals[path] = path.read_text("utf-8") if path.exists() else None
        text = originals[path] or ""
        assert old in text
        path.write_text(text.replace(old, new, 1) if old else text + new, "utf-8")
        git(copy, "add", name)

    yield edit
    for path, text in originals.items():
        if text is None:
            path.unlink()
        else:
            path.write_text(text, "utf-8")


def test_lint_of_the_repository_passes(copy):
    code, output = lint(copy, *STEPS)
    assert code == 0, output
    assert "links: " in output


def test_lint_finds_all_planted_faults_in_one_run(copy, edit):
    edit("README.md", new="\n[gone](nowhere.md)\n")
    last = len((copy / "README.md").read_text("utf-8").splitlines())
    edit("install/airflow-entrypoint.sh", new="cd $1\n")
    edit("install/status.dockerfile", new="WORKDIR here\n")
    edit("orchestration/docker-compose.yaml", "  redis:\n", "  redis:\n    privileged: true\n")
    edit("install/base/compose.yaml", new="x-a:  1\n")
    edit("docs/notes.md", new=f"# Notes\n\n{KEY}\nIt starts {'an' + 'ew'}.\n")
    edit(*MISSPELLED)

    code, output = lint(copy, *STEPS)

    assert code == 1
    assert f"README.md:{last}: nowhere.md: no such file" in output
    assert "In install/airflow-entrypoint.sh line" in output
    assert "install/status.dockerfile:" in output
    assert "install/base/compose.yaml" in output
    assert "CL-0002" in output
    assert "docs/notes.md:4: anew ==> again" in output  # codespell:ignore anew
    assert re.search(r"AWS Access Key\nLocation: +docs/notes.md:3\n", output)
    failed = [step for step in STEPS if step != "unit-files" or shutil.which("systemd-analyze")]
    assert f"Problems found by {', '.join(failed)}." in output


def test_wording_knows_each_entry_of_its_dictionary(tmp_path):
    entries = (ROOT / "checks/wording.txt").read_text().splitlines()
    words = tmp_path / "words.txt"
    words.write_text("".join(entry.partition("->")[0] + "\n" for entry in entries))
    done = subprocess.run(["codespell", words], cwd=ROOT, capture_output=True, text=True)
    assert {int(line.split(":")[1]) for line in done.stdout.splitlines()} == {
        *range(1, len(entries) + 1)
    }


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_unit_files_misspelled_key_fails(copy, edit):
    edit(*MISSPELLED)
    code, output = lint(copy, "unit-files")
    assert code == 1
    assert "orchestration/systemd/stack.service:3: Unknown key" in output


@pytest.mark.parametrize(("ci", "expected"), [("", 0), ("true", 1)])
@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("unit-files", "systemd-analyze is missing on this machine"),
        ("compose-file", "Compose v2 is missing"),
    ],
)
def test_step_without_its_program_fails_only_in_ci(copy, monkeypatch, step, reason, ci, expected):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CI", ci)
    code, output = lint(copy, step)
    assert code == expected
    assert f"{step}: not checked: {reason}" in output


@with_compose
def test_compose_file_ignores_local_settings(copy, monkeypatch):
    monkeypatch.setenv("REDIS_IMAGE", ": :")
    private = [copy / "orchestration" / name for name in (".env", "docker-compose.override.yaml")]
    for path in private:
        path.write_text("POSTGRES_IMAGE=: :\n")
    try:
        code, output = lint(copy, "compose-file")
    finally:
        for path in private:
            path.unlink()
    assert code == 0, output
    assert output.count("config --quiet\n") == 4


@with_compose
@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("yaml", "  redis:\n    <<", "  redis:\n    imagine: 1\n    <<", "imagine"),
        ("yaml", "services:\n", "services:\n  odd\n", "yaml: line "),
        ("yaml", "depends_on: [postgres]", "depends_on: [postgresql]", "postgresql"),
        ("yaml", "{POSTGRES_PASSWORD:?", "{POSTGRES_PASWORD:?", "POSTGRES_PASWORD is missing"),
        ("yaml", "${SMTP_HOST:-}", "${SMTP_HSOT}", "SMTP_HSOT"),
        ("tls.yaml", "${PUBLIC_HOST:?", "${PUBLIC_HSOT:?", "PUBLIC_HSOT is missing a value"),
        ("s3.yaml", "services:\n", "services:\n  odd\n", "yaml: line "),
        ("logs.yaml", "services:\n", "services:\n  odd\n", "yaml: line "),
    ],
)
def test_compose_file_fails_on_errors_and_warnings_of_compose(copy, edit, file, old, new, reason):
    edit(f"orchestration/docker-compose.{file}", old, new)
    code, output = lint(copy, "compose-file")
    assert code == 1
    assert reason in output


@pytest.mark.parametrize(
    ("name", "line", "kind"),
    [
        ("a.py", f'key = "{KEY}"', "AWS Access Key"),
        ("a.yaml", "password: " + "'tr0ub4dor&3'", "Secret Keyword"),
        ("a.in", "--index-url https://me:" + "tr0ub4dor@mirror.example/simple", "Basic Auth"),
        ("a.pem", "-----BEGIN " + "RSA PRIVATE KEY-----", "Private Key"),
    ],
)
def test_leaks_finds_each_kind_of_secret_without_printing_it(copy, edit, name, line, kind):
    edit(name, new=f"first\n{line}\n")
    code, output = lint(copy, "leaks")
    assert code == 1
    assert re.search(rf"{kind}.*\nLocation: +{name}:2\n", output)
    assert line not in output


def test_leaks_skips_marked_lines_and_untracked_files(copy, edit):
    edit("a.py", new=f'key = "{KEY}"  # pragma: allowlist secret\n')
    (copy / "untracked").write_text(KEY)
    (copy / "link").symlink_to("untracked")
    git(copy, "add", "link")
    code, output = lint(copy, "leaks")
    assert code == 0, output


def test_leaks_without_a_repository_fails(copy):
    (copy / ".git").rename(copy / "no-git")
    try:
        code, output = lint(copy, "leaks")
    finally:
        (copy / "no-git").rename(copy / ".git")
    assert code == 1
    assert "not a git repository" in output


def test_compose_lint_waiver_of_unknown_rule_fails(copy, edit):
    edit("checks/compose-lint.yaml", new="  CL-9999:\n    enabled: false\n    reason: x\n")
    code, output = lint(copy, "compose-lint")
    assert code == 1
    assert "CL-9999" in output


def test_lint_ignores_arguments_of_other_sessions(copy):
    code, output = lint(copy, "--json", "links", "standalone")
    assert code == 0
    assert re.findall(r"^nox > python -m (\S+)", output, re.MULTILINE) == ["checks.links"]
