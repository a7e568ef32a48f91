"""Adopt public tables of three kinds, and train, score and monitor them next to the example.

The tables are in packages that the session `problems` installs; PROBLEM_TABLES is their folder.
"""

import json
import os
import re
from pathlib import Path

import pytest

from tests.e2e.clone import until

TABLES = {
    "seattle-rain": (
        "vega_datasets/_data/seattle-weather.csv",
        ("--target", "weather", "--time", "date"),
        {"until": "2014-12"},
        {"period": "2015-06"},
    ),
    "seattle-temperature": (
        "vega_datasets/_data/seattle-temps.csv",
        ("--target", "temp", "--time", "date", "--kind", "regression"),
        {"until": "2010-06"},
        {"period": "2010-07"},
    ),
    "penguins": (
        "palmerpenguins/data/penguins.csv",
        ("--target", "species"),
        {},
        {},
    ),
}
# The first table has five kinds of weather. A colleague only asks whether it will rain.
EDITS = {
    "seattle-rain": [
        ("kind='multiclass'", "kind='binary'"),
        ("target='weather'", "target='rain'"),
        # It rained on each day of the last December.
        ("period='month',", "period='month',\n    holdout=3,"),
        (
            "\n\ndef schema()",
            '\n\ndef label(rows):\n    """Return the days with whether it rained."""\n'
            '    known = rows.dropna(subset=["weather"])\n'
            '    rain = known["weather"].isin(["rain", "drizzle"])\n'
            '    return known.assign(rain=rain.map({True: "yes", False: "no"}))\n\n\ndef schema()',
        ),
        ("        'precipitation',\n", ""),
    ]
}
pytestmark = pytest.mark.skipif(
    "PROBLEM_TABLES" not in os.environ, reason="the tables are missing. Run: nox -s problems"
)


@pytest.fixture(scope="module", params=sorted(TABLES))
def adopted(request, stack):
    """Return the name of a problem that was adopted and edited."""
    name = request.param
    path, options, *_ = TABLES[name]
    table = Path(os.environ["PROBLEM_TABLES"], path)
    output = stack.run_ok("inv", "adopt", "--file", str(table), "--name", name, *options)
    assert "baseline" in output
    module = name.replace("-", "_")
    file = stack.folder / "dags/problems" / f"{module}.py"
    text = file.read_text()
    for old, new in EDITS.get(name, ()):
        assert old in text, old
        text = text.replace(old, new)
    file.write_text(text)
    stack.run_ok("inv", "adopt", "--check", name)
    until(lambda: "dag_id" in stack.airflow(f"/api/v2/dags/{module}_training"), 120)
    return name


def trigger(stack, name, role, conf):
    module = name.replace("-", "_")
    return stack.run_ok("inv", "trigger", f"{module}_{role}", "--conf", json.dumps(conf), "--wait")


def test_problem_is_trained_scored_and_monitored(stack, adopted):
    _, _, train, monitor = TABLES[adopted]
    report = trigger(stack, adopted, "training", train)
    assert re.search(r"champion +version 1 ", report)
    assert "baseline" in report
    report = trigger(stack, adopted, "monitoring", monitor)
    assert "champion version 1" in report
    report = trigger(stack, adopted, "scoring", {})
    assert re.search(r"predicted by version \d", report)
    page = stack.status_page()
    until(lambda: stack.status_page()[f"champion {adopted}"]["state"] == "up", 90)
    assert page[f"training {adopted}"]["state"] == "up"


def test_adopted_problem_is_not_overwritten(stack, adopted):
    path, options, *_ = TABLES[adopted]
    table = Path(os.environ["PROBLEM_TABLES"], path)
    before = (stack.folder / "dags/problems" / f"{adopted.replace('-', '_')}.py").read_text()
    done = stack.run("inv", "adopt", "--file", str(table), "--name", adopted, *options)
    assert done.returncode == 1
    assert "exists already" in done.stderr
    after = (stack.folder / "dags/problems" / f"{adopted.replace('-', '_')}.py").read_text()
    assert after == before


def test_bad_table_leaves_nothing(stack, tmp_path):
    file = tmp_path / "bad.csv"
    file.write_text("a,b\n" + "1,\n" * 100)
    done = stack.run("inv", "adopt", "--file", str(file), "--name", "bad", "--target", "b")
    assert done.returncode == 1
    assert "b has no value in any row" in done.stderr
    assert not list((stack.folder / "dags").rglob("bad*"))
    assert not (stack.folder / "datasets/bad").exists()


def test_list_shows_the_problems(stack, adopted):
    assert {"flights", adopted.replace("-", "_")} <= set(
        stack.run_ok("inv", "adopt", "--list").split()
    )
