"""Lint whole folders: the cache, the isolation of files, and the output."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from checks.dag_lint.run import lint
from orchestration.errors import StackError

REPO = Path(__file__).resolve().parents[2]
GOOD = """{top}from datetime import datetime

from airflow.sdk import DAG, task

with DAG(
    "{name}",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={{"owner": "team", "retries": 1}},
    tags=[{tag}],
):

    @task
    def one():
        return 1

    one()
"""


def write(folder, name, top="", tag='"good"'):
    path = folder / f"{name}.py"
    path.write_text(GOOD.format(name=name, top=top, tag=tag))
    return path


@pytest.fixture
def folder(tmp_path):
    """Return a folder with a DAG that imports a module of it, and a DAG that does not."""
    (tmp_path / "words.py").write_text('TAG = "good"\n')
    write(tmp_path, "first", top="import words\n", tag="words.TAG")
    write(tmp_path, "second")
    return tmp_path


def parsed_now(folder, airflow, **options):
    _, parsed = lint(folder, airflow, limit=30, **options)
    return {one.path.stem for one in parsed if not one.cached}


def errors(folder, airflow, **options):
    findings, parsed = lint(folder, airflow, limit=30, **options)
    return [one for one in findings if one.error], parsed


def test_lint_parses_only_changed_files_and_their_importers(folder, airflow):
    before = {path: path.read_bytes() for path in folder.rglob("*")}
    assert parsed_now(folder, airflow) == {"first", "second"}
    assert {path: path.read_bytes() for path in folder.rglob("*")} == before, "folder changed"
    assert parsed_now(folder, airflow) == set()
    (folder / "words.py").write_text('TAG = "better"\n')
    assert parsed_now(folder, airflow) == {"first"}
    (folder / "second.py").write_text((folder / "second.py").read_text() + "\n# changed\n")
    assert parsed_now(folder, airflow) == {"second"}
    # A failing file is parsed each time, because the cause may be outside the folder.
    (folder / "words.py").write_text("TAG = missing\n")
    assert parsed_now(folder, airflow) == {"first"}
    assert parsed_now(folder, airflow) == {"first"}
    assert parsed_now(folder, airflow, fresh=True) == {"first", "second"}


def test_files_do_not_affect_each_other(folder, airflow):
    leaves = "import os\nimport sys\n\nos.environ['SEEN'] = 'yes'\nsys.path.append('/seen')\n"
    sees = "import os\nimport sys\n\nassert 'SEEN' not in os.environ and '/seen' not in sys.path\n"
    for number in range(6):
        write(folder, f"a{number}", top=leaves)
        write(folder, f"b{number}", top=sees)
    findings, parsed = errors(folder, airflow)
    assert findings == []
    assert len(parsed) == 14


def test_modules_of_the_same_name_are_kept_apart(tmp_path, airflow):
    for name in ("north", "south"):
        package = tmp_path / name
        package.mkdir()
        (package / "shared.py").write_text(f'TAG = "{name}"\n')
        top = f"import sys\n\nsys.path.insert(0, '{package}')\nimport shared\n\n"
        write(package, name, top=f"{top}assert shared.TAG == '{name}'\n", tag="shared.TAG")
    # The parsing server has modules with these names.
    for name in ("parser", "comms"):
        (tmp_path / f"{name}.py").write_text("OWN = True\n")
        write(tmp_path, f"uses_{name}", top=f"import {name}\n\nassert {name}.OWN\n")
    findings, parsed = errors(tmp_path, airflow)
    assert findings == []
    assert len(parsed) == 4


def test_dag_that_only_the_patched_airflow_loads_has_no_findings(tmp_path, airflow):
    path = write(tmp_path, "mapped")
    text = path.read_text().replace(
        '"retries": 1', '"retries": 1, "poke_interval": 5, "bash_command": "true"'
    )
    operator = "from airflow.providers.standard.operators.bash import BashOperator\n"
    mapped = "    BashOperator.partial(task_id='two').expand(bash_command=['a'])\n"
    path.write_text(operator + text + mapped)
    findings, (parsed,) = lint(tmp_path, airflow, limit=30)
    assert findings == []
    assert [dag["dag_id"] for dag in parsed.dags] == ["mapped"]


def test_airflow_examples_have_no_errors(airflow, monkeypatch):
    where = [airflow.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.check_output(where, text=True).strip())
    # The examples need their own plugins, which this setting loads.
    monkeypatch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "True")
    findings, parsed = errors(site / "airflow/example_dags", airflow, fresh=True)
    assert findings == []
    assert sum(bool(one.dags) for one in parsed) > 35


def test_example_dag_of_contributing_has_no_findings(tmp_path, airflow):
    text = (REPO / "CONTRIBUTING.md").read_text("utf-8").split("**A DAG**")[1]
    (tmp_path / "hello.py").write_text(text.split("```python\n")[1].split("```")[0])
    findings, (parsed,) = lint(tmp_path, airflow, limit=30)
    assert findings == []
    assert [dag["dag_id"] for dag in parsed.dags] == ["hello"]


def test_lint_a_thousand_files(tmp_path, airflow):
    for number in range(1000):
        write(tmp_path, f"generated_{number:04}")
    findings, parsed = errors(tmp_path, airflow)
    assert (findings, len(parsed)) == ([], 1000)
    assert len({dag["dag_id"] for one in parsed for dag in one.dags}) == 1000
    assert parsed_now(tmp_path, airflow) == set()


def dag_lint(airflow, *words):
    argv = [sys.executable, "-m", "checks.dag_lint", f"--airflow={airflow.python}", *words]
    return subprocess.run(argv, cwd=REPO, capture_output=True, text=True, check=False)


def test_output_as_text_and_as_json(folder, airflow):
    done = dag_lint(airflow, folder)
    assert done.returncode == 0, done.stderr
    assert "DAG files: 2, DAGs: 2" in done.stdout
    assert "no findings" in done.stdout
    write(folder, "second", tag="")
    lenient, strict = dag_lint(airflow, folder), dag_lint(airflow, folder, "--strict")
    assert (lenient.returncode, strict.returncode) == (0, 1)
    assert f"{folder}/second.py:5: warning missing-tags: DAG second has no tags" in lenient.stdout
    document = json.loads(dag_lint(airflow, folder, "--json").stdout)
    assert [(one["rule"], one["line"], one["level"]) for one in document["findings"]] == [
        ("missing-tags", 5, "warning")
    ]
    assert {(*one["dags"], one["parsed_now"]) for one in document["files"]} == {
        ("first", False),
        ("second", False),
    }


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "has no DAG file: none contains both the words dag and airflow"),
        (["# a dag of airflow, not yet written\n"], "defines a DAG"),
    ],
)
def test_folder_without_dags_is_an_error_of_one_line(tmp_path, airflow, texts, message):
    for text in texts:
        (tmp_path / "empty.py").write_text(text)
    done = dag_lint(airflow, tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_wrong_usage_exits_with_2(airflow):
    done = dag_lint(airflow, "--limit", "0")
    assert done.returncode == 2
    assert "--limit needs a positive number of seconds" in done.stderr


def test_python_without_airflow_raises_with_its_output(folder, airflow, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    without = dataclasses.replace(airflow, python=Path(sys.executable), home=home)
    with pytest.raises(StackError, match=r"No module named .?airflow"):
        lint(folder, without, limit=30)


@pytest.mark.parametrize("package", [True, False], ids=["package", "namespace"])
def test_include_next_to_the_folder_is_imported_and_cached(tmp_path, airflow, package):
    folder, include = tmp_path / "dags", tmp_path / "include"
    folder.mkdir()
    include.mkdir()
    if package:
        (include / "__init__.py").touch()
    (include / "words.py").write_text('TAG = "good"\n')
    write(folder, "first", top="from include import words\n", tag="words.TAG")
    write(folder, "second", top="from include import words\n", tag="words.TAG")
    found, parsed = errors(folder, airflow)
    assert found == []
    assert [dag["dag_id"] for one in parsed for dag in one.dags] == ["first", "second"]
    assert parsed_now(folder, airflow) == set()
    (include / "words.py").write_text('TAG = "better"\n')
    assert parsed_now(folder, airflow) == {"first", "second"}
