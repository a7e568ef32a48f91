"""Describe good and bad tables, and check the modules that come out."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from ml import adopt, describe, problem

ROWS = 600


def table():
    """Return a table of rentals: two years of days, a target, and columns to be wary of."""
    random = np.random.default_rng(4)
    day = pd.date_range("2023-01-01", periods=ROWS, freq="D")
    warm = random.uniform(-5, 30, ROWS)
    member, guest = random.poisson(50, ROWS), random.poisson(20, ROWS)
    return pd.DataFrame(
        {
            "id": np.arange(ROWS),
            "day": day,
            "season": np.where(day.month < 7, "spring", "autumn"),
            "temperature": warm,
            "station": random.choice(["a", "b", "c"], ROWS),
            "member": member + (5 * warm).round(),
            "guest": guest,
            "count": member + (5 * warm).round() + guest,
            "sunny": np.where(warm + random.normal(0, 4, ROWS) > 12, "yes", "no"),
            "constant": 1,
        }
    )


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Return a function that writes a table and describes it."""

    def run(rows=None, *, file="rentals.csv", content=None, name="rentals", **options):
        path = tmp_path / file
        if content is not None:
            path.write_bytes(content)
        elif file.endswith("parquet"):
            rows.to_parquet(path)
        elif rows is not None:
            rows.to_csv(path, index=False)
        arguments = {"file": path, "source": "datasets/x/", "name": name} | options
        argv = [f"--{key}={value}" for key, value in arguments.items()]
        code = adopt.main(["describe", *argv])
        result = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert code == ("error" in result)
        return result

    yield run
    for module in [one for one in sys.modules if one == "problems.rentals"]:
        del sys.modules[module]


def warnings_about(result, column):
    return [line for line in result["warnings"] if line.partition(":")[0].split(", ").count(column)]


@pytest.mark.parametrize("file", ["rentals.csv", "rentals.parquet"])
def test_regression_with_time_beats_its_baseline(run, file):
    result = run(table(), file=file, target="count", time="day")
    assert "error" not in result, result
    assert result["kind"] == "regression"
    assert result["scores"]["linear"]["rmse"] < result["scores"]["baseline"]["rmse"]
    assert result["dag_ids"] == ["rentals_training", "rentals_monitoring", "rentals_scoring"]
    assert "pipelines.create(PROBLEM)" in result["dags"]


def test_leaks_identifiers_and_constants_are_left_out(run):
    result = run(table(), target="count", time="day")
    for column in ("id", "constant", "member", "guest"):
        assert warnings_about(result, column), column
        assert f"# {column!r}: " in result["problem"]
    assert "'temperature'," in result["problem"]


def test_kind_follows_from_the_target(run):
    assert run(table(), target="sunny", time="day")["kind"] == "binary"
    del sys.modules["problems.rentals"]
    assert run(table(), target="station")["kind"] == "multiclass"


def test_module_is_formatted_python_with_docstrings(run):
    text = run(table(), target="sunny", time="day")["problem"]
    compile(text, "rentals.py", "exec")
    assert text.startswith('"""Predict sunny.')
    assert max(map(len, text.splitlines())) <= 100


def changed(**columns):
    return lambda: table().assign(**columns)


GIBBERISH = "ä,ö\n1,2\n".encode("latin-1") * 99
BAD = {
    "no rows": (dict(content=b"day,count\n"), "the table has no rows"),
    "empty file": (dict(content=b""), "cannot read rentals.csv"),
    "few rows": (lambda: table().head(30), "the table has 30 rows; at least 50 are needed"),
    "no target": (lambda: table().drop(columns="count"), "there is no column count"),
    "no time": (lambda: table().drop(columns="day"), "there is no column day"),
    "empty target": (changed(count=None), "count has no value in any row"),
    "one class": (changed(count="yes"), "count has only one value: 'yes'"),
    "unreadable time": (changed(day="soon"), "600 values of day are no time, such as ['soon']"),
    "future": (changed(day=pd.Timestamp("2091-01-01")), "have a day in the future"),
    "not UTF-8": (dict(content=GIBBERISH), "rentals.csv is not UTF-8 (byte 0): save it as UTF-8"),
    "repeated column": (dict(content=b"count,day,count\n1,2,3\n" * 99), "repeated column: count"),
    "many columns": (
        lambda: table().assign(**{f"c{n}": n for n in range(500)}),
        "510 columns are too many",
    ),
    "text as number": (changed(count=["1", "many"] * 300), "are not numbers, such as 'many'"),
    "many classes": (changed(count=[f"c{n}" for n in range(600)]), "count has 600 classes"),
    "ragged lines": (dict(content=b"day,count\n1,2\n1,2,3,4\n" * 9), "cannot read rentals.csv"),
    "no parquet": (dict(content=b"PAR0", file="rentals.parquet"), "cannot read rentals.parquet"),
    "nothing left": (lambda: table()[["id", "day", "count"]], "no column is left to predict from"),
    "one day": (changed(day=pd.Timestamp("2024-01-01")), "nothing to"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_table_is_refused_with_one_line(run, case):
    rows, reason = BAD[case]
    options = rows if isinstance(rows, dict) else {"rows": rows()}
    kind = {"text as number": "regression"}.get(case, "")
    result = run(target="count", time="day", **options, **({"kind": kind} if kind else {}))
    assert reason in result.get("error", result)
    assert "\n" not in result["error"]


def test_table_larger_than_memory_is_refused_before_it_is_read(run, monkeypatch):
    monkeypatch.setattr(adopt, "_free_memory", lambda: 1000)
    result = run(table(), target="count")
    assert "GiB are free: use a part of it" in result["error"]


def test_free_memory_is_that_of_the_machine_or_less():
    assert 2**20 < adopt._free_memory() < 2**50


def test_check_names_the_line_at_fault(run, tmp_path, capsys, monkeypatch):
    text = run(table(), target="count", time="day")["problem"]
    del sys.modules["problems.rentals"]
    folder = tmp_path / "problems"
    folder.mkdir()
    broken = text.replace(
        "    import pandera.pandas as pa\n", "    import pandera.pandas as pa\n    1 / 0\n"
    )
    (folder / "rentals.py").write_text(broken)
    monkeypatch.setattr(problem, "FOLDER", folder)
    import problems

    monkeypatch.setattr(problems, "__path__", [str(folder)])
    assert adopt.main(["check", "--name=rentals"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    line = broken.splitlines().index("    1 / 0") + 1
    assert error == f"ZeroDivisionError: division by zero (dags/problems: rentals.py, line {line})"


def test_check_of_an_unknown_problem_names_the_others(capsys):
    assert adopt.main(["check", "--name=nothing"]) == 1
    assert "there is no problem nothing; there are " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["flights", "bike-rentals", "a1"])
def test_dag_file_creates_the_pipelines_of_the_problem(name):
    text = describe.dags_text(name)
    assert f"from problems.{name.replace('-', '_')} import PROBLEM" in text
    assert {"dag", "airflow"} <= set(text.lower().replace(":", " ").split()) or "DAGs" in text
