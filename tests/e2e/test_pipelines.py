"""Run both pipelines after a first training with the flights of January."""

import json

import pytest

pytestmark = pytest.mark.example
MONITOR = ("inv", "trigger", "monitoring_pipeline", "--wait", "--conf")
PREDICT = """
import json, mlflow, pandas
row = dict(year=2013, month=7, day=4, sched_dep_time=1855, sched_arr_time=2130, carrier="EV",
           flight=4333, tailnum="N12345", origin="EWR", dest="TUL", distance=1215)
model = mlflow.pyfunc.load_model("models:/flight-delay@champion")
weather = dict(temp=91.0, humid=60.0, wind_speed=9.0, precip=0.0, pressure=1008.0, visib=9.0)
rows = [pandas.DataFrame([row]), pandas.DataFrame([dict(row, **weather)])]
print(json.dumps([float(model.predict(row)[0][1]) for row in rows]))
"""


def test_model_predicts_raw_rows_without_our_code(stack):
    chances = json.loads(stack.run_client(PREDICT).splitlines()[-1])
    assert all(0 < chance < 1 for chance in chances)
    assert chances[0] != chances[1]


def test_drifted_month_sends_alert_and_trains_better_champion(stack, receiver):
    output = stack.run_ok(*MONITOR, '{"period": "2013-02"}')
    assert "drifted: 36% of the columns" in output
    assert ": delivered" in output
    assert len(receiver.alerts("2013-02", "have drifted")) == 1
    assert stack.alias("champion")["version"] == "2"


def test_same_month_does_not_train_again(stack, receiver):
    stack.await_runs("monitoring_pipeline", 180)
    stack.run_ok(*MONITOR, '{"period": "2013-02"}')
    stack.await_runs("monitoring_pipeline", 180)
    runs = stack.await_runs("training_pipeline", 180)
    assert [run["run_type"] for run in runs] == ["manual", "asset_triggered"]
    assert len(receiver.alerts("2013-02")) == 1


def test_failed_task_sends_alert_with_reason(stack, receiver):
    done = stack.run(*MONITOR, '{"period": "2031-01"}')
    assert done.returncode == 1
    assert "no flights of 2031-01" in done.stderr
    assert receiver.alerts("monitoring_pipeline: arrival failed", "no flights of 2031-01")


def test_unreachable_alert_receiver_is_logged_and_fails_nothing(stack, receiver):
    receiver.stop()
    done = stack.run(*MONITOR, '{"period": "2031-02"}')
    assert "no flights of 2031-02" in done.stderr
    # The last run succeeds, so the stack is healthy again.
    done = stack.run(*MONITOR, '{"period": "2013-03"}')
    assert done.returncode == 0, done.stderr
    logs = (stack.folder / "logs").rglob("*task_id=alert_of_failure/*.log")
    assert any("not delivered: connection refused" in log.read_text() for log in logs)
