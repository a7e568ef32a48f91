"""Whole folders: what is parsed again, what files see of each other, and how it is told."""

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
    """A DAG that imports a module of its folder, and one that does not."""
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


def test_only_what_changed_is_parsed_again_and_who_imports_it(folder, airflow):
    before = {path: path.read_bytes() for path in folder.rglob("*")}
    assert parsed_now(folder, airflow) == {"first", "second"}
    assert {path: path.read_bytes() for path in folder.rglob("*")} == before, "left as it was"
    assert parsed_now(folder, airflow) == set()
    (folder / "words.py").write_text('TAG = "better"\n')
    assert parsed_now(folder, airflow) == {"first"}
    (folder / "second.py").write_text((folder / "second.py").read_text() + "\n# changed\n")
    assert parsed_now(folder, airflow) == {"second"}
    # What is wrong is looked at each time: the cause may lie outside.
    (folder / "words.py").write_text("TAG = missing\n")
    assert parsed_now(folder, airflow) == {"first"}
    assert parsed_now(folder, airflow) == {"first"}
    assert parsed_now(folder, airflow, fresh=True) == {"first", "second"}


def test_files_do_not_see_what_others_did(folder, airflow):
    leaves = "import os\nimport sys\n\nos.environ['SEEN'] = 'yes'\nsys.path.append('/seen')\n"
    sees = "import os\nimport sys\n\nassert 'SEEN' not in os.environ and '/seen' not in sys.path\n"
    for number in range(6):
        write(folder, f"a{number}", top=leaves)
        write(folder, f"b{number}", top=sees)
    found, parsed = errors(folder, airflow)
    assert found == []
    assert len(parsed) == 14


def test_two_modules_of_the_same_name_are_two(tmp_path, airflow):
    for name in ("north", "south"):
        package = tmp_path / name
        package.mkdir()
        (package / "shared.py").write_text(f'TAG = "{name}"\n')
        top = f"import sys\n\nsys.path.insert(0, '{package}')\nimport shared\n\n"
        write(package, name, top=f"{top}assert shared.TAG == '{name}'\n", tag="shared.TAG")
    # Our own process has modules of these names.
    for name in ("parser", "comms"):
        (tmp_path / f"{name}.py").write_text("OWN = True\n")
        write(tmp_path, f"uses_{name}", top=f"import {name}\n\nassert {name}.OWN\n")
    found, parsed = errors(tmp_path, airflow)
    assert found == []
    assert len(parsed) == 4


def test_airflows_own_examples_have_no_error(airflow, monkeypatch):
    where = [airflow.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.check_output(where, text=True).strip())
    # As where they run: with the plugins that come with them.
    monkeypatch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "True")
    found, parsed = errors(site / "airflow/example_dags", airflow, fresh=True)
    assert found == []
    assert sum(bool(one.dags) for one in parsed) > 35


def test_the_dag_that_contributing_adds_has_nothing_to_mend(tmp_path, airflow):
    text = (REPO / "CONTRIBUTING.md").read_text("utf-8").split("**A DAG**")[1]
    (tmp_path / "hello.py").write_text(text.split("```python\n")[1].split("```")[0])
    findings, (parsed,) = lint(tmp_path, airflow, limit=30)
    assert findings == []
    assert [dag["dag_id"] for dag in parsed.dags] == ["hello"]


def test_a_thousand_files(tmp_path, airflow):
    for number in range(1000):
        write(tmp_path, f"generated_{number:04}")
    found, parsed = errors(tmp_path, airflow)
    assert (found, len(parsed)) == ([], 1000)
    assert len({dag["dag_id"] for one in parsed for dag in one.dags}) == 1000
    assert parsed_now(tmp_path, airflow) == set()


def dag_lint(airflow, *words):
    argv = [sys.executable, "-m", "checks.dag_lint", f"--airflow={airflow.python}", *words]
    return subprocess.run(argv, cwd=REPO, capture_output=True, text=True, check=False)


def test_it_is_told_to_people_and_to_machines(folder, airflow):
    people = dag_lint(airflow, folder)
    assert people.returncode == 0, people.stderr
    assert "DAG files: 2, DAGs: 2" in people.stdout
    assert "no findings" in people.stdout
    write(folder, "second", tag="")
    lenient, strict = dag_lint(airflow, folder), dag_lint(airflow, folder, "--strict")
    assert (lenient.returncode, strict.returncode) == (0, 1)
    assert f"{folder}/second.py:5: warning missing-tags: DAG second has no tags" in lenient.stdout
    told = json.loads(dag_lint(airflow, folder, "--json").stdout)
    assert [(one["rule"], one["line"], one["level"]) for one in told["findings"]] == [
        ("missing-tags", 5, "warning")
    ]
    assert {(*one["dags"], one["parsed_now"]) for one in told["files"]} == {
        ("first", False),
        ("second", False),
    }


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ([], "holds no DAG file: one has the words dag and airflow in it"),
        (["# a dag of airflow, not yet written\n"], "no file gives a DAG"),
    ],
)
def test_a_folder_without_a_dag_is_an_error_of_one_line(tmp_path, airflow, made, said):
    for text in made:
        (tmp_path / "empty.py").write_text(text)
    done = dag_lint(airflow, tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_wrong_usage_ends_with_2(airflow):
    done = dag_lint(airflow, "--limit", "0")
    assert done.returncode == 2
    assert "--limit needs a positive number of seconds" in done.stderr


def test_a_python_without_airflow_is_told_with_its_last_words(folder, airflow, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    without = dataclasses.replace(airflow, python=Path(sys.executable), home=home)
    with pytest.raises(StackError, match=r"No module named .?airflow"):
        lint(folder, without, limit=30)
