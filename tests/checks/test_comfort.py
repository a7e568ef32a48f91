"""Test the pre-commit hook, the CI workflow, the development container and .editorconfig."""

import configparser
import json
import os
import re
import sys

import pytest
import yaml

from checks.tracked import tracked
from tests.support.process import run
from tests.support.repository import ROOT


def text(name):
    return (ROOT / name).read_text("utf-8")


@pytest.fixture
def workflow():
    """Return the only workflow. YAML reads its key `on` as True."""
    [path] = (ROOT / ".github/workflows").iterdir()
    return yaml.safe_load(path.read_text("utf-8"))


@pytest.fixture
def container():
    """Return devcontainer.json without its comments, which are separate lines."""
    lines = text(".devcontainer/devcontainer.json").splitlines()
    return json.loads("\n".join(line for line in lines if not line.strip().startswith("//")))


def test_workflow_runs_ci_on_both_architectures(workflow):
    [job] = workflow["jobs"].values()
    runs = [step["run"] for step in job["steps"] if "run" in step]
    assert runs == ["bash .ci/run"]
    assert os.access(ROOT / ".ci/run", os.X_OK)
    machines = {each["architecture"]: each["runner"]
                for each in job["strategy"]["matrix"]["include"]}  # fmt: skip
    assert machines == {"amd64": "ubuntu-24.04", "arm64": "ubuntu-24.04-arm"}
    assert job["timeout-minutes"] == 90


def test_workflow_runs_on_push_read_only_with_pinned_actions(workflow):
    [job] = workflow["jobs"].values()
    actions = [step["uses"] for step in job["steps"] if "uses" in step]
    assert set(workflow[True]) == {"push", "pull_request"}
    assert workflow["permissions"] == {"contents": "read"}
    assert actions
    assert [one for one in actions if not re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", one)] == []


def test_workflow_uploads_evidence_of_failures(workflow):
    [job] = workflow["jobs"].values()
    [upload] = [step for step in job["steps"] if step.get("if") == "failure()"]
    assert upload["with"]["path"] == ".smoke/"
    assert "/.smoke/" in text(".gitignore").splitlines()


def test_hook_runs_lint_without_activated_environment(tmp_path):
    [repository] = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
    [hook] = repository["hooks"]
    assert repository["repo"] == "local"
    assert hook["always_run"] is True
    bootstrap, *command = hook["entry"].split()
    assert command == ["nox", "-s", "lint"]
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    argv = [ROOT / bootstrap, "nox", "-s", "lint", "--", "links"]
    done = run(*argv, cwd=ROOT, env=bare)
    assert (done.returncode, done.stdout[:7]) == (0, "links: "), done.stderr


def test_hook_config_is_valid(tmp_path):
    argv = [sys.executable, "-m", "pre_commit", "validate-config"]
    environment = {**os.environ, "PRE_COMMIT_HOME": str(tmp_path)}
    done = run(*argv, cwd=ROOT, env=environment)
    assert (done.returncode, done.stdout) == (0, "")


def test_container_forwards_ports_of_the_pages(container):
    ports = dict(re.findall(r"^(\w+)_PORT=(\d+)$", text(".env.example"), re.MULTILINE))
    labels = {port: options["label"] for port, options in container["portsAttributes"].items()}
    assert {str(port) for port in container["forwardPorts"]} == set(labels)
    assert {label.upper(): port for port, label in labels.items()} == ports


def test_container_uses_existing_files_and_sets_itself_up(container):
    assert (ROOT / ".devcontainer" / container["build"]["dockerfile"]).is_file()
    program, *command = container["postCreateCommand"].split()
    assert os.access(ROOT / program, os.X_OK)
    assert command == ["true"]
    user = container["remoteUser"]
    assert re.search(rf"useradd .*\b{user}\b", text(".devcontainer/devcontainer.dockerfile"))


def test_every_text_file_follows_editorconfig():
    sections = configparser.ConfigParser()
    sections.read_string(f"[top]\n{text('.editorconfig')}")
    rules = sections["*"]
    assert rules["charset"] == "utf-8"
    assert rules["end_of_line"] == "lf"
    assert rules["indent_style"] == "space"
    for name in tracked(ROOT):
        content = (ROOT / name).read_bytes()
        if b"\0" in content or not content:
            continue
        assert "\r\n" not in content.decode("utf-8"), name
        assert content.endswith(b"\n") or not rules.getboolean("insert_final_newline"), name
        assert not re.search(rb"(?m)[ \t]+$", content), f"{name}: trailing whitespace"
        assert not re.search(rb"(?m)^ *\t", content), f"{name}: a tab"


def test_editorconfig_line_length_matches_ruff():
    length = re.search(r"max_line_length = (\d+)", text(".editorconfig"))
    assert f"line-length = {length[1]}" in text("pyproject.toml").splitlines()
