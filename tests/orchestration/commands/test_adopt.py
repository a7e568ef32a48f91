"""Test the files that `inv adopt` writes, with a fake engine and a fake trial of the table."""

import json
import sys

import pytest

from orchestration.commands import adopt
from orchestration.commands.adopt import Options
from orchestration.engines import factory
from orchestration.errors import StackError, UsageError

RESULT = {
    "problem": "PROBLEM = 1\n",
    "warnings": ["id: has a different value in nearly every row, like an identifier"],
    "trained_rows": 1200,
    "held_out_rows": 300,
    "lines": {"baseline": "rmse 2.0000", "linear": "rmse 1.0000"},
    "dag_ids": ["bike_rentals_training", "bike_rentals_monitoring", "bike_rentals_scoring"],
}
TRIAL = """
import json, sys
def main(argv):
    print("a library's warning", file=sys.stderr)
    print(json.dumps({document} | {{"arguments": argv}}))
    return {code}
"""


@pytest.fixture(autouse=True)
def machine(engine, monkeypatch):
    """Provide an engine, and an accepting `dag_lint`."""
    monkeypatch.setattr(factory, "engine_for", lambda settings: engine)
    monkeypatch.setattr(adopt, "_require_valid_dags", lambda place: None)


@pytest.fixture
def trial(engine, tmp_path):
    """Return a function that sets what the trial in the service prints, and its exit code."""
    folder = tmp_path / "service"
    (folder / "ml").mkdir(parents=True)
    environment = {"AIRFLOW__CORE__DAGS_FOLDER": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    engine.command_environments["airflow-worker"] = environment

    def answer(document=RESULT, code=0, text=TRIAL):
        (folder / "ml/adopt.py").write_text(text.format(document=document, code=code))

    answer()
    return answer


@pytest.fixture
def table(tmp_path):
    """Return the path of a table."""
    file = tmp_path / "bikes.csv"
    file.write_text("count\n1\n")
    return file


def options(file, **others):
    return Options(file=str(file), name="bike-rentals", target="count", **others)


def written(clone):
    paths = [*(clone / "dags").rglob("bike*"), *clone.glob("datasets/**/*")]
    return sorted(str(path.relative_to(clone)) for path in paths if path.is_file())


FILES = ["dags/bike_rentals_pipelines.py", "dags/problems/bike_rentals.py"]
TABLE = "datasets/bike_rentals/0-bikes.csv"


def test_adopt_writes_description_dag_file_and_table(
    project, installed, clone, trial, table, capsys
):
    adopt.run(project, options(table))
    assert written(clone) == [*FILES, TABLE]
    assert (clone / FILES[1]).read_text() == "PROBLEM = 1\n"
    assert "from problems.bike_rentals import PROBLEM\n" in (clone / FILES[0]).read_text()
    assert [oct((clone / path).stat().st_mode & 0o777) for path in written(clone)] == ["0o644"] * 3
    assert capsys.readouterr().out.splitlines()[-6:] == [
        "warning: id: has a different value in nearly every row, like an identifier",
        "1,200 rows trained, 300 held out",
        "baseline    rmse 2.0000",
        "linear      rmse 1.0000",
        f"Written: {FILES[1]}, {FILES[0]}, datasets/bike_rentals",
        "Run: inv trigger bike_rentals_training --wait",
    ]


def test_adopt_json_prints_one_document(project, installed, clone, trial, table, capsys):
    adopt.run(project, options(table, json=True, time="day", kind="regression"))
    document = json.loads(capsys.readouterr().out)
    action, argument = document["arguments"]
    assert action == "describe"
    assert json.loads(argument) == {
        "file": "datasets/bike_rentals/bikes.csv",
        "source": "datasets/bike_rentals/",
        "name": "bike-rentals",
        "target": "count",
        "time": "day",
        "kind": "regression",
    }


def test_table_in_a_bucket_needs_a_setting_and_is_not_copied(
    project, installed, clone, trial, capsys
):
    line = "DATASET_URI_BIKE_RENTALS=s3://data/bikes.parquet"
    with pytest.raises(StackError, match=f"repeat the command: {line}$"):
        adopt.run(project, options("s3://data/bikes.parquet"))
    assert written(clone) == []
    with (clone / ".env").open("a") as file:
        file.write(f"{line}\n")
    adopt.run(project, options("s3://data/bikes.parquet", json=True))
    assert written(clone) == FILES
    argument = json.loads(json.loads(capsys.readouterr().out)["arguments"][1])
    assert argument["file"] == argument["source"] == "s3://data/bikes.parquet"


@pytest.mark.parametrize(
    "path", [*FILES, "datasets/bike_rentals/old.csv", "dags/problems/bike_rentals/x"]
)
def test_adopt_overwrites_nothing(project, installed, clone, trial, table, path):
    (clone / path).parent.mkdir(parents=True, exist_ok=True)
    (clone / path).write_text("mine")
    with pytest.raises(StackError, match="exists already") as error:
        adopt.run(project, options(table))
    assert "inv adopt --check bike-rentals" in str(error.value)
    assert (clone / path).read_text() == "mine"


@pytest.mark.parametrize(
    ("document", "code", "text", "reason"),
    [
        ({"error": "count has no value in any row"}, 1, TRIAL, "count has no value in any row."),
        (None, 0, "import os\nos.kill(os.getpid(), 9)\n", "The trial exited with -9."),
        (None, 0, "1 / 0\n", "division by zero"),
    ],
)
def test_failed_trial_leaves_nothing(
    project, installed, clone, trial, table, document, code, text, reason
):
    trial(document, code, text)
    with pytest.raises(StackError, match=reason):
        adopt.run(project, options(table))
    assert written(clone) == []
    assert not (clone / "datasets/bike_rentals").exists()


def test_invalid_dag_file_leaves_nothing(project, installed, clone, trial, table, monkeypatch):
    def refuse(place):
        assert place.dag_file.exists()
        raise StackError("The DAG file is not valid.")

    monkeypatch.setattr(adopt, "_require_valid_dags", refuse)
    with pytest.raises(StackError, match="not valid"):
        adopt.run(project, options(table))
    assert written(clone) == []


def test_dag_file_is_checked_by_dag_lint(clone, monkeypatch):
    monkeypatch.undo()
    commands = []

    def run(command, check):
        commands.append(command)
        return adopt.runner.Completed(len(commands) - 1, "bike_rentals_pipelines.py:1 found")

    monkeypatch.setattr(adopt.runner, "run", run)
    place = adopt.Place(clone, "bike_rentals")
    adopt._require_valid_dags(place)
    argv = ("-m", "nox", "-s", "dag_lint", "--", str(place.dag_file))
    assert commands[0].argv == (sys.executable, *argv)
    with pytest.raises(StackError, match=r"bike_rentals_pipelines.py:1 found"):
        adopt._require_valid_dags(place)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": ""}, "Missing: --name"),
        ({"file": "", "target": ""}, "Missing: --file, --target"),
        ({"name": "Bikes"}, "'Bikes' cannot be the name"),
        ({"name": "class"}, "'class' cannot be the name"),
        ({"name": "../x"}, "cannot be the name"),
        ({"kind": "cluster"}, "Unknown kind: cluster"),
        ({"file": "bikes.xlsx"}, "neither a CSV nor a Parquet file"),
    ],
)
def test_wrong_options_are_wrong_usage(project, installed, trial, changes, reason):
    wrong = {"file": "bikes.csv", "name": "bikes", "target": "count"} | changes
    with pytest.raises(UsageError, match=reason):
        adopt.run(project, Options(**wrong))


