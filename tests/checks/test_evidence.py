"""What a failed smoke test leaves behind, with commands that print every secret they know."""

import os
import sys

import pytest

from orchestration.settings.model import SECRETS
from tests.e2e import evidence
from tests.e2e.clone import ONE_SHOTS, SERVICES, Clone
from tests.support.process import put_before, run
from tests.support.repository import ROOT

GIVEN_OUT = {
    "ALERT_WEBHOOK_URL": "https://hooks.example/T0/B0/words-of-a-webhook",
    "SMTP_PASSWORD": "words-of-a-mail-account",  # pragma: allowlist secret
    "AWS_SECRET_ACCESS_KEY": "words-of-a-cloud",  # pragma: allowlist secret
}
INDEX = "https://me:words-of-an-index@pypi.example/simple"  # pragma: allowlist secret
# It says what it was asked, and tells all that it knows: .env and its own environment.
TELLTALE = 'echo "asked for $*"\ncat {folder}/.env\nenv\necho "{index}" >&2\n'


@pytest.fixture(params=sorted(SERVICES))
def clone(request, tmp_path):
    """A clone whose commands are telltales: its secrets stand in .env, one is exported above it."""
    folder = tmp_path / "first" / "clone"
    folder.mkdir(parents=True)
    (folder / "orchestration").mkdir()
    values = {name: make() for name, make in SECRETS.items()} | GIVEN_OUT
    lines = ["# generated", "COMPOSE_PROJECT_NAME=clone-1", f"PYPI_INDEX_URL={INDEX}", "SMTP_USER="]
    lines += [f"{name}={value}" for name, value in values.items()]
    (folder / ".env").write_text("\n".join(lines))
    commands = tmp_path / "bin"
    commands.mkdir()
    telltale = TELLTALE.format(folder=folder, index=INDEX)
    put_before(commands, **dict.fromkeys(("inv", "docker", "supervisorctl"), telltale))
    above = {"PATH": f"{commands}:/usr/bin:/bin", "STACK_ENGINE": request.param}
    above["REDIS_PASSWORD"] = "words-of-a-shell"  # pragma: allowlist secret
    return Clone(folder, above)


def secrets(clone):
    return {clone.settings()[name] for name in (*SECRETS, *GIVEN_OUT)} | {"words-of-a-shell"}


def test_no_secret_stands_in_it_and_every_other_word_does(clone, tmp_path):
    failure = f"it said {clone.setting('AIRFLOW_JWT_SECRET')} and {INDEX}"
    folder = evidence.leave(tmp_path / "kept", clone.engine, failure, [clone])
    texts = {file: file.read_text() for file in folder.rglob("*") if file.is_file()}
    assert len(secrets(clone)) == len(SECRETS) + len(GIVEN_OUT) + 1
    for file, text in texts.items():
        assert not [word for word in secrets(clone) if word in text], file
        assert "words-of" not in text, file
    assert "it said <AIRFLOW_JWT_SECRET> and https://<credentials>@pypi.example/simple" in "".join(
        texts.values()
    )
    assert "COMPOSE_PROJECT_NAME=clone-1\n" in (folder / "first" / "settings.env").read_text()


def test_each_service_has_its_last_lines_and_the_stack_its_state(clone, tmp_path):
    folder = evidence.leave(tmp_path / "kept", clone.engine, "it failed", [clone])
    logs = {file.stem: file.read_text() for file in (folder / "first" / "logs").iterdir()}
    assert set(logs) == SERVICES[clone.engine] | ONE_SHOTS
    assert all(f"asked for logs -s {name} --tail 300" in text for name, text in logs.items())
    state = (folder / "first" / "state.txt").read_text()
    assert "asked for health --json" in state
    asked = {
        "docker": ["ps --all --filter label=com.docker.compose.project=clone-1", "compose config"],
        "standalone": [f"-s {clone.supervisor()} status"],
    }
    assert all(f"asked for {words}" in state for words in asked[clone.engine])


def test_the_versions_of_code_tools_and_machine_are_told(tmp_path):
    folder = evidence.leave(tmp_path / "kept", "docker", "it failed", [])
    versions = (folder / "versions.txt").read_text()
    head = run("git", "rev-parse", "HEAD", cwd=ROOT)
    assert head.stdout in versions
    assert f"Python {sys.version.split()[0]}" in versions
    assert "MemTotal" in versions
    assert "PRETTY_NAME" in versions


def test_the_last_five_are_kept_whatever_the_engine(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "VERSIONS", ())
    left = [
        evidence.leave(tmp_path, ("standalone", "docker")[number % 2], str(number), [])
        for number in range(7)
    ]
    assert sorted(tmp_path.iterdir()) == sorted(left[2:])


def test_a_command_that_does_not_answer_or_is_not_there_is_told(clone, tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "PATIENCE_SECONDS", 0.2)
    commands = tmp_path / "bin"
    (commands / "inv").write_text("#!/bin/sh\nexec sleep 9\n")
    assert "timed out after 0.2 seconds" in evidence.said(clone, "inv", "health", "--json")
    assert "No such file or directory: 'no-such'" in evidence.said(clone, "no-such", "command")


FAILING = """
import pytest

@pytest.fixture(scope="session")
def broken():
    raise AssertionError("it did not come up")

def test_one(broken): pass
def test_two(broken): pass
def test_three(): assert 1 == 2, "three went wrong"
def test_four(): pytest.skip("not here")
"""


def run_failing(tmp_path, kept):
    (tmp_path / "test_failing.py").write_text(FAILING)
    options = ["-p", "tests.e2e.conftest", "--engine=standalone", f"--evidence={kept}"]
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return run(*argv, tmp_path / "test_failing.py", cwd=ROOT, env=environment).stdout


def test_a_failure_tells_its_folder_once_for_what_all_tests_share(tmp_path):
    kept = tmp_path / "kept"
    told = run_failing(tmp_path, kept)
    assert "1 failed, 1 skipped, 2 errors" in told
    first, second = sorted(kept.iterdir())
    assert f"evidence: {first}" in told
    assert f"evidence: {second}" in told
    assert "it did not come up" in (first / "failure.txt").read_text()
    assert "test_three" in (second / "failure.txt").read_text()
    assert "three went wrong" in (second / "failure.txt").read_text()


def test_evidence_that_cannot_be_written_hides_no_failure(tmp_path):
    (tmp_path / "kept").write_text("in the way")
    told = run_failing(tmp_path, tmp_path / "kept")
    assert "1 failed, 1 skipped, 2 errors" in told
    assert "three went wrong" in told
    assert "no evidence could be kept: NotADirectoryError" in told
