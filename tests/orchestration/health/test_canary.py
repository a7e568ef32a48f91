"""Runs as the verbs show them: started, followed to their end, and the canary's proof."""

import pytest

from orchestration.clients import dag_runs
from orchestration.errors import StackError
from orchestration.health import canary

DAG = "/api/v2/dags/canary"
RUNS = f"{DAG}/dagRuns"
HOPS = {name: number / 4 for number, name in enumerate(canary.HOPS, 1)}


def a_task(task_id, state="success", start_date="2026-01-01", **more):
    values = {"try_number": 1, "map_index": -1, "duration": 1.25}
    return {"task_id": task_id, "state": state, "start_date": start_date} | values | more


SUNG = [a_task("sing")]


@pytest.fixture
def run(web):
    """A run of the canary that succeeds; the answers can be replaced."""

    def run(*states, tasks=SUNG, returned=HOPS, paused=False):
        web.answers |= {
            f"GET {DAG}": (200, {"dag_id": "canary", "is_paused": paused}),
            f"PATCH {DAG}": (200, {}),
            f"POST {RUNS}": (200, {"dag_run_id": "r1"}),
            f"GET {RUNS}/r1": [(200, {"state": state}) for state in states or ("success",)],
            f"GET {RUNS}/r1/taskInstances": (200, {"task_instances": list(tasks)}),
            f"GET {RUNS}/r1/taskInstances/sing/xcomEntries/return_value": (
                200,
                {"value": returned},
            ),
            f"GET {RUNS}": (200, {"dag_runs": []}),
        }

    return run


def test_a_dag_is_started_as_it_is(airflow, web, run, capsys):
    run()
    assert dag_runs.start(airflow, "canary", {"seed": 1}) == "r1"
    assert web.of(f"POST {RUNS}")[0].body["conf"] == {"seed": 1}
    assert web.of(f"PATCH {DAG}") == []
    assert capsys.readouterr().out == ""


def test_a_paused_dag_is_unpaused_first_and_that_is_said(airflow, web, run, capsys):
    run(paused=True)
    dag_runs.start(airflow, "canary", {})
    acts = [request.method for request in web.requests if request.target != "/auth/token"]
    assert acts == ["GET", "PATCH", "POST"]
    assert capsys.readouterr().out == "canary was paused: unpaused\n"


def test_a_run_is_followed_with_its_tasks(airflow, run, capsys):
    run("running", "success", tasks=[a_task("one"), a_task("many", map_index=3, duration=None)])
    assert dag_runs.follow(airflow, "canary", "r1") >= 0
    told = capsys.readouterr().out
    assert "✓ one " in told
    assert "success in 1.2 s" in told
    assert "many[3]" in told
    assert told.rstrip().endswith("success")


def test_a_failed_run_tells_the_task_its_last_lines_and_its_page(airflow, web, run, capsys):
    failed = a_task("train", "failed", "2026-02", try_number=3)
    run("failed", tasks=[a_task("load"), failed, a_task("check", "upstream_failed", None)])
    content = [{"event": "fitting"}, {"event": "MemoryError"}]
    web.answers[f"GET {RUNS}/r1/taskInstances/train/logs/3"] = (200, {"content": content})
    with pytest.raises(StackError) as raised:
        dag_runs.follow(airflow, "canary", "r1")
    assert str(raised.value).splitlines() == [
        "canary: task train failed after 3 tries:",
        "  fitting",
        "  MemoryError",
        f"Open: {web.url}/dags/canary/runs/r1",
    ]
    told = capsys.readouterr().out
    assert "✗ train" in told
    assert "✗ check" in told


def test_a_task_that_was_not_tried_again_is_told_so(airflow, run, capsys):
    run("failed", tasks=[a_task("train", "failed")])
    with pytest.raises(StackError, match="task train failed at its first try:"):
        dag_runs.follow(airflow, "canary", "r1")


def test_a_run_can_fail_without_a_failed_task(airflow, run, capsys):
    run("failed", tasks=[a_task("load", None, None)])
    with pytest.raises(StackError, match="canary failed without a failed task\nOpen: http"):
        dag_runs.follow(airflow, "canary", "r1")


def test_the_proof_tells_the_seconds_of_every_hop(airflow, web, run, capsys):
    run("running", "success")
    told = canary.prove(airflow)
    assert told == ", ".join(f"{name} {seconds:.2f} s" for name, seconds in HOPS.items())
    assert "✓ proof" in capsys.readouterr().out
    assert web.of(f"GET {RUNS}"), "old runs are pruned"


def test_a_failed_proof_says_so_before_the_reason(airflow, run, capsys):
    run("failed", tasks=[a_task("sing", "failed")])
    with pytest.raises(StackError, match=r"^the proof failed\. canary: task sing failed"):
        canary.prove(airflow)


@pytest.mark.parametrize(
    ("returned", "missing"),
    [
        ({name: 1 for name in canary.HOPS if name not in ("model", "client")}, "client, model"),
        (None, ", ".join(sorted(canary.HOPS))),
    ],
)
def test_a_canary_that_is_silent_about_a_hop_proves_nothing(airflow, run, returned, missing):
    run(returned=returned)
    with pytest.raises(StackError, match=f"the canary did not tell of {missing}$"):
        canary.prove(airflow)


def test_a_canary_that_does_not_come_back_is_given_up(airflow, run, clock, monkeypatch):
    monkeypatch.setattr(canary, "CANARY_SECONDS", 3)
    run("queued")
    with pytest.raises(StackError, match="canary is still queued after 3 s"):
        canary.prove(airflow)
    assert sum(clock.slept) >= 3


def test_a_fresh_stack_has_time_to_parse_the_canary(airflow, web, run, clock):
    run()
    web.answers[f"GET {DAG}"] = [(404, {})] * 20 + [(200, {"is_paused": False})]
    canary.prove(airflow)
    assert sum(clock.slept) == 10
