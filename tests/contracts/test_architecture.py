"""Rules that import-linter cannot express: who reads the environment, who starts processes.

The layers are contracts in pyproject.toml (`nox -s lint -- layers`).
"""

import ast
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
# Airflow 3.0.1's SDK has no exceptions and timetables of its own.
AIRFLOW_IN_DAGS = {"airflow.sdk", "airflow.exceptions", "airflow.timetables"}
SPAWNING = ("system", "popen", "fork", "exec", "spawn", "posix_spawn")
PRODUCT = sorted(
    path for path in (REPO / "orchestration").rglob("*.py") if "config" not in path.parts
)


def every(*globs):
    found = sorted({path for glob in globs for path in REPO.glob(glob)})
    assert found, globs
    return pytest.mark.parametrize("path", found, ids=lambda path: str(path.relative_to(REPO)))


def imported(path):
    """Return the dotted names of modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            yield node.module


def tops(path):
    return {name.partition(".")[0] for name in imported(path)} - set(sys.stdlib_module_names)


def uses_of_os(source):
    """Return the members of os that a source uses, as attributes or imported by name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "os":
                yield node.attr
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from (alias.name for alias in node.names)


def test_uses_of_os_finds_attributes_and_imports():
    source = "import os\ndef f():\n    os.environ['X']; os.getenv('X')\nfrom os import environb"
    assert set(uses_of_os(source)) == {"environ", "getenv", "environb"}


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(REPO)))
def test_host_tool_reads_no_environment_and_spawns_by_the_runner_alone(path):
    used = set(uses_of_os(path.read_text(encoding="utf-8")))
    assert not [name for name in used if "environ" in name or name.endswith("env")]
    assert not [name for name in used if name.startswith(SPAWNING)]


@pytest.mark.parametrize(
    ("path", "known"), [("tasks.py", {"invoke", "orchestration"}), ("noxfile.py", {"nox"})]
)
def test_menus_know_their_tool_alone(path, known):
    assert tops(REPO / path) == known


@every("orchestration/config/**/*.py")
def test_what_runs_in_services_does_not_know_the_host_tool(path):
    assert not tops(path) & {"orchestration", "invoke", "nox", "docker", "dags", "ml", "status"}


@every("checks/dag_lint/server/*.py")
def test_parser_in_airflows_environment_knows_airflow_alone(path):
    assert tops(path) - {file.stem for file in path.parent.glob("*.py")} == {"airflow"}


@every("dags/*.py")
def test_graphs_know_airflows_sdk_and_the_functions_beside_them(path):
    for name in imported(path):
        if name.partition(".")[0] not in {"assets", "runs", "ml", *sys.stdlib_module_names}:
            assert any(f"{name}.".startswith(f"{known}.") for known in AIRFLOW_IN_DAGS), name


@every("dags/ml/*.py")
def test_only_three_of_the_pipelines_modules_know_mlflow(path):
    assert "mlflow" not in tops(path) or path.stem in ("tracking", "registry", "round_trip")


@every("*.py", "orchestration/**/*.py", "status/*.py", "checks/**/*.py")
def test_ml_is_imported_in_the_dags_folder_alone(path):
    # On the path of Airflow alone; elsewhere it would be a stranger.
    assert not tops(path) & {"ml", "tasks", "noxfile"}
