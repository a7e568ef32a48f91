"""Test when the dag-processor parses files, with real files, processes and callbacks."""

import importlib
import os
import sys
import time

import pytest

from tests.runtime.airflow.dag_processor import DagProcessor, dag, dag_callback, request

# Parsing takes `seconds`. The callback of the DAG adds a line to a file next to the DAG's.
SOURCE = """
import time
from pathlib import Path
from airflow.sdk import DAG

def note(context):
    with Path(__file__).with_name("calls").open("a") as file:
        print(context["run_id"], file=file)

time.sleep({seconds})
dag = DAG("{dag_id}", on_failure_callback=note)
"""
LONG_AGO = 1_600_000_000


@pytest.fixture
def processor(tmp_path, monkeypatch):
    processor = DagProcessor(tmp_path, monkeypatch)
    yield processor
    processor.stop()


def write(file, dag_id, seconds=0.0):
    file.write_text(SOURCE.format(dag_id=dag_id, seconds=seconds))


def calls(folder):
    file = folder / "calls"
    return file.read_text().split() if file.exists() else []


def test_file_with_constant_callbacks_is_parsed_when_due(tmp_path, processor):
    write(tmp_path / "busy.py", "busy")
    processor.run_until(lambda: processor.stat("busy.py").run_count == 1)
    first_parse, processor.manager._file_process_interval = dag("busy").last_parsed_time, 1
    sent = []

    def parsed_twice_more():
        # There is always a callback that has not been run.
        if len(calls(tmp_path)) == len(sent):
            sent.append(len(sent))
            request(dag_callback("busy.py", "busy", str(len(sent))))
        return processor.stat("busy.py").run_count >= 3

    processor.run_until(parsed_twice_more)
    assert len(calls(tmp_path)) >= 2
    row, stat = dag("busy"), processor.stat("busy.py")
    assert row.last_parsed_time > first_parse
    assert abs((stat.last_finish_time - row.last_parsed_time).total_seconds()) < 1


def test_callback_is_no_parse(tmp_path, processor):
    write(tmp_path / "rare.py", "rare")
    processor.run_until(lambda: processor.stat("rare.py").run_count == 1)
    before = processor.stat("rare.py")
    request(dag_callback("rare.py", "rare"))
    processor.run_until(lambda: calls(tmp_path) and not processor.manager._processors)
    assert processor.stat("rare.py") == before


def test_callback_that_times_out_is_no_parse(tmp_path, processor):
    file = tmp_path / "slow.py"
    write(file, "slow")
    processor.run_until(lambda: processor.stat("slow.py").run_count == 1)
    before, started = processor.stat("slow.py"), []
    file.write_text(file.read_text().replace("    with", "    time.sleep(60)\n    with"))
    processor.run_until(lambda: processor.stat("slow.py") != before)
    before, processor.manager.processor_timeout = processor.stat("slow.py"), 1
    request(dag_callback("slow.py", "slow"))

    def killed():
        started.extend(processor.manager._processors)
        return started and not processor.manager._processors

    processor.run_until(killed)
    assert processor.stat("slow.py") == before
    assert not calls(tmp_path)


def test_callback_runs_during_long_queue(tmp_path, processor):
    for number in range(4):
        write(tmp_path / f"file{number}.py", f"queued{number}", seconds=0.5)
    request(dag_callback("file0.py", "queued0"))
    processor.run_until(lambda: calls(tmp_path))
    assert sum(processor.stat(f"file{number}.py").run_count for number in range(4)) < 3


def test_file_saved_during_its_parse_is_parsed_again(tmp_path, processor):
    file = tmp_path / "twice.py"
    write(file, "first_save", seconds=1)
    processor.run_until(lambda: processor.manager._processors)
    time.sleep(0.5)
    write(file, "second_one", seconds=1)
    processor.run_until(lambda: dag("second_one"))
    assert dag("first_save")


@pytest.mark.parametrize("replaced", [True, False])
def test_file_with_kept_time_is_parsed_again(tmp_path, processor, monkeypatch, replaced):
    # Both versions have the same size, so Python takes its compiled file for that of either.
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file, other = tmp_path / "kept.py", tmp_path / "other"
    name = f"kept_{replaced}".lower()
    write(file, f"{name}_1")
    os.utime(file, (LONG_AGO, LONG_AGO))
    processor.run_until(lambda: dag(f"{name}_1"))
    write(other if replaced else file, f"{name}_2")
    if replaced:
        other.replace(file)
    os.utime(file, (LONG_AGO, LONG_AGO))
    processor.run_until(lambda: dag(f"{name}_2"))


def test_changed_file_is_parsed_before_others(tmp_path, processor):
    names = [f"many{number}.py" for number in range(6)]
    for name in names:
        write(tmp_path / name, name, seconds=0.5)
        os.utime(tmp_path / name, (LONG_AGO, LONG_AGO))

    def parses():
        return sum(processor.stat(name).run_count for name in names)

    processor.run_until(lambda: parses() == 6)
    processor.manager._file_process_interval = 0
    processor.run_until(lambda: len(processor.manager._file_queue) == 5)
    last = tmp_path / processor.manager._file_queue[-1].rel_path
    write(last, "changed_one", seconds=0.5)
    os.utime(last, (LONG_AGO, LONG_AGO))
    processor.run_until(lambda: dag("changed_one"))
    # It waits for the next look at most.
    assert parses() < 12


def test_file_from_the_future_is_parsed_once(tmp_path, processor):
    write(tmp_path / "future.py", "future")
    os.utime(tmp_path / "future.py", (time.time() + 3600,) * 2)
    rounds = []
    processor.run_until(
        lambda: rounds.append(dag("future")) or rounds.count(None) < len(rounds) - 8
    )
    assert processor.stat("future.py").run_count == 1


def test_files_are_parsed_after_pandera_replaced_the_call_of_generic_types(tmp_path, processor):
    importlib.import_module("pandera.pandas")
    write(tmp_path / "plugin.py", "with_pandera")
    processor.run_until(lambda: dag("with_pandera"))
