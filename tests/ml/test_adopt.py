"""Describe good and bad tables, and check the modules that come out."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from ml import adopt, problem

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
        arguments = {"file": str(path), "source": "datasets/x/", "name": name}
        arguments |= {"time": "", "kind": ""} | options
        code = adopt.main(["describe", json.dumps(arguments)])
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


def test_leaks_identifiers_and_constants_are_left_out(run):
    result = run(table(), target="count", time="day")
    for column in ("id", "constant", "member", "guest"):
        assert warnings_about(result, column), column
        assert f'# "{column}": ' in result["problem"]
    assert '"temperature",' in result["problem"]


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
    "no rows": (dict(content=b"day,count\n"), "the table has 0 rows; at least 50 are needed"),
    "empty file": (dict(content=b""), "cannot read rentals.csv"),
    "few rows": (lambda: table().head(30), "the table has 30 rows; at least 50 are needed"),
    "no target": (lambda: table().drop(columns="count"), "there is no column 'count'"),
    "no time": (lambda: table().drop(columns="day"), "there is no column 'day'"),
    "empty target": (changed(count=None), "count has no value in any row"),
    "one class": (changed(count="yes"), "count has only one value: yes"),
    "unreadable time": (
        changed(day="soon"),
        "600 values of day are missing or not times, such as 'soon'",
    ),
    "future": (changed(day=pd.Timestamp("2091-01-01")), "have a day in the future"),
    "not UTF-8": (dict(content=GIBBERISH), "rentals.csv is not UTF-8 (byte 0): save it as UTF-8"),
    "repeated column": (
        dict(content=b"count,day,count\n1,2,3\n" * 99),
        "rentals.csv has a repeated column: 'count'",
    ),
    "many columns": (
        lambda: table().assign(**{f"c{n}": n for n in range(500)}),
        "510 columns are too many",
    ),
    "text as number": (changed(count=["1", "many"] * 300), "are not numbers, such as 'many'"),
    "many classes": (changed(count=[f"c{n}" for n in range(600)]), "count has 600 classes"),
    "ragged lines": (dict(content=b"day,count\n1,2\n1,2,3,4\n" * 9), "cannot read rentals.csv"),
    "no parquet": (dict(content=b"PAR0", file="rentals.parquet"), "cannot read rentals.parquet"),
    "nothing left": (
        dict(rows=table()[["id", "constant", "count"]], time=""),
        "no column is left to predict from: id: has a different value in nearly every row",
    ),
    "target as time": (dict(rows=table(), target="day"), "cannot be both the target and the time"),
    "first of the month": (changed(day="01/02/2024"), "write times as 2024-01-31"),
    "seconds": (changed(day=range(1_700_000_000, 1_700_000_600)), "such as '1700000000': write"),
    "infinite target": (changed(count=[np.inf, *range(599)]), "1 values of count are not numbers"),
    "semicolons": (dict(content=b"day;count\n1;2\n" * 99), "the separator must be a comma"),
    "one day": (changed(day=pd.Timestamp("2024-01-01")), "nothing to"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_table_is_refused_with_one_line(run, case):
    rows, reason = BAD[case]
    options = {"target": "count", "time": "day"}
    options |= rows if isinstance(rows, dict) else {"rows": rows()}
    options |= {"kind": "regression"} if case == "text as number" else {}
    result = run(**options)
    assert reason in result.get("error", result)
    assert "\n" not in result["error"]


def test_odd_columns_are_left_out_with_a_reason(run):
    odd = {
        "prediction": range(ROWS),
        "day_month": 1.5,
        "price": [f"{n:,}.50 €" for n in range(1000, 1000 + ROWS)],
        "list": [[1]] * ROWS,
        "huge": [np.inf, 1e308] * 300,
    }
    result = run(table().assign(**odd), file="rentals.parquet", target="count", time="day")
    for column, reason in {
        "prediction": "a name that the pipelines use",
        "day_month": "a name that the pipelines use",
        "price": "contains numbers as text",
        "list": "values of the type ndarray",
        "huge": "the same value in all rows, or none",
    }.items():
        [line] = warnings_about(result, column)
        assert reason in line
        assert f'# "{column}": ' in result["problem"]


@pytest.mark.parametrize(
    "times",
    [
        [f"2024-0{n // 100 + 1}-03T0{n % 10}:00:00+0{n % 3}:00" for n in range(ROWS)],
        [f"2024/{n // 100 + 1}/{n % 28 + 1} 18:00" for n in range(ROWS)],
    ],
    ids=["changing time zones", "slashes"],
)
def test_times_are_read_in_utc(run, times):
    result = run(table().assign(day=times), target="count", time="day")
    assert "error" not in result, result
    assert 'first="2024-02"' in result["problem"]


def test_last_period_is_set_only_for_data_that_has_ended(run):
    assert "last=" in run(table(), target="count", time="day")["problem"]
    del sys.modules["problems.rentals"]
    today = pd.date_range(end=pd.Timestamp.now().normalize(), periods=ROWS, freq="D")
    text = run(table().assign(day=today), target="count", time="day")["problem"]
    first = (pd.Timestamp.now().to_period("M") + 1).strftime("%Y-%m")
    assert f'first="{first}"' in text
    assert "last=" not in text


def test_name_of_another_model_is_refused(run, monkeypatch):
    monkeypatch.setattr(problem, "names", lambda: ["flights"])
    other = SimpleNamespace(name="rentals")
    monkeypatch.setattr(problem, "load", lambda module: other)
    result = run(table(), target="count")
    assert result["error"].startswith("the model name rentals is that of the problem flights")


def test_table_larger_than_memory_is_refused_before_it_is_read(run, monkeypatch):
    monkeypatch.setattr(adopt, "_free_memory", lambda: 1000)
    result = run(table(), target="count")
    assert "GiB are free: use a part of it" in result["error"]


def test_free_memory_is_that_of_the_machine_or_less():
    assert 2**20 < adopt._free_memory() < 2**50


@pytest.fixture
def check(run, tmp_path, capsys, monkeypatch):
    """Return a function that checks the description of the table after an edit."""
    import problems

    text = run(table(), target="count", time="day")["problem"]
    del sys.modules["problems.rentals"]
    folder = tmp_path / "problems"
    folder.mkdir()
    monkeypatch.setattr(problem, "FOLDER", folder)
    monkeypatch.setattr(problems, "__path__", [str(folder)])

    def check(old, new):
        assert old in text
        (folder / "rentals.py").write_text(text.replace(old, new, 1))
        code = adopt.main(["check", "rentals"])
        error = json.loads(capsys.readouterr().out).get("error", "")
        assert code == bool(error)
        return error

    (tmp_path / "rentals.parquet").write_bytes(b"")
    table().to_parquet(tmp_path / "rentals.parquet")
    monkeypatch.setenv("DATASET_URI_RENTALS", str(tmp_path / "rentals.parquet"))
    return check


FUNCTION = "\n\ndef schema() -> Any:\n"
EDITS = {
    "error in a function": (
        FUNCTION,
        f"{FUNCTION}    1 / 0\n",
        "ZeroDivisionError",
        "line 37 of rentals.py",
    ),
    "syntax": ('target="count"', "target=", "SyntaxError", "line 11"),
    "field": ("period=", "perod=", "perod Unexpected keyword argument", "line 7"),
    "choice": ('"month"', '"year"', "period Input should be 'month', 'week' or 'day'", "line 7"),
    "text": (
        'period="month"',
        'models="linear"',
        "models 'str' instances are not allowed",
        "line 7",
    ),
    "target as input": (
        'target="count"',
        'target="temperature"',
        "inputs contains the target",
        "line 7",
    ),
    "order": ('last="', 'last="1', "first or last is not a month", "line 7"),
    "unknown input": (
        '        "season",',
        '        "saison",',
        "schema() has no column saison",
        "",
    ),
    "metric": ('period="month"', 'metric="auc"', "metric='auc' is none of rmse, mae, r2", ""),
    "kind": ('"regression"', '"binary"', "count has", "so it is not binary"),
    "models": ('period="month"', 'models=("forest",)', "models() has no forest", ""),
    "share": ("share=0.25", "share=25", "share Input should be less than or equal to 1", "line 32"),
    "no schema": ("def schema", "def table", "schema() is missing", ""),
}


@pytest.mark.parametrize("case", EDITS)
def test_check_names_the_mistake(check, case):
    old, new, reason, place = EDITS[case]
    error = check(old, new)
    assert reason in error
    assert place in error
    assert "\n" not in error


def test_check_accepts_what_adopt_wrote(check):
    assert check("column=0.2", "column=0.3") == ""


def test_check_of_an_unknown_problem_names_the_others(capsys):
    assert adopt.main(["check", "nothing"]) == 1
    assert "there is no problem nothing; known: " in capsys.readouterr().out
