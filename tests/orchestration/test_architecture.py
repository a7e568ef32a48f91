"""Who may know whom. Imports are read from the source, those inside functions too."""

import ast
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
STDLIB = sys.stdlib_module_names
# Airflow 3.0.1's SDK has no exceptions and timetables of its own.
AIRFLOW_IN_DAGS = ("airflow.sdk", "airflow.exceptions", "airflow.timetables")
SPAWNING = ("system", "popen", "fork", "exec", "spawn", "posix_spawn")


def python_files(*globs):
    found = sorted({path for glob in globs for path in REPO.glob(glob)})
    assert found, f"no file matches {globs}"
    return found


def name_of(path):
    return str(path.relative_to(REPO))


def imports(source):
    """Dotted names of all that a source imports, wherever in it: `from a import b` is a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = f"{'.' * node.level}{node.module or ''}"
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and imports_by_name(node.func):
            yield from (word.value for word in node.args[:1] if isinstance(word, ast.Constant))


def imports_by_name(function):
    if isinstance(function, ast.Attribute):
        return function.attr == "import_module"
    return isinstance(function, ast.Name) and function.id in ("__import__", "import_module")


def imported(path):
    """What a file imports; a relative import would hide it from these tests."""
    names = set(imports(path.read_text(encoding="utf-8")))
    assert not [name for name in names if name.startswith(".")], f"{name_of(path)}: relative"
    return names


def tops(path):
    return {name.partition(".")[0] for name in imported(path)}


def within(name, modules):
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def uses_of_os(source):
    """The members of os that a source uses, as attributes or imported by name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "os":
                yield node.attr
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from (alias.name for alias in node.names)


ENGINE_ROOM = python_files("orchestration/*.py", "orchestration/commands/*.py")
SERVICE_SIDE = python_files("orchestration/config/*.py")
STATUS = python_files("status/**/*.py")
GRAPHS = python_files("dags/*.py")
ML = python_files("dags/ml/**/*.py")
CHECKS = python_files("checks/**/*.py")
MENUS = [REPO / "tasks.py", REPO / "noxfile.py"]
OURS = [*MENUS, *ENGINE_ROOM, *SERVICE_SIDE, *STATUS, *GRAPHS, *ML, *CHECKS]
# What a check may know of the stack: how it is set, what it is locked to, how to ask and to refuse.
TOLD_TO_CHECKS = ("StackError", "shell", "settings", "dotenv_file", "locks", "dockerd", "tables")
TOLD_TO_CHECKS += ("project", "drafts")
# What checks exist for or show their findings with.
READERS = {"cyclonedx", "detect_secrets", "docker", "markdown_it", "packaging", "pathspec", "rich"}
IN_AIRFLOW = python_files("checks/dag_lint/server/*.py")


def every(files):
    return pytest.mark.parametrize("path", files, ids=name_of)


def test_the_reader_sees_every_way_to_import():
    source = """
import a.b, c as d
from e.f import g as h
if TYPE_CHECKING:
    from i import j
def function():
    import k
    class Inner:
        from l import m
        def method(self):
            import_module("n.o"); importlib.import_module("p"); __import__("q")
from . import r
from .s import t
"""
    plain = {"a.b", "c", "e.f.g", "i.j", "k", "l.m", "n.o", "p", "q"}
    assert set(imports(source)) == plain | {"..r", ".s.t"}


def test_the_reader_sees_every_way_to_use_os():
    source = "import os\ndef f():\n    os.environ['X']; os.getenv('X')\nfrom os import environb"
    assert set(uses_of_os(source)) == {"environ", "getenv", "environb"}


def test_the_menu_knows_invoke_and_the_engine_room_alone():
    assert tops(REPO / "tasks.py") - STDLIB == {"invoke", "orchestration"}


def test_the_checks_know_nox_alone():
    assert tops(REPO / "noxfile.py") - STDLIB == {"nox"}


@every([path for path in CHECKS if path not in IN_AIRFLOW])
def test_a_check_knows_its_reader_and_no_more_of_the_stack_than_it_must(path):
    strangers = tops(path) - STDLIB - READERS - {"checks", "orchestration"}
    assert not strangers
    known = [f"orchestration.{name}" for name in TOLD_TO_CHECKS]
    asked = [name for name in imported(path) if within(name, ["orchestration"])]
    assert [name for name in asked if not within(name, known)] == []


@every(IN_AIRFLOW)
def test_what_parses_in_airflows_own_environment_knows_nothing_of_ours(path):
    assert tops(path) - STDLIB - {one.stem for one in IN_AIRFLOW} == {"airflow"}


@every(ENGINE_ROOM)
def test_the_engine_room_knows_nobody_above_or_beside_it(path):
    forbidden = {"invoke", "nox", "airflow", "mlflow", "dags", "ml", "status", "tasks", "tests"}
    assert not tops(path) & {*forbidden, "checks"}


@every(SERVICE_SIDE)
def test_scripts_of_services_know_the_service_and_not_the_engine_room(path):
    forbidden = {"orchestration", "invoke", "nox", "docker", "dags", "ml", "status", "tasks"}
    assert not tops(path) & forbidden


@every(ENGINE_ROOM)
def test_only_the_menu_reads_the_environment(path):
    used = set(uses_of_os(path.read_text(encoding="utf-8")))
    assert not [name for name in used if "environ" in name or name.endswith("env")]


@every([path for path in ENGINE_ROOM if path.name != "shell.py"])
def test_only_shell_spawns_processes(path):
    assert "subprocess" not in tops(path)
    assert not [
        used for used in uses_of_os(path.read_text(encoding="utf-8")) if used.startswith(SPAWNING)
    ]


@every(STATUS)
def test_the_status_page_is_a_leaf(path):
    assert not tops(path) & {"orchestration", "airflow", "mlflow", "dags", "ml", "tasks", "tests"}


@every(ML)
def test_the_pipelines_functions_know_no_airflow(path):
    assert not tops(path) & {
        "airflow",
        "orchestration",
        "status",
        "assets",
        "runs",
        "dags",
        "tasks",
    }


@every([path for path in ML if path.stem not in ("tracking", "registry", "round_trip")])
def test_only_three_of_them_know_mlflow(path):
    assert "mlflow" not in tops(path)


@every(GRAPHS)
def test_a_graph_knows_airflows_sdk_and_the_functions_beside_it(path):
    strangers = [
        name
        for name in imported(path)
        if name.partition(".")[0] not in STDLIB
        and not within(name, (*AIRFLOW_IN_DAGS, "assets", "runs", "ml"))
    ]
    assert strangers == []


@every(OURS)
def test_nobody_knows_the_menu(path):
    assert not tops(path) & {"tasks", "noxfile"}


@every([path for path in OURS if "dags" not in path.parts])
def test_nothing_is_imported_twice_under_two_names(path):
    # The DAGs folder is on the path of Airflow alone; elsewhere `ml` would be a stranger.
    assert "ml" not in tops(path)
