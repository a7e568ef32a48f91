"""Test that python-dotenv, Compose and processes read each accepted .env line alike."""

import itertools
import json
import os
import shutil
import sys
from pathlib import Path

import hypothesis
import pytest
from dotenv import dotenv_values
from hypothesis import strategies as st

from orchestration.errors import StackError
from orchestration.host.drafts import draft_env
from orchestration.process import runner
from orchestration.process.runner import Command
from orchestration.project import Project
from orchestration.settings import envfile

REPO = Path(__file__).resolve().parents[2]

# Explicit settings, because Hypothesis loads another profile if CI is set.
CHEAP = hypothesis.settings(
    max_examples=100, deadline=None, derandomize=bool(os.environ.get("CI")), database=None
)
# Each example has dozens of lines and starts a process.
EXPENSIVE = hypothesis.settings(CHEAP, max_examples=5)

TRICKY = "ab'\"#$\\ \t={}:;`%!~\n\r\x00\x0b\x0c\x1c\x7f\x85\xa0\u2003\u2028\ufeff\ufffe"
TEXTS = st.text(st.sampled_from(TRICKY) | st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.one_of(TEXTS, TEXTS.map("'{}'".format), TEXTS.map('"{}"'.format))
BEFORE = st.sampled_from(["KEY=", "KEY=", "KEY=", "\tKEY=", "# KEY=", "#"])
AFTER = st.sampled_from(["", "", "", " ", "\t", "\r", "\\", "\xa0"])
LINES = st.tuples(BEFORE, VALUES, AFTER).map("".join)


def accepted(drawn):
    """Return the drawn lines that `envfile` accepts, each with a unique name."""
    # The host tool refuses unknown names, but not those of Airflow's variables.
    named = (text.replace("KEY", f"AIRFLOW_VAR_{n}") for n, text in enumerate(drawn))
    return [line for text in named for line in text.split("\n") if not envfile.line_error(line)]


def file_of(drawn, end):
    """Return a file of the accepted lines. A trailing CR becomes part of the CRLF."""
    text = "\n".join(accepted(drawn))
    return text + (end.removeprefix("\r") if text.endswith("\r") else end)


FILES = st.builds(file_of, st.lists(LINES, max_size=60), st.sampled_from(["", "\n", "\r\n"]))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Return a clone's folder for all examples; each example overwrites the file."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "orchestration").mkdir()
    shutil.copy(REPO / ".env.example", folder)
    return folder


@pytest.fixture(scope="module")
def compose():
    """Skip the test without Compose, or fail it with CI=true."""
    try:
        runner.run(Command(["docker", "compose", "version"]))
    except StackError as missing:
        absent = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        absent(f"Compose is missing: {missing}")


def write_file(root, text):
    """Write the text to a file and return its path."""
    path = root / "any.env"
    path.write_bytes(text.encode())
    return path


def load_settings(root, text):
    """Return the settings of a complete .env followed by `text`, as `inv` loads them."""
    complete, _ = draft_env(Project(root, os.environ))
    (root / ".env").write_bytes(f"{complete}\n{text}".encode())
    try:
        return Project(root, {"PATH": os.environ["PATH"]}).settings()
    finally:
        (root / ".env").unlink()


def seen_by_compose(root, names, *options, env):
    """Return the value of `${NAME}` in a service's environment, for each name."""
    document = {"image": "none", "environment": {name: f"${{{name}}}" for name in names}}
    path = root / "compose.json"
    path.write_text(json.dumps({"services": {"one": document}}))
    command = ["docker", "compose", "-f", str(path), *options, "config", "--format", "json"]
    shown = json.loads(runner.run(Command(command, env)).output)["services"]["one"]
    # `config` prints a valid Compose file, in which each $ of a value is doubled.
    return {name: value.replace("$$", "$") for name, value in shown.get("environment", {}).items()}


def seen_by_compose_in_the_file(root, text):
    file = write_file(root, text)
    env = {"PATH": os.environ["PATH"]}
    return seen_by_compose(root, envfile.parse(text), "--env-file", str(file), env=env)


def seen_by_compose_in_its_environment(root, text):
    env = load_settings(root, text).compose_environment()
    return seen_by_compose(root, envfile.parse(text), env=env)


def seen_by_a_process(root, text):
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    env = load_settings(root, text).compose_environment()
    seen = json.loads(runner.run(Command([sys.executable, "-I", "-S", "-c", program], env)).output)
    return {name: seen[name] for name in envfile.parse(text)}


@CHEAP
@hypothesis.given(text=FILES)
def test_python_dotenv_reads_the_file_like_envfile(root, text):
    assert dict(dotenv_values(write_file(root, text))) == envfile.parse(text)


@EXPENSIVE
@hypothesis.given(text=FILES)
def test_compose_reads_the_file_like_envfile(root, compose, text):
    assert seen_by_compose_in_the_file(root, text) == envfile.parse(text)


@EXPENSIVE
@hypothesis.given(text=FILES)
def test_compose_gets_the_same_values_from_its_environment(root, compose, text):
    assert seen_by_compose_in_its_environment(root, text) == envfile.parse(text)


@EXPENSIVE
@hypothesis.given(text=FILES)
def test_process_gets_the_same_values(root, text):
    assert seen_by_a_process(root, text) == envfile.parse(text)


@pytest.fixture(scope="module", params=["\n", "\r\n"], ids=["LF", "CRLF"])
def every_short_value(request):
    """Return a file with every accepted value of up to three tricky pieces."""
    pieces = [*"a '\"#$\\\t={}:\xa0", "${a}", "\\\\"]
    bare, quoted = (
        [
            "".join(some)
            for length in range(most + 1)
            for some in itertools.product(pieces, repeat=length)
        ]
        for most in (3, 2)
    )
    values = [*bare, *(f"{quote}{value}{quote}" for quote in "'\"" for value in quoted)]
    lines = accepted(["export = 1", *(f"KEY={value}" for value in values)])
    return "".join(line + request.param for line in lines)


def test_python_dotenv_reads_every_short_value_alike(root, every_short_value):
    values = dict(dotenv_values(write_file(root, every_short_value)))
    assert values == envfile.parse(every_short_value)
    assert len(values) > 500


@pytest.mark.parametrize("seen", [seen_by_compose_in_the_file, seen_by_compose_in_its_environment])
def test_compose_reads_every_short_value_alike(root, compose, every_short_value, seen):
    assert seen(root, every_short_value) == envfile.parse(every_short_value)


def test_process_gets_every_short_value(root, every_short_value):
    assert seen_by_a_process(root, every_short_value) == envfile.parse(every_short_value)


def test_single_quotes_accept_every_printable_character(root, compose):
    value = "".join(chr(code) for code in range(32, 127) if chr(code) != "'").replace("${", "$ {")
    text = f"KEY='{value}'\n"
    assert envfile.parse(text) == {"KEY": value}
    assert seen_by_compose_in_the_file(root, text) == {"KEY": value}
