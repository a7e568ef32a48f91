"""What is rebuilt while the stack runs, on either engine; what cannot be is harmless."""

import re
import time

import pytest
import requests

from tests.e2e.clone import until
from tests.e2e.faults import triggered

# Which service runs the tasks, and the one that is swapped before it.
BEFORE_THE_TASKS = {"docker": "airflow-triggerer", "standalone": "airflow-apiserver"}

# A DAG file, and a module beside it that it imports.
USES_PACKAGES = ("plain_words", "cleaning")


@pytest.fixture(scope="module")
def requirements(stack):
    """install/requirements.txt of the clone and its lock, put back at the end."""
    files = [stack.folder / "install" / f"requirements.{kind}" for kind in ("txt", "lock")]
    kept = [file.read_text() for file in files]
    stack.add_dags("patient")
    yield files
    for name in USES_PACKAGES:
        (stack.folder / "dags" / f"{name}.py").unlink(missing_ok=True)
    for file, text in zip(files, kept, strict=True):
        file.write_text(text)


def test_a_requirement_that_does_not_exist_is_harmless(stack, requirements):
    text, lock = requirements
    before, kept, locked = stack.since(), text.read_text(), lock.read_text()
    number = len(kept.splitlines()) + 1
    text.write_text(f"{kept}no-such-package-of-ours==1\n")
    done = stack.run("inv", "rebuild")
    assert done.returncode == 1
    assert f"install/requirements.txt line {number}: no-such-package-of-ours==1" in done.stderr
    assert done.stderr.rstrip().endswith("then: inv rebuild")
    assert (stack.since(), lock.read_text()) == (before, locked)
    text.write_text(kept)


def test_a_package_is_added_while_a_task_runs_on(stack, engine, requirements):
    text, lock = requirements
    stack.add_dags(*USES_PACKAGES)
    is_known(stack, "patient")
    run_id = triggered(stack, "patient")
    until(lambda: states(stack, "patient", run_id) == [("running", 1)], 60)
    text.write_text(f"{text.read_text()}emoji\nretrying\n")
    started = time.monotonic()
    output = rebuilt_beside_it(stack, engine, lambda: states(stack, "patient", run_id))
    print(f"\na package added and swapped in {time.monotonic() - started:.0f} s")
    assert re.search(r"rebuilt, swapped and proven in \d+ s", output)
    assert {"emoji==", "retrying=="} <= set(re.findall(r"^\w+==", lock.read_text(), re.MULTILINE))
    assert states(stack, "patient", run_id) == [("success", 1)]
    is_known(stack, "plain_words")
    assert "success" in stack.well("inv", "trigger", "plain_words", "--wait")


def rebuilt_beside_it(stack, engine, patient_states):
    """Rebuild, and let the task end once what runs it is asked to; what was printed then."""
    rebuild = stack.start("inv", "rebuild")
    try:
        read_until(rebuild, f"{BEFORE_THE_TASKS[engine]} .* swapped")
        # Time enough to end a task that is not let end by itself.
        time.sleep(10)
        until(lambda: patient_states() == [("running", 1)], 60)
        assert rebuild.poll() is None
    finally:
        (stack.folder / "dags" / "go_on").touch()
        output, errors = rebuild.communicate(timeout=300)
    assert rebuild.returncode == 0, output + errors
    return output


def read_until(process, pattern):
    """Read what a process prints up to a line that it must print."""
    told = []
    for line in process.stdout:
        told.append(line)
        if re.search(pattern, line):
            return
    raise AssertionError("".join(told) + process.stderr.read())


def test_a_requirement_that_breaks_a_dag_is_harmless(stack, requirements):
    text, lock = requirements
    before, kept, locked = stack.since(), text.read_text(), lock.read_text()
    text.write_text(kept.replace("emoji\n", "emoji==1.2.0\n"))
    done = stack.run("inv", "rebuild")
    assert done.returncode == 1
    assert "dags/plain_words.py: ImportError: cannot import name 'replace_emoji'" in done.stderr
    assert "emoji==1.2.0" in done.stderr
    assert (stack.since(), lock.read_text()) == (before, locked)
    text.write_text(kept)
    # What was refused is not what a later start runs from.
    stack.well("inv", "up", "--no-proof")
    assert stack.since() == before


def is_known(stack, dag_id):
    # A new file is seen within half a minute.
    until(lambda: stack.airflow(f"/api/v2/dags/{dag_id}").get("dag_id") == dag_id, 60)


def states(stack, dag_id, run_id):
    """State and try of each task of a run; none while the API server is away, being swapped."""
    path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
    try:
        tasks = stack.airflow(path)["task_instances"]
    except requests.ConnectionError:
        return []
    return [(task["state"], task["try_number"]) for task in tasks]
