"""`nox -s lint` on a copy of this repository: all that is planted is found, in one go."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import copy_repository

# What judges the documents and artifacts; ruff and mypy need no proof here.
STEPS = ["shellcheck", "hadolint", "yamllint", "compose-lint", "unit-files", "links", "leaks"]
MISSPELT = ("orchestration/systemd/stack.service", "",
            "[Service]\nExecStart=/bin/true\nRestrat=always\n")  # fmt: skip
# Built here, so that this file has no secret in it.
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
    """Exit code and all that was printed."""
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "nox", "-s", "lint", "--", *steps], cwd=folder, text=True,
        env={**os.environ, "PATH": tools}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """What lint looks at and what it is made of; git knows the documents and artifacts alone."""
    folder = copy_repository(tmp_path_factory.mktemp("copy"))
    git(folder, "init", "-q")
    git(folder, "add", "*.md", "*.yaml", "*.sh", "*.dockerfile")
    return folder


@pytest.fixture
def spoilt(copy):
    """Change a file of the copy, or add one; all is put back afterwards."""
    before = {}

    def spoil(name, old="", new=""):
        path = copy / name
        before[path] = path.read_text("utf-8") if path.exists() else None
        text = before[path] or ""
        assert old in text
        path.write_text(text.replace(old, new, 1) if old else text + new, "utf-8")
        git(copy, "add", name)

    yield spoil
    for path, text in before.items():
        if text is None:
            path.unlink()
        else:
            path.write_text(text, "utf-8")


def test_what_is_in_the_repository_passes(copy):
    code, told = lint(copy, *STEPS)
    assert code == 0, told
    assert "links: " in told


def test_everything_planted_is_found_in_one_go_with_file_and_line(copy, spoilt):
    spoilt("README.md", new="\n[gone](nowhere.md)\n")
    last = len((copy / "README.md").read_text("utf-8").splitlines())
    spoilt("install/airflow-entrypoint.sh", new="cd $1\n")
    spoilt("install/status.dockerfile", new="WORKDIR here\n")
    spoilt("orchestration/docker-compose.yaml", "  redis:\n", "  redis:\n    privileged: true\n")
    spoilt("install/base/compose.yaml", new="x-a:  1\n")
    spoilt("docs/notes.md", new=f"# Notes\n\n{KEY}\n")
    spoilt(*MISSPELT)

    code, told = lint(copy, *STEPS)

    assert code == 1
    assert f"README.md:{last}: nowhere.md: there is no such file" in told
    assert "In install/airflow-entrypoint.sh line" in told
    assert "install/status.dockerfile:" in told
    assert "install/base/compose.yaml" in told
    assert "CL-0002" in told
    assert re.search(r"AWS Access Key\nLocation: +docs/notes.md:3\n", told)
    found = [step for step in STEPS if step != "unit-files" or shutil.which("systemd-analyze")]
    assert f"found above by {', '.join(found)}" in told


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_a_misspelt_key_of_a_unit_is_found_where_systemd_only_warns(copy, spoilt):
    spoilt(*MISSPELT)
    code, told = lint(copy, "unit-files")
    assert code == 1
    assert "orchestration/systemd/stack.service:3: Unknown key" in told


@pytest.mark.parametrize(("ci", "expected"), [("", 0), ("true", 1)])
@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("unit-files", "systemd-analyze is not on this machine"),
        ("compose-file", "no Compose v2 is here"),
    ],
)
def test_a_step_without_its_program_says_so_and_fails_in_ci_alone(
    copy, monkeypatch, step, reason, ci, expected
):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CI", ci)
    code, told = lint(copy, step)
    assert code == expected
    assert f"{step}: not checked: {reason}" in told


@with_compose
def test_compose_file_reads_no_settings_of_a_person(copy, monkeypatch):
    monkeypatch.setenv("REDIS_IMAGE", ": :")
    private = [copy / "orchestration" / name for name in (".env", "docker-compose.override.yaml")]
    for path in private:
        path.write_text("POSTGRES_IMAGE=: :\n")
    try:
        code, told = lint(copy, "compose-file")
    finally:
        for path in private:
            path.unlink()
    assert code == 0, told
    assert told.count("config --quiet\n") == 4


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
def test_compose_file_finds_what_compose_refuses_or_warns_of(copy, spoilt, file, old, new, reason):
    spoilt(f"orchestration/docker-compose.{file}", old, new)
    code, told = lint(copy, "compose-file")
    assert code == 1
    assert reason in told


@pytest.mark.parametrize(
    ("name", "line", "kind"),
    [
        ("a.py", f'key = "{KEY}"', "AWS Access Key"),
        ("a.yaml", "password: " + "'tr0ub4dor&3'", "Secret Keyword"),
        ("a.in", "--index-url https://me:" + "tr0ub4dor@mirror.example/simple", "Basic Auth"),
        ("a.pem", "-----BEGIN " + "RSA PRIVATE KEY-----", "Private Key"),
    ],
)
def test_leaks_finds_each_kind_of_secret_and_prints_none(copy, spoilt, name, line, kind):
    spoilt(name, new=f"first\n{line}\n")
    code, told = lint(copy, "leaks")
    assert code == 1
    assert re.search(rf"{kind}.*\nLocation: +{name}:2\n", told)
    assert line not in told


def test_leaks_passes_a_line_that_is_marked_and_files_outside_git(copy, spoilt):
    spoilt("a.py", new=f'key = "{KEY}"  # pragma: allowlist secret\n')
    (copy / "untracked").write_text(KEY)
    (copy / "link").symlink_to("untracked")
    git(copy, "add", "link")
    code, told = lint(copy, "leaks")
    assert code == 0, told


def test_leaks_fails_where_git_cannot_list_files(copy):
    (copy / ".git").rename(copy / "no-git")
    try:
        code, told = lint(copy, "leaks")
    finally:
        (copy / "no-git").rename(copy / ".git")
    assert code == 1
    assert "not a git repository" in told


def test_a_waiver_for_a_rule_that_does_not_exist_is_refused(copy, spoilt):
    spoilt("checks/compose-lint.yaml", new="  CL-9999:\n    enabled: false\n    reason: x\n")
    code, told = lint(copy, "compose-lint")
    assert code == 1
    assert "CL-9999" in told


def test_words_for_sessions_that_run_along_are_no_steps(copy):
    code, told = lint(copy, "--json", "links", "standalone")
    assert code == 0
    assert re.findall(r"^nox > python -m (\S+)", told, re.MULTILINE) == ["checks.links"]
