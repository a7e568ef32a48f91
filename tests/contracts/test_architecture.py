"""Test rules that import-linter cannot express, such as which modules start processes.

The layers are contracts in pyproject.toml (`nox -s lint -- layers`).
"""

import ast
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
# Airflow 3.0.1's SDK has no exceptions and timetables of its own.
AIRFLOW_IN_DAGS = {
    "airflow.sdk",
    "airflow.exceptions",
    "airflow.timetables",
    "stack_runtime.airflow",
}
SPAWNING = ("system", "popen", "fork", "exec", "spawn", "posix_spawn")
PRODUCT = sorted(
    path for path in (REPO / "orchestration").rglob("*.py") if "config" not in path.parts
)


def every(*globs):
    paths = sorted({path for glob in globs for path in REPO.glob(glob)})
    assert paths, globs
    return pytest.mark.parametrize("path", paths, ids=lambda path: str(path.relative_to(REPO)))


def imported(path):
    """Yield the dotted names of all modules that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            yield node.module


def tops(path):
    return {name.partition(".")[0] for name in imported(path)} - set(sys.stdlib_module_names)


def uses_of_os(source):
    """Yield the members of os that a source uses as attributes or imports by name."""
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
def test_host_tool_reads_no_environment_and_spawns_no_process(path):
    used = set(uses_of_os(path.read_text(encoding="utf-8")))
    assert not [name for name in used if "environ" in name or name.endswith("env")]
    assert not [name for name in used if name.startswith(SPAWNING)]


@pytest.mark.parametrize(
    ("path", "expected"), [("tasks.py", {"invoke", "orchestration"}), ("noxfile.py", {"nox"})]
)
def test_tasks_and_noxfile_import_only_their_tool(path, expected):
    assert tops(REPO / path) == expected


@every("orchestration/config/**/*.py")
def test_runtime_does_not_import_the_host_tool(path):
    assert not tops(path) & {"orchestration", "invoke", "nox", "docker", "dags", "ml", "status"}


@every("checks/dag_lint/server/*.py")
def test_parsing_server_imports_only_airflow_and_its_patches(path):
    own = {file.stem for file in path.parent.glob("*.py")}
    assert tops(path) - own <= {"airflow", "stack_runtime"}


@every("dags/*.py", "dags/pipelines/*.py")
def test_graphs_import_only_the_sdk_and_own_modules(path):
    for name in imported(path):
        own = {"runs", "ml", "pipelines", "problems"}
        if name.partition(".")[0] not in {*own, *sys.stdlib_module_names}:
            assert any(f"{name}.".startswith(f"{module}.") for module in AIRFLOW_IN_DAGS), name


@every("dags/ml/*.py")
def test_only_three_pipeline_modules_import_mlflow(path):
    assert "mlflow" not in tops(path) or path.stem in ("tracking", "registry")


@every("*.py", "orchestration/**/*.py", "status/*.py", "checks/**/*.py")
def test_ml_is_imported_only_in_the_dags_folder(path):
    # Only Airflow has it on its path.
    assert not tops(path) & {"ml", "tasks", "noxfile"}
