"""Test starting and following DAG runs, and the canary check."""

import pytest

from orchestration.clients import dag_runs
from orchestration.errors import StackError
from orchestration.health import canary

DAG = "/api/v2/dags/canary"
RUNS = f"{DAG}/dagRuns"
HOPS = {name: number / 4 for number, name in enumerate(canary.HOPS, 1)}


def make_task(task_id, state="success", start_date="2026-01-01", **more):
    values = {"try_number": 1, "map_index": -1, "duration": 1.25}
    return {"task_id": task_id, "state": state, "start_date": start_date} | values | more


TASKS = [make_task("sing")]


@pytest.fixture
def answer_run(web):
    """Answer requests for a run of the canary, by default a successful one."""

    def answer_run(*states, tasks=TASKS, returned=HOPS, paused=False):
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

    return answer_run


def test_start_leaves_an_active_dag_as_it_is(airflow, web, answer_run, capsys):
    answer_run()
    assert dag_runs.start(airflow, "canary", {"seed": 1}) == "r1"
    assert web.requests_for(f"POST {RUNS}")[0].body["conf"] == {"seed": 1}
    assert web.requests_for(f"PATCH {DAG}") == []
    assert capsys.readouterr().out == ""


def test_start_unpauses_a_paused_dag_and_prints_it(airflow, web, answer_run, capsys):
    answer_run(paused=True)
    dag_runs.start(airflow, "canary", {})
    methods = [request.method for request in web.requests if request.target != "/auth/token"]
    # A rejected request leaves the DAG paused.
    assert methods == ["GET", "POST", "PATCH"]
    assert capsys.readouterr().out == "canary was paused and is now unpaused.\n"


def test_start_rejected_leaves_the_dag_paused(airflow, web, answer_run):
    answer_run(paused=True)
    web.answers[f"POST {RUNS}"] = (400, {"detail": "Invalid input for param seed"})
    with pytest.raises(StackError, match="Invalid input"):
        dag_runs.start(airflow, "canary", {})
    assert web.requests_for(f"PATCH {DAG}") == []


def test_follow_shows_the_tasks(airflow, answer_run, capsys):
    answer_run(
        "running",
        "success",
        tasks=[make_task("one"), make_task("many", map_index=3, duration=None)],
    )
    assert dag_runs.follow(airflow, "canary", "r1") >= 0
    output = capsys.readouterr().out
    assert "✓ one " in output
    assert "success in 1.2 s" in output
    assert "many[3]" in output
    assert output.rstrip().endswith("success")


def test_follow_failed_run_reports_task_log_and_page(airflow, web, answer_run, capsys):
    failed = make_task("train", "failed", "2026-02", try_number=3)
    answer_run(
        "failed", tasks=[make_task("load"), failed, make_task("check", "upstream_failed", None)]
    )
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
    output = capsys.readouterr().out
    assert "✗ train" in output
    assert "✗ check" in output


def test_follow_failed_on_the_first_try_reports_it(airflow, answer_run, capsys):
    answer_run("failed", tasks=[make_task("train", "failed")])
    with pytest.raises(StackError, match="task train failed on its first try:"):
        dag_runs.follow(airflow, "canary", "r1")


def test_follow_failed_run_without_a_failed_task_names_its_page(airflow, answer_run, capsys):
    answer_run("failed", tasks=[make_task("load", None, None)])
    with pytest.raises(StackError, match=r"canary failed, but none of its tasks did\.\nOpen: http"):
        dag_runs.follow(airflow, "canary", "r1")


def test_run_returns_the_seconds_of_every_step(airflow, web, answer_run, capsys):
    answer_run("running", "success")
    hops = canary.run(airflow)
    assert hops == HOPS
    assert canary.summary(hops) == ", ".join(
        f"{name} {seconds:.2f} s" for name, seconds in HOPS.items()
    )
    assert "✓ canary" in capsys.readouterr().out
    # Runs without a date do not exclude each other.
    assert web.requests_for(f"POST {RUNS}")[0].body["logical_date"] is None
    assert web.requests_for(f"GET {RUNS}"), "old runs are pruned"


def test_run_failed_names_the_canary_before_the_reason(airflow, answer_run, capsys):
    answer_run("failed", tasks=[make_task("sing", "failed")])
    with pytest.raises(StackError, match=r"^The canary failed\.\ncanary: task sing failed"):
        canary.run(airflow)


@pytest.mark.parametrize(
    ("returned", "missing"),
    [
        ({name: 1 for name in canary.HOPS if name not in ("model", "client")}, "client, model"),
        (None, ", ".join(sorted(canary.HOPS))),
    ],
)
def test_run_with_a_missing_step_raises(airflow, answer_run, returned, missing):
    answer_run(returned=returned)
    with pytest.raises(StackError, match=rf"The canary reported no time for: {missing}\.$"):
        canary.run(airflow)


def test_run_gives_up_after_the_timeout(airflow, answer_run, clock, monkeypatch):
    monkeypatch.setattr(canary, "CANARY_SECONDS", 3)
    answer_run("queued")
    with pytest.raises(StackError, match="canary is still queued after 3 s"):
        canary.run(airflow)
    assert sum(clock.slept) >= 3


def test_run_waits_for_the_canary_to_be_parsed(airflow, web, answer_run, clock):
    answer_run()
    web.answers[f"GET {DAG}"] = [(404, {})] * 20 + [(200, {"is_paused": False})]
    canary.run(airflow)
    assert sum(clock.slept) == 10
