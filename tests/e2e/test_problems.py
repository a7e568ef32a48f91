"""Adopt public tables of three kinds, and train, score and monitor them next to the example.

The tables are in packages that the session `problems` installs; PROBLEM_TABLES is their folder.
"""

import json
import os
import random
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from tests.e2e.clone import until
from tests.support.repository import ROOT

WEATHER, TEMPERATURE = ("vega_datasets/_data/seattle-weather.csv",
                        "vega_datasets/_data/seattle-temps.csv")  # fmt: skip
PENGUINS = "palmerpenguins/data/penguins.csv"
# By problem: the table, options of `inv adopt`, and the conf of training and monitoring.
TABLES = {
    "seattle-rain": (
        WEATHER, ("--target", "weather", "--time", "date"),
        {"until": "2014-12"}, {"period": "2015-06"},
    ),
    "seattle-temperature": (
        TEMPERATURE, ("--target", "temp", "--time", "date", "--kind", "regression"),
        {"until": "2010-06"}, {"period": "2010-07"},
    ),
    "penguins": (PENGUINS, ("--target", "species"), {}, {}),
}  # fmt: skip
# The table has five kinds of weather. This problem only asks whether it will rain.
EDITS = {
    "seattle-rain": [
        ('kind="multiclass"', 'kind="binary"'),
        ('target="weather"', 'target="rain"'),
        # It rained on each day of the last December.
        ('period="month",', 'period="month",\n    holdout=3,'),
        (
            "\n\ndef schema()",
            '\n\ndef label(rows: Any) -> Any:\n    """Return the days with whether it rained."""\n'
            '    known = rows.dropna(subset=["weather"])\n'
            '    rain = known["weather"].isin(["rain", "drizzle"])\n'
            '    return known.assign(rain=rain.map({True: "yes", False: "no"}))\n\n\ndef schema()',
        ),
        ('        "precipitation",\n', ""),
    ]
}
MOST_EDITED_LINES = 20
GUIDE = ROOT / "docs/how-to/bring-your-own-data.md"
pytestmark = pytest.mark.skipif(
    "PROBLEM_TABLES" not in os.environ, reason="the tables are missing. Run: nox -s problems"
)


def module(name):
    return name.replace("-", "_")


def table(name):
    return Path(os.environ["PROBLEM_TABLES"], TABLES[name][0])


def await_dags(stack, name):
    until(lambda: "dag_id" in stack.airflow(f"/api/v2/dags/{module(name)}_training"), 120)


@pytest.fixture(scope="module", params=sorted(TABLES))
def adopted(request, stack):
    """Return the name of a problem that was adopted and edited."""
    name = request.param
    options = ("--file", str(table(name)), "--name", name, *TABLES[name][1])
    output = stack.run_ok("inv", "adopt", *options)
    assert "baseline" in output
    file = stack.folder / "dags/problems" / f"{module(name)}.py"
    text = file.read_text()
    for old, new in EDITS.get(name, ()):
        assert old in text, old
        text = text.replace(old, new)
    assert sum(new.count("\n") + 1 for _, new in EDITS.get(name, ())) <= MOST_EDITED_LINES
    file.write_text(text)
    stack.run_ok("inv", "adopt", "--check", name)
    await_dags(stack, name)
    return name


def trigger(stack, name, role, conf):
    dag_id = f"{module(name)}_{role}"
    return stack.run_ok("inv", "trigger", dag_id, "--conf", json.dumps(conf), "--wait")


def monitored(stack, name):
    """Return the tags of the newest run of monitoring."""
    params = {"experiment_name": f"{name}-monitoring"}
    answer = stack.mlflow("GET", "experiments/get-by-name", params=params).json()
    query = {"experiment_ids": [answer["experiment"]["experiment_id"]], "max_results": 1}
    [run] = stack.mlflow("POST", "runs/search", json=query).json()["runs"]
    return {tag["key"]: tag["value"] for tag in run["data"]["tags"]}


def rows_to_score(stack, name, monitor):
    """Write the rows of the monitored period, and return the conf to score them."""
    if not monitor:
        return {}  # The newest file is the monitored one.
    header, *lines = table(name).read_text().splitlines()
    month = monitor["period"].replace("-", "/")
    file = stack.folder / f"datasets/{name}-new.csv"
    file.write_text("\n".join([header, *(line for line in lines if line.startswith(month))]))
    return {"source": f"datasets/{file.name}"}


