"""Hook, workflow, development container and editor settings: what they call and promise holds."""

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
    """The one workflow; YAML reads its key `on` as True."""
    [path] = (ROOT / ".github/workflows").iterdir()
    return yaml.safe_load(path.read_text("utf-8"))


@pytest.fixture
def container():
    """devcontainer.json, whose comments are lines of their own."""
    lines = text(".devcontainer/devcontainer.json").splitlines()
    return json.loads("\n".join(line for line in lines if not line.strip().startswith("//")))


def test_the_workflow_calls_what_a_landing_must_pass_on_both_architectures(workflow):
    [job] = workflow["jobs"].values()
    runs = [step["run"] for step in job["steps"] if "run" in step]
    assert runs == ["bash .ci/run"]
    assert os.access(ROOT / ".ci/run", os.X_OK)
    machines = {each["architecture"]: each["runner"]
                for each in job["strategy"]["matrix"]["include"]}  # fmt: skip
    assert machines == {"amd64": "ubuntu-24.04", "arm64": "ubuntu-24.04-arm"}
    assert job["timeout-minutes"] == 90


def test_the_workflow_starts_with_each_push_may_only_read_and_pins_its_actions(workflow):
    [job] = workflow["jobs"].values()
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert set(workflow[True]) == {"push", "pull_request"}
    assert workflow["permissions"] == {"contents": "read"}
    assert used
    assert [each for each in used if not re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", each)] == []


def test_the_workflow_keeps_what_a_failure_leaves(workflow):
    [job] = workflow["jobs"].values()
    [kept] = [step for step in job["steps"] if step.get("if") == "failure()"]
    assert kept["with"]["path"] == ".smoke/"
    assert "/.smoke/" in text(".gitignore").splitlines()


def test_the_hook_is_lint_itself_and_starts_without_an_activated_environment(tmp_path):
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


def test_the_hook_s_file_is_one_that_pre_commit_reads(tmp_path):
    argv = [sys.executable, "-m", "pre_commit", "validate-config"]
    environment = {**os.environ, "PRE_COMMIT_HOME": str(tmp_path)}
    done = run(*argv, cwd=ROOT, env=environment)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_container_forwards_the_ports_of_the_pages_with_their_names(container):
    ports = dict(re.findall(r"^(\w+)_PORT=(\d+)$", text(".env.example"), re.MULTILINE))
    labels = {port: told["label"] for port, told in container["portsAttributes"].items()}
    assert {str(port) for port in container["forwardPorts"]} == set(labels)
    assert {label.upper(): port for port, label in labels.items()} == ports


def test_the_container_is_made_of_files_that_exist_and_sets_itself_up(container):
    assert (ROOT / ".devcontainer" / container["build"]["dockerfile"]).is_file()
    program, *command = container["postCreateCommand"].split()
    assert os.access(ROOT / program, os.X_OK)
    assert command == ["true"]
    user = container["remoteUser"]
    assert re.search(rf"useradd .*\b{user}\b", text(".devcontainer/devcontainer.dockerfile"))


def test_what_the_editor_settings_promise_holds_for_every_text_file():
    rules = configparser.ConfigParser()
    rules.read_string(f"[top]\n{text('.editorconfig')}")
    promised = rules["*"]
    assert promised["charset"] == "utf-8"
    assert promised["end_of_line"] == "lf"
    assert promised["indent_style"] == "space"
    for name in tracked(ROOT):
        content = (ROOT / name).read_bytes()
        if b"\0" in content or not content:
            continue
        assert "\r\n" not in content.decode("utf-8"), name
        assert content.endswith(b"\n") or not promised.getboolean("insert_final_newline"), name
        assert not re.search(rb"(?m)[ \t]+$", content), f"{name}: blanks at the end of a line"
        assert not re.search(rb"(?m)^ *\t", content), f"{name}: a tab"


def test_the_editor_s_line_length_is_ruff_s():
    told = re.search(r"max_line_length = (\d+)", text(".editorconfig"))
    assert f"line-length = {told[1]}" in text("pyproject.toml").splitlines()
