"""Test how the benchmark evaluates its figures. Measuring needs stacks (`nox -s bench`)."""

import argparse
import json
import subprocess
import sys

import psutil
import pytest

from bench import __main__ as bench
from bench import figures, report, results_file, slices, standalone
from bench.effort import SHORT


def row(results, measure):
    [match] = [line for line in report.table(results) if line.startswith(f"| {measure} |")]
    return [cell.strip() for cell in match.split("|")[1:-1]]


def test_ratio_goal_is_decided_by_medians():
    results = {"up, again": {"ours": [20, 90, 21], "stock": [100, 84, 1]}}
    assert row(results, "up, again")[2:] == ["21", "84", "", "0.25", "≤ 0.25", "met"]
    results["up, again"]["stock"] = [80]
    assert row(results, "up, again")[-1] == "missed"
    assert figures.missed(results) == ["up, again"]


def test_absolute_goal_needs_no_stock_figures():
    results = {"Airflow image": {"ours": [1.36]}, "MLflow image": {"ours": [1.0]}}
    assert row(results, "Airflow image")[-2:] == ["≤ 1.35 GB", "missed"]
    assert row(results, "MLflow image")[-1] == "met"


def test_ratio_goal_without_stock_figures_is_open():
    results = {"idle memory": {"ours": [900]}}
    assert row(results, "idle memory")[-1] == "not compared"
    assert "idle memory" in figures.open_goals(results)
    assert not figures.missed(results)


def test_ratio_is_inverted_if_more_is_better():
    results = {"runs with 100 metrics": {"ours": [40], "stock": [20]}}
    assert figures.ratio(results, "runs with 100 metrics") == 0.5


def test_row_shows_medians_ratio_and_goal():
    results = {}
    for seconds in (3, 4, 9):
        figures.add(results, "ours", {"chain of 10": seconds})
    figures.add(results, "stock", {"chain of 10": 10})
    figures.add(results, "standalone", {"chain of 10": 5})
    assert row(results, "chain of 10")[2:] == ["4", "10", "5", "0.4", "≤ 0.4", "met"]


def test_table_leaves_out_parts_of_a_measure():
    assert len(list(report.table({"idle CPU: redis": {"ours": [1]}}))) == 2


def test_rounds_failed_slice_is_named_and_others_are_kept(tmp_path, monkeypatch, capsys):
    class Stack:
        name = column = "ours"

    def failing(stack, _):
        yield stack.column, {"first": 1}
        raise AssertionError("the slice failed")

    def passing(stack, _):
        yield stack.column, {"second": 2}

    monkeypatch.setattr(bench, "SLICES", {"a": (failing, ("ours",)), "b": (passing, ("ours",))})
    file = tmp_path / "new" / "results.json"
    options = argparse.Namespace(
        rounds=1, slices=["a", "b"], effort=SHORT, file=file, circumstances={}
    )
    results = {}
    failed = list(bench.rounds(options, {"ours": Stack()}, results))
    assert failed == ["round 1: a, ours (AssertionError)"]
    assert "the slice failed" in capsys.readouterr().err
    assert results == {"first": {"ours": [1]}, "second": {"ours": [2]}}
    assert json.loads(file.read_text())["results"] == results


@pytest.fixture
def circumstances(monkeypatch):
    """Return the circumstances of the figures, which a test may change."""
    state = {"commit": "abc", "date": "2026-11-27", "cpus": 2}
    monkeypatch.setattr(results_file, "circumstances", lambda: dict(state))
    return state


def test_results_of_same_commit_are_extended(tmp_path, circumstances):
    file = tmp_path / "results.json"
    assert results_file.read(file) == {}
    results_file.write(file, {"up, empty": {"ours": [1]}}, dict(circumstances))
    circumstances["date"] = "2026-11-28"
    assert results_file.read(file) == {"up, empty": {"ours": [1]}}


@pytest.mark.parametrize("changed", [{"commit": "def"}, {"commit": "abc-dirty"}, {"cpus": 4}])
def test_results_of_other_commit_or_machine_raise(tmp_path, circumstances, changed):
    file = tmp_path / "results.json"
    results_file.write(file, {"up, empty": {"ours": [1]}}, dict(circumstances))
    circumstances |= changed
    with pytest.raises(results_file.OtherCommit):
        results_file.read(file)


def test_needed_leaves_out_unused_stacks():
    assert slices.needed(["images", "cli"], figures.COLUMNS) == ["ours"]
    assert slices.needed(["up"], ["stock", "standalone"]) == ["stock", "standalone"]


def test_standalone_cpu_includes_exited_processes():
    burn = "import time; t = time.process_time()\nwhile time.process_time() < t + 0.3: pass"
    # A grandchild and its parent, both of which exit before the measurement.
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {nested!r}])"
    argv = [sys.executable, "-c", f"{code}\nprint('done', flush=True)\ninput()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(argv, text=True, **pipes) as parent:
        assert parent.stdout.readline() == "done\n"
        process = psutil.Process(parent.pid)
        assert 0.3 <= standalone.cpu_seconds(process) < 1.5
        assert 1 < standalone.anonymous_mib(process) < 100
        parent.communicate("\n")
