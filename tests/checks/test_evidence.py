"""Test the evidence of failed smoke tests with commands that print every secret."""

import os
import sys

import pytest

from orchestration.settings.model import SECRETS
from tests.e2e import evidence
from tests.e2e.clone import INIT_JOBS, SERVICES, Clone
from tests.support.process import path_with_programs, run
from tests.support.repository import ROOT

EXTERNAL_SECRETS = {
    "ALERT_WEBHOOK_URL": "https://hooks.example/T0/B0/words-of-a-webhook",
    "SMTP_PASSWORD": "words-of-a-mail-account",  # pragma: allowlist secret
    "AWS_SECRET_ACCESS_KEY": "words-of-a-cloud",  # pragma: allowlist secret
}
INDEX = "https://me:words-of-an-index@pypi.example/simple"  # pragma: allowlist secret
# This command prints its arguments, .env and its environment.
LEAK = 'echo "arguments: $*"\ncat {folder}/.env\nenv\necho "{index}" >&2\n'


@pytest.fixture(params=sorted(SERVICES))
def clone(request, tmp_path):
    """Return a clone whose commands print its secrets: those of .env and an exported one."""
    folder = tmp_path / "first" / "clone"
    folder.mkdir(parents=True)
    (folder / "orchestration").mkdir()
    values = {name: make() for name, make in SECRETS.items()} | EXTERNAL_SECRETS
    lines = ["# generated", "COMPOSE_PROJECT_NAME=clone-1", f"PYPI_INDEX_URL={INDEX}", "SMTP_USER="]
    lines += [f"{name}={value}" for name, value in values.items()]
    (folder / ".env").write_text("\n".join(lines))
    commands = tmp_path / "bin"
    commands.mkdir()
    script = LEAK.format(folder=folder, index=INDEX)
    path_with_programs(commands, **dict.fromkeys(("inv", "docker", "supervisorctl"), script))
    environment = {"PATH": f"{commands}:/usr/bin:/bin", "STACK_ENGINE": request.param}
    environment["REDIS_PASSWORD"] = "words-of-a-shell"  # pragma: allowlist secret
    return Clone(folder, environment)


def secrets(clone):
    names = (*SECRETS, *EXTERNAL_SECRETS)
    return {clone.settings()[name] for name in names} | {"words-of-a-shell"}


def test_evidence_masks_secrets_and_keeps_other_text(clone, tmp_path):
    failure = f"it printed {clone.setting('AIRFLOW_JWT_SECRET')} and {INDEX}"
    folder = evidence.collect(tmp_path / "kept", clone.engine, failure, [clone])
    texts = {file: file.read_text() for file in folder.rglob("*") if file.is_file()}
    assert len(secrets(clone)) == len(SECRETS) + len(EXTERNAL_SECRETS) + 1
    for file, text in texts.items():
        assert not [word for word in secrets(clone) if word in text], file
        assert "words-of" not in text, file
    assert (
        "it printed <AIRFLOW_JWT_SECRET> and https://<credentials>@pypi.example/simple"
        in "".join(texts.values())
    )
    assert "COMPOSE_PROJECT_NAME=clone-1\n" in (folder / "first" / "settings.env").read_text()


def test_evidence_has_logs_of_services_and_state_of_stack(clone, tmp_path):
    folder = evidence.collect(tmp_path / "kept", clone.engine, "it failed", [clone])
    logs = {file.stem: file.read_text() for file in (folder / "first" / "logs").iterdir()}
    assert set(logs) == SERVICES[clone.engine] | INIT_JOBS
    assert all(f"arguments: logs -s {name} --tail 300" in text for name, text in logs.items())
    state = (folder / "first" / "state.txt").read_text()
    assert "arguments: health --json" in state
    commands = {
        "docker": ["ps --all --filter label=com.docker.compose.project=clone-1", "compose config"],
        "standalone": [f"-s {clone.supervisor()} status"],
    }
    assert all(f"arguments: {arguments}" in state for arguments in commands[clone.engine])


def test_evidence_has_versions_of_code_tools_and_machine(tmp_path):
    folder = evidence.collect(tmp_path / "kept", "docker", "it failed", [])
    versions = (folder / "versions.txt").read_text()
    head = run("git", "rev-parse", "HEAD", cwd=ROOT)
    assert head.stdout in versions
    assert f"Python {sys.version.split()[0]}" in versions
    assert "MemTotal" in versions
    assert "PRETTY_NAME" in versions


def test_evidence_keeps_the_last_five_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "VERSIONS", ())
    folders = [
        evidence.collect(tmp_path, ("standalone", "docker")[number % 2], str(number), [])
        for number in range(7)
    ]
    assert sorted(tmp_path.iterdir()) == sorted(folders[2:])


def test_evidence_names_commands_that_hang_or_are_missing(clone, tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "PATIENCE_SECONDS", 0.2)
    commands = tmp_path / "bin"
    (commands / "inv").write_text("#!/bin/sh\nexec sleep 9\n")
    assert "timed out after 0.2 seconds" in evidence.output_of(clone, "inv", "health", "--json")
    assert "No such file or directory: 'no-such'" in evidence.output_of(clone, "no-such", "command")


FAILING = """
import pytest

@pytest.fixture(scope="session")
def broken():
    raise AssertionError("it did not come up")

def test_one(broken): pass
def test_two(broken): pass
def test_three(): assert 1 == 2, "the third failed"
def test_four(): pytest.skip("not here")
"""


def run_failing(tmp_path, kept):
    (tmp_path / "test_failing.py").write_text(FAILING)
    options = ["-p", "tests.e2e.conftest", "--engine=standalone", f"--evidence={kept}"]
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return run(*argv, tmp_path / "test_failing.py", cwd=ROOT, env=environment).stdout


def test_failure_of_shared_fixture_leaves_one_folder(tmp_path):
    kept = tmp_path / "kept"
    output = run_failing(tmp_path, kept)
    assert "1 failed, 1 skipped, 2 errors" in output
    first, second = sorted(kept.iterdir())
    assert f"evidence: {first}" in output
    assert f"evidence: {second}" in output
    assert "it did not come up" in (first / "failure.txt").read_text()
    assert "test_three" in (second / "failure.txt").read_text()
    assert "the third failed" in (second / "failure.txt").read_text()


def test_evidence_write_error_does_not_hide_the_failure(tmp_path):
    (tmp_path / "kept").write_text("a file instead of a folder")
    output = run_failing(tmp_path, tmp_path / "kept")
    assert "1 failed, 1 skipped, 2 errors" in output
    assert "the third failed" in output
    assert "no evidence could be kept: NotADirectoryError" in output
