"""Rebuild the stack while it runs, on either engine. A failed rebuild must change nothing."""

import re
import time

import pytest
import requests

from tests.e2e.clone import until
from tests.e2e.faults import trigger

# The service that `inv rebuild` replaces just before the one that runs tasks.
REPLACED_BEFORE_TASKS = {"docker": "airflow-triggerer", "standalone": "airflow-apiserver"}

# A DAG file and the module that it imports.
USES_PACKAGES = ("plain_words", "cleaning")


@pytest.fixture(scope="module")
def requirements(stack):
    """Return the clone's requirements.txt and its lock file, and restore both at the end."""
    files = [stack.folder / "install" / f"requirements.{kind}" for kind in ("txt", "lock")]
    texts = [file.read_text() for file in files]
    stack.add_dags("patient")
    yield files
    for name in USES_PACKAGES:
        (stack.folder / "dags" / f"{name}.py").unlink(missing_ok=True)
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)


def test_rebuild_unknown_requirement_changes_nothing(stack, requirements):
    text, lock = requirements
    before, original, locked = stack.start_times(), text.read_text(), lock.read_text()
    number = len(original.splitlines()) + 1
    text.write_text(f"{original}no-such-package-of-ours==1\n")
    done = stack.run("inv", "rebuild")
    assert done.returncode == 1
    assert f"install/requirements.txt line {number}: no-such-package-of-ours==1" in done.stderr
    assert done.stderr.rstrip().endswith("then run: inv rebuild")
    assert (stack.start_times(), lock.read_text()) == (before, locked)
    text.write_text(original)


def test_rebuild_adds_package_while_a_task_runs(stack, engine, requirements):
    text, lock = requirements
    stack.add_dags(*USES_PACKAGES)
    wait_for_dag(stack, "patient")
    run_id = trigger(stack, "patient")
    until(lambda: states(stack, "patient", run_id) == [("running", 1)], 60)
    text.write_text(f"{text.read_text()}emoji\nretrying\n")
    started = time.monotonic()
    output = rebuild_during_task(stack, engine, lambda: states(stack, "patient", run_id))
    print(f"\nrebuilt with a new package in {time.monotonic() - started:.0f} s")
    assert re.search(r"Rebuilt and verified in \d+ s", output)
    assert {"emoji==", "retrying=="} <= set(re.findall(r"^\w+==", lock.read_text(), re.MULTILINE))
    assert states(stack, "patient", run_id) == [("success", 1)]
    wait_for_dag(stack, "plain_words")
    assert "success" in stack.run_ok("inv", "trigger", "plain_words", "--wait")


def rebuild_during_task(stack, engine, patient_states):
    """Rebuild, let the task finish when its service is to be replaced, and return the output."""
    rebuild = stack.start("inv", "rebuild")
    try:
        read_until(rebuild, f"{REPLACED_BEFORE_TASKS[engine]} .* replaced")
        # Long enough for the service to kill a task for which it does not wait.
        time.sleep(10)
        until(lambda: patient_states() == [("running", 1)], 60)
        assert rebuild.poll() is None
    finally:
        (stack.folder / "dags" / "finish").touch()
        output, errors = rebuild.communicate(timeout=300)
    assert rebuild.returncode == 0, output + errors
    return output


def read_until(process, pattern):
    """Read the output of a process up to a line that matches. Raise if there is none."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if re.search(pattern, line):
            return
    raise AssertionError("".join(lines) + process.stderr.read())


def test_rebuild_requirement_that_breaks_a_dag_changes_nothing(stack, requirements):
    text, lock = requirements
    before, original, locked = stack.start_times(), text.read_text(), lock.read_text()
    text.write_text(original.replace("emoji\n", "emoji==1.2.0\n"))
    done = stack.run("inv", "rebuild")
    assert done.returncode == 1
    assert "dags/plain_words.py: ImportError: cannot import name 'replace_emoji'" in done.stderr
    assert "emoji==1.2.0" in done.stderr
    assert (stack.start_times(), lock.read_text()) == (before, locked)
    text.write_text(original)
    # A later start does not use the rejected build.
    stack.run_ok("inv", "up", "--no-proof")
    assert stack.start_times() == before


def wait_for_dag(stack, dag_id):
    # Airflow finds a new file within half a minute.
    until(lambda: stack.airflow(f"/api/v2/dags/{dag_id}").get("dag_id") == dag_id, 60)


def states(stack, dag_id, run_id):
    """Return state and try of each task of a run, or none while the API server is replaced."""
    path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
    try:
        tasks = stack.airflow(path)["task_instances"]
    except requests.ConnectionError:
        return []
    return [(task["state"], task["try_number"]) for task in tasks]