def test_problem_is_trained_monitored_and_scored(stack, adopted):
    _, _, train, monitor = TABLES[adopted]
    report = trigger(stack, adopted, "training", train)
    assert re.search(r"champion +version 1 ", report)
    assert "baseline" in report
    if not monitor:
        shutil.copy(table(adopted), stack.folder / f"datasets/{module(adopted)}/z-new.csv")
    report = trigger(stack, adopted, "monitoring", monitor)
    assert re.search(r"^\w+ (20|z-new).*, champion version \d", report, re.MULTILINE), report
    assert monitored(stack, adopted)["predictions"] == "computed"
    report = trigger(stack, adopted, "scoring", rows_to_score(stack, adopted, monitor))
    assert re.search(r"predicted by version \d", report)
    until(lambda: stack.status_page()[f"champion {adopted}"]["state"] == "up", 90)
    assert stack.status_page()[f"training {adopted}"]["state"] == "up"


def test_performance_is_that_of_the_stored_predictions(stack, adopted):
    trigger(stack, adopted, "monitoring", TABLES[adopted][3] or {"period": "z-new.csv"})
    assert monitored(stack, adopted)["predictions"] == "stored"


def test_adopted_problem_passes_lint(stack, adopted):
    files = [f"dags/problems/{module(adopted)}.py", f"dags/{module(adopted)}_pipelines.py"]
    for argv in (["ruff", "check"], ["ruff", "format", "--check"]):
        stack.run_ok(sys.executable, "-m", *argv, *files)


def test_adopted_problem_is_not_overwritten(stack, adopted):
    file = stack.folder / "dags/problems" / f"{module(adopted)}.py"
    before = file.read_text()
    options = ("--file", str(table(adopted)), "--name", adopted, *TABLES[adopted][1])
    done = stack.run("inv", "adopt", *options)
    assert done.returncode == 1
    assert "exists already" in done.stderr
    assert file.read_text() == before


def test_list_shows_the_problems(stack, adopted):
    names = set(stack.run_ok("inv", "adopt", "--list").split())
    assert {"flights", module(adopted)} <= names


def test_each_new_file_is_monitored_once(stack):
    report = trigger(stack, "penguins", "monitoring", {})
    assert "There is no new file after z-new.csv." in report


def test_bad_table_leaves_nothing(stack, tmp_path):
    file = tmp_path / "bad.csv"
    file.write_text("a,b\n" + "1,\n" * 100)
    done = stack.run("inv", "adopt", "--file", str(file), "--name", "bad", "--target", "b")
    assert done.returncode == 1
    assert "b has no value in any row" in done.stderr
    assert not list((stack.folder / "dags").rglob("bad*"))
    assert not (stack.folder / "datasets/bad").exists()


def commands_of_the_guide():
    """Return the commands of the first code block of the guide."""
    block = GUIDE.read_text(encoding="utf-8").split("```")[1]
    return [shlex.split(line) for line in block.splitlines() if line.strip()]


def write_bikes(file):
    """Write the table of the guide: two years of days."""
    chance = random.Random(1)
    lines = ["date,count,temperature,workday"]
    for day in range(730):
        warm = chance.uniform(-5, 30)
        count = round(100 + 8 * warm + chance.gauss(0, 20))
        date = f"{2024 + day // 365}-{day % 365 // 31 + 1:02}-{day % 31 % 28 + 1:02}"
        lines.append(f"{date},{count},{warm:.1f},{day % 7 < 5}")
    file.write_text("\n".join(lines))


def test_guide_is_correct(stack):
    write_bikes(stack.folder / "bikes.csv")
    adopt, *triggers = commands_of_the_guide()
    assert len(triggers) == 3
    stack.run_ok(*adopt)
    await_dags(stack, "bike-rentals")
    reports = [stack.run_ok(*argv) for argv in triggers]
    assert re.search(r"champion +version 1 ", reports[0])
    assert "champion version 1" in reports[1]
    assert "predicted by version 1" in reports[2]


def test_model_kind_of_the_guide_can_be_stored(stack):
    text = GUIDE.read_text(encoding="utf-8")
    forest = next(part for part in text.split("```python\n") if "RandomForest" in part)
    file = stack.folder / "dags/problems/bike_rentals.py"
    description = file.read_text().replace(
        "    source=", '    models=("linear", "forest"),\n    source=', 1
    )
    file.write_text(f"{description}\n\n{forest.split('```')[0]}")
    assert "forest" in stack.run_ok("inv", "adopt", "--check", "bike-rentals")