def test_missing_file_is_named(project, installed, trial, tmp_path, clone):
    with pytest.raises(StackError, match=r"There is no file .*none\.csv"):
        adopt.run(project, options(tmp_path / "none.csv"))
    assert not (clone / "datasets/bike_rentals").exists()


def test_adopt_before_install_names_the_next_command(project, installed, engine, table):
    engine.built = False
    with pytest.raises(StackError) as error:
        adopt.run(project, options(table))
    assert str(error.value).endswith("Run: inv install")


def test_check_shows_scores_and_names_the_way_to_repeat(project, installed, trial, capsys):
    adopt.run(project, Options(check="bike-rentals"))
    assert "Written" not in capsys.readouterr().out
    trial({"error": "NameError (line 3 of bike_rentals.py of bike_rentals)"}, 1)
    with pytest.raises(StackError, match="line 3") as error:
        adopt.run(project, Options(check="bike-rentals"))
    assert str(error.value).endswith("inv adopt --check bike-rentals")


def test_list_shows_modules_and_folders(project, installed, clone, capsys):
    folder = clone / "dags/problems"
    (folder / "own").mkdir(parents=True)
    for name in ("__init__.py", "bikes.py", "read me.txt"):
        (folder / name).touch()
    adopt.run(project, Options(list=True))
    assert capsys.readouterr().out.split() == ["bikes", "own"]
    adopt.run(project, Options(list=True, json=True))
    assert json.loads(capsys.readouterr().out) == ["bikes", "own"]
