"""Compare the documentation with the code."""

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
def output(*argv):
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def code(document):
    """Return all code of a document: fenced blocks and text in backticks."""
    fenced = re.findall(r"```\w*\n(.*?)```", document, re.DOTALL)
    rest = re.sub(r"```.*?```", "", document, flags=re.DOTALL)
    return "\n".join([*fenced, *re.findall(r"`([^`\n]+)`", rest)])


def commands():
    return set(re.findall(r"^  ([\w-]+) +\S", output(INV, "--list"), re.MULTILINE))


def sessions():
    tree = ast.parse(text("noxfile.py"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {f.name for f in functions if any("session" in ast.unparse(d) for d in f.decorator_list)}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_inv_command_exists(name):
    named = set(re.findall(r"\binv (?!--)([a-z][a-z-]*)", code(text(name))))
    assert named <= commands()


def test_each_command_is_listed_with_all_its_options():
    page = text("docs/cli.md")
    for command in commands():
        (row,) = re.findall(rf"^\| `inv {command}\b.*$", page, re.MULTILINE)
        options = output(INV, "--help", command).split("Options:")[-1]
        flags = set(re.findall(r"--(?:\[no-\])?([a-z-]+)", options))
        listed = {flag.removeprefix("no-") for flag in re.findall(r"--([a-z-]+)", row)}
        short = {"service"} if "-s SERVICE" in row else set()
        positional = {"trigger": {"dag-id"}, "restore": {"archive"}}.get(command, set())
        assert listed | short | positional == flags, command


@pytest.mark.parametrize("name", GENERATED)
def test_generated_page_is_up_to_date(name):
    assert text(name) == GENERATED[name], "Run: python -m checks.pages"


MAX_LINES = {"README.md": 150, "CONTRIBUTING.md": 160, "docs/troubleshooting.md": 400}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", *WRITTEN])
def test_page_is_short(name):
    assert len(text(name).splitlines()) <= MAX_LINES.get(name, 200)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_nox_session_exists(name):
    lines = re.findall(r"nox -s ((?:[a-z_][a-z_0-9]* ?)+)", code(text(name)))
    assert {session for line in lines for session in line.split()} <= sessions()


def test_no_link_is_broken():
    documents = output("git", "ls-files", "*.md").splitlines()
    assert set(documents) >= set(DOCUMENTS)
    assert list(links.findings(ROOT, documents)) == []


def test_each_new_path_of_the_migration_table_exists():
    table = text("docs/migrating.md")
    right = [line.split("|")[2] for line in table.splitlines() if line.startswith("| `")]
    paths = re.findall(r"`(\.?[\w./*-]+/[\w./*-]*)`", "\n".join(right))
    created_by_install = {"logs/", "plugins/", "include/", ".env"}
    for path in set(paths) - created_by_install:
        assert path.startswith("/api") or list(ROOT.glob(path.rstrip("/").removeprefix("./"))), path


@pytest.mark.parametrize("folder", ["dags", "install"])
def test_each_file_of_a_folder_is_in_its_readme(folder):
    names = {"dags": "README.md", "install": "readme.md"}
    document = text(f"{folder}/{names[folder]}")
    paths = output("git", "ls-files", folder).splitlines()
    # Problems come and go without a change of the documents.
    others = "/(base|wheels|problems)/|_pipelines.py$"
    files = {path.rpartition("/")[2] for path in paths if not re.search(others, path)}
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
    # At most six packages share a reason.
    sizes = [
        len(list(run)) for comment, run in groupby(lines, lambda x: x[0] == "#") if not comment
    ]
    assert max(sizes) <= 6


def test_each_setting_named_in_the_documents_exists():
    settings = set(re.findall(r"^(\w+)=", text(".env.example"), re.MULTILINE))
    for name in DOCUMENTS:
        named = set(re.findall(r"\b([A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+)\b", code(text(name))))
        # Users name connections and variables of Airflow and problems themselves.
        named = {one for one in named if not re.match("(AIRFLOW_(CONN|VAR)|DATASET_URI)_", one)}
        # Names of arguments, of supervisord's file, of examples, of MLflow and of Airflow.
        others = {"DAG_ID", "NO_COLOR", "NO_PROXY", "ENV_STACK_STATE", "HELLO_GREETING", "DATA_DIR"}
        others |= {"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"}
        others |= {"MLFLOW_EXPERIMENT_NAME", "STACK_AIRFLOW_ONLY"}
        others |= {"AIRFLOW_HOME", "DOCKER_HOST"}
        others |= {"SCHEDULER_IDLE_SLEEP_TIME", "UPDATE_FAB_PERMS", "REQUESTS_CA_BUNDLE"}
        assert named - settings <= {*others, "_AIRFLOW_WWW_USER_PASSWORD"}, name
    assert re.search(r"_AIRFLOW_WWW_USER_PASSWORD", text(".env.example"))


def test_each_nox_session_is_in_contributing():
    document = code(text("CONTRIBUTING.md"))
    assert {name for name in sessions() if not re.search(rf"\b{name}\b", document)} == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_flag_of_a_command_exists(name):
    helps = {command: output(INV, "--help", command) for command in commands()}
    usage = r"\binv ([a-z][a-z-]*)[^\n`|]*? (--[a-z][a-z-]+)"
    for command, flag in re.findall(usage, code(text(name))):
        # Arguments after a lone -- are Airflow's.
        assert command == "airflow" or re.search(rf"{flag}\b|--\[no-\]{flag[2:]}\b", helps[command])
    dag_lint = output(sys.executable, "-m", "checks.dag_lint", "--help")
    for flag in re.findall(r"dag_lint -- [^\n`|]*?(--[a-z]+)", code(text(name))):
        assert flag in dag_lint
    for flag in re.findall(r"1st_run_install\.sh (--[a-z-]+)", code(text(name))):
        assert flag in text("install/1st_run_install.sh")


# Files that commands or developers create.
CREATED = {"logs/", "plugins/", ".env", ".smoke/", ".bench/results.json", "dags/.airflowignore"}
RUNTIME = "orchestration/config/stack_runtime"
CREATED |= {"orchestration/docker-compose.override.yaml", "include/"}
CREATED |= {
    "datasets/",
    "datasets/bike_rentals/",
    "dags/problems/bike_rentals.py",
    "bike_rentals/__init__.py",
}
CREATED |= {
    "dags/bike_rentals_pipelines.py",
    "certificates/ca.pem",
    "certificates/ca.key",
    "certificates/served",
}
PATH = re.compile(r"`(?:\./)?(\.?\w[\w.*-]*/[\w./*-]*)`")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", *WRITTEN])
def test_each_path_named_in_the_documents_exists(name):
    # Another test covers the migration page, whose old paths do not exist here.
    document = "" if "migrating" in name else re.sub(r"```.*?```", "", text(name), flags=re.S)
    folders = ("", "orchestration", "orchestration/config", "dags", "install")
    places = [ROOT / folder for folder in (*folders, RUNTIME, f"{RUNTIME}/airflow")]
    for path in set(PATH.findall(document)) - CREATED:
        assert any(list(place.glob(path.rstrip("/"))) for place in places), path
