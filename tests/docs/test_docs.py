"""What the documents say, held against the code."""

import ast
import functools
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest

from checks import links, pages
from tests.support.repository import ROOT

GENERATED = pages.pages()
PAGES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
WRITTEN = [page for page in PAGES if "/decisions/" not in page and page not in GENERATED]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "orchestration/README.md", "install/readme.md"]
DOCUMENTS += WRITTEN
INV = Path(sys.executable).parent / "inv"


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


@functools.cache
def ran(*argv):
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def code(document):
    """Everything in code: fenced blocks and backticks."""
    fenced = re.findall(r"```\w*\n(.*?)```", document, re.DOTALL)
    rest = re.sub(r"```.*?```", "", document, flags=re.DOTALL)
    return "\n".join([*fenced, *re.findall(r"`([^`\n]+)`", rest)])


def verbs():
    return set(re.findall(r"^  ([\w-]+) +\S", ran(INV, "--list"), re.MULTILINE))


def sessions():
    tree = ast.parse(text("noxfile.py"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {f.name for f in functions if any("session" in ast.unparse(d) for d in f.decorator_list)}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_inv_command_exists(name):
    told = set(re.findall(r"\binv (?!--)([a-z][a-z-]*)", code(text(name))))
    assert told <= verbs()


def test_each_command_is_listed_with_all_its_options():
    page = text("docs/cli.md")
    for verb in verbs():
        (row,) = re.findall(rf"^\| `inv {verb}\b.*$", page, re.MULTILINE)
        flags = set(
            re.findall(r"--(?:\[no-\])?([a-z-]+)", ran(INV, "--help", verb).split("Options:")[-1])
        )
        told = {flag.removeprefix("no-") for flag in re.findall(r"--([a-z-]+)", row)}
        short = {"service"} if "-s SERVICE" in row else set()
        positional = {"trigger": {"dag-id"}, "restore": {"archive"}}.get(verb, set())
        assert told | short | positional == flags, verb


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_page_is_up_to_date(name):
    assert text(name) == GENERATED[name], "run: python -m checks.pages"


LONGEST = {"README.md": 150, "CONTRIBUTING.md": 160, "docs/troubleshooting.md": 400}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", *WRITTEN])
def test_a_page_is_short(name):
    assert len(text(name).splitlines()) <= LONGEST.get(name, 200)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_nox_session_exists(name):
    told = re.findall(r"nox -s ((?:[a-z_][a-z_0-9]* ?)+)", code(text(name)))
    assert {session for line in told for session in line.split()} <= sessions()


def test_each_link_leads_somewhere():
    documents = ran("git", "ls-files", "*.md").splitlines()
    assert set(documents) >= set(DOCUMENTS)
    assert list(links.findings(ROOT, documents)) == []


def test_each_new_place_of_the_classic_layout_exists():
    table = text("docs/migrating.md")
    right = [line.split("|")[2] for line in table.splitlines() if line.startswith("| `")]
    paths = re.findall(r"`(\.?[\w./*-]+/[\w./*-]*)`", "\n".join(right))
    made_by_install = {"logs/", "plugins/", ".env"}
    for path in set(paths) - made_by_install:
        assert path.startswith("/api") or list(ROOT.glob(path.rstrip("/").removeprefix("./"))), path


@pytest.mark.parametrize("folder", ["dags", "install"])
def test_each_file_of_a_folder_is_told_in_its_readme(folder):
    names = {"dags": "README.md", "install": "readme.md"}
    document = text(f"{folder}/{names[folder]}")
    listed = ran("git", "ls-files", folder).splitlines()
    files = {path.rpartition("/")[2] for path in listed if "/base/" not in path}
    files -= {"__init__.py", ".env", ".airflowignore", names[folder]}
    missing = {
        file
        for file in files
        if file not in document and not file.endswith((".lock", ".dockerignore"))
    }
    assert not missing


REQUIREMENTS = [*ROOT.glob("install/*.in"), *ROOT.glob("install/base/*.in")]
REQUIREMENTS += [ROOT / "install/requirements.txt", ROOT / "pyproject.toml"]


@pytest.mark.parametrize("source", REQUIREMENTS, ids=lambda path: path.name)
def test_each_group_of_packages_has_its_reason_above_it(source):
    lines = source.read_text("utf-8").splitlines()
    if source.suffix == ".toml":
        groups = source.read_text("utf-8").split("[dependency-groups]")[1].split("\n[")[0]
        lines = [line.strip() for line in groups.splitlines() if line.startswith("    ")]
        lines = [line for line in lines if "include-group" not in line]
    assert lines[0].startswith("# ")
    # Packages that share a reason are few.
    shared = [
        len(list(run)) for comment, run in groupby(lines, lambda x: x[0] == "#") if not comment
    ]
    assert max(shared) <= 6


def test_each_setting_named_in_the_documents_exists():
    known = set(re.findall(r"^(\w+)=", text(".env.example"), re.MULTILINE))
    for name in DOCUMENTS:
        told = set(re.findall(r"\b([A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+)\b", code(text(name))))
        # Words of commands, of supervisord's file, of what a reader might add, MLflow's, Airflow's.
        others = {"DAG_ID", "NO_COLOR", "ENV_STACK_STATE", "HELLO_GREETING"}
        others |= {"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"}
        others |= {"SCHEDULER_IDLE_SLEEP_TIME", "UPDATE_FAB_PERMS", "REQUESTS_CA_BUNDLE"}
        assert told - known <= {*others, "_AIRFLOW_WWW_USER_PASSWORD"}, name
    assert re.search(r"_AIRFLOW_WWW_USER_PASSWORD", text(".env.example"))


def test_each_session_is_told_to_who_works_on_it():
    told = code(text("CONTRIBUTING.md"))
    assert {name for name in sessions() if not re.search(rf"\b{name}\b", told)} == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_flag_shown_with_inv_or_dag_lint_exists(name):
    known = {verb: ran(INV, "--help", verb) for verb in verbs()}
    shown = r"\binv ([a-z][a-z-]*)[^\n`|]*? (--[a-z][a-z-]+)"
    for verb, flag in re.findall(shown, code(text(name))):
        # What stands behind a lone -- is for Airflow.
        assert verb == "airflow" or re.search(rf"{flag}\b|--\[no-\]{flag[2:]}\b", known[verb])
    dag_lint = ran(sys.executable, "-m", "checks.dag_lint", "--help")
    for flag in re.findall(r"dag_lint -- [^\n`|]*?(--[a-z]+)", code(text(name))):
        assert flag in dag_lint
    for flag in re.findall(r"1st_run_install\.sh (--[a-z-]+)", code(text(name))):
        assert flag in text("install/1st_run_install.sh")


# Made by commands, or by who works here.
MADE = {"logs/", "plugins/", ".env", ".smoke/", ".bench/results.json", "dags/.airflowignore"}
RUNTIME = "orchestration/config/stack_runtime"
MADE |= {"orchestration/docker-compose.override.yaml"}
MADE |= {"certificates/ca.pem", "certificates/ca.key", "certificates/served"}
PATH = re.compile(r"`(?:\./)?(\.?\w[\w.*-]*/[\w./*-]*)`")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", *WRITTEN])
def test_each_path_named_in_the_documents_exists(name):
    # The left column of the classic layout is not here, its right one has a test of its own.
    told = "" if "migrating" in name else re.sub(r"```.*?```", "", text(name), flags=re.S)
    folders = ("", "orchestration", "orchestration/config", "dags", "install")
    places = [ROOT / folder for folder in (*folders, RUNTIME, f"{RUNTIME}/airflow")]
    for path in set(PATH.findall(told)) - MADE:
        assert any(list(place.glob(path.rstrip("/"))) for place in places), path
