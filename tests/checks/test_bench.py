"""What the benchmark makes of its figures; measuring itself needs stacks (`nox -s bench`)."""

import argparse
import json
import subprocess
import sys

import psutil
import pytest

from bench import __main__ as bench
from bench import figures, kept, report, slices, standalone
from bench.effort import SHORT


def row(results, measure):
    [found] = [line for line in report.table(results) if line.startswith(f"| {measure} |")]
    return [cell.strip() for cell in found.split("|")[1:-1]]


def test_a_goal_that_is_a_ratio_is_met_or_missed_by_medians():
    results = {"up, again": {"ours": [20, 90, 21], "stock": [100, 84, 1]}}
    assert row(results, "up, again")[2:] == ["21", "84", "", "0.25", "≤ 0.25", "met"]
    results["up, again"]["stock"] = [80]
    assert row(results, "up, again")[-1] == "missed"
    assert figures.missed(results) == ["up, again"]


def test_a_goal_that_is_a_figure_needs_no_stock():
    results = {"Airflow image": {"ours": [1.36]}, "MLflow image": {"ours": [1.0]}}
    assert row(results, "Airflow image")[-2:] == ["≤ 1.35 GB", "missed"]
    assert row(results, "MLflow image")[-1] == "met"


def test_a_goal_without_stock_is_open():
    results = {"idle memory": {"ours": [900]}}
    assert row(results, "idle memory")[-1] == "not compared"
    assert "idle memory" in figures.open_goals(results)
    assert not figures.missed(results)


def test_where_more_is_better_a_ratio_below_one_is_still_the_better():
    results = {"runs with 100 metrics": {"ours": [40], "stock": [20]}}
    assert figures.ratio(results, "runs with 100 metrics") == 0.5


def test_a_row_tells_medians_their_ratio_and_whether_the_goal_is_met():
    results = {}
    for seconds in (3, 4, 9):
        figures.add(results, "ours", {"chain of 10": seconds})
    figures.add(results, "stock", {"chain of 10": 10})
    figures.add(results, "standalone", {"chain of 10": 5})
    assert row(results, "chain of 10")[2:] == ["4", "10", "5", "0.4", "≤ 0.4", "met"]


def test_parts_of_a_measure_are_in_no_table():
    assert len(list(report.table({"idle CPU: redis": {"ours": [1]}}))) == 2


def test_what_failed_is_named_and_loses_nothing_of_the_rest(tmp_path, monkeypatch, capsys):
    class Stack:
        name = column = "ours"

    def half(stack, _):
        yield stack.column, {"first": 1}
        raise AssertionError("it fell over")

    def whole(stack, _):
        yield stack.column, {"second": 2}

    monkeypatch.setattr(bench, "SLICES", {"a": (half, ("ours",)), "b": (whole, ("ours",))})
    file = tmp_path / "new" / "results.json"
    asked = argparse.Namespace(rounds=1, slices=["a", "b"], effort=SHORT, file=file, of={})
    results = {}
    failed = list(bench.rounds(asked, {"ours": Stack()}, results))
    assert failed == ["round 1: a, ours (AssertionError)"]
    assert "it fell over" in capsys.readouterr().err
    assert results == {"first": {"ours": [1]}, "second": {"ours": [2]}}
    assert json.loads(file.read_text())["results"] == results


@pytest.fixture
def of(monkeypatch):
    """What figures are of; changed by the test."""
    state = {"commit": "abc", "date": "2026-11-27", "cpus": 2}
    monkeypatch.setattr(kept, "circumstances", lambda: dict(state))
    return state


def test_figures_of_the_same_commit_are_added_to(tmp_path, of):
    file = tmp_path / "results.json"
    assert kept.read(file) == {}
    kept.write(file, {"up, empty": {"ours": [1]}}, dict(of))
    of["date"] = "2026-11-28"
    assert kept.read(file) == {"up, empty": {"ours": [1]}}


@pytest.mark.parametrize("changed", [{"commit": "def"}, {"commit": "abc-dirty"}, {"cpus": 4}])
def test_figures_of_another_state_are_not_mixed(tmp_path, of, changed):
    file = tmp_path / "results.json"
    kept.write(file, {"up, empty": {"ours": [1]}}, dict(of))
    of |= changed
    with pytest.raises(kept.OtherCommit):
        kept.read(file)


def test_stacks_that_no_slice_needs_are_not_made():
    assert slices.needed(["images", "cli"], figures.COLUMNS) == ["ours"]
    assert slices.needed(["up"], ["stock", "standalone"]) == ["stock", "standalone"]


def test_what_ended_processes_used_without_docker_is_counted():
    burn = "import time; t = time.process_time()\nwhile time.process_time() < t + 0.3: pass"
    # A child's child, both of which are gone before anybody looks.
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {nested!r}])"
    argv = [sys.executable, "-c", f"{code}\nprint('done', flush=True)\ninput()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(argv, text=True, **pipes) as parent:
        assert parent.stdout.readline() == "done\n"
        process = psutil.Process(parent.pid)
        assert 0.3 <= standalone.spent(process) < 1.5
        assert 1 < standalone.anonymous(process) < 100
        parent.communicate("\n")
