"""Test data, training, monitoring and scoring of each generated problem."""

from dataclasses import replace

import mlflow
import numpy as np
import pandas as pd
import pytest
from ml import (
    NothingToDo,
    Refused,
    carried,
    data,
    drift,
    holdout,
    model,
    monitoring,
    registry,
    scores,
    scoring,
    tracking,
    training,
    trial,
)
from ml.problem import Limits

from tests.ml.conftest import CHURN


@pytest.fixture(scope="session")
def rows(problem):
    return data.read(problem)


def again(problem, first, attempt, **changes):
    """Train and validate on the same data, as another run of the pipeline would."""
    params = {"seed": 42, "holdout": problem.holdout} | changes
    trained = [
        training.train(problem, name, first.tables, first.ingested, params, attempt)
        for name in problem.models
    ]
    until = first.ingested["until"]
    return training.validate(problem, first.tables, trained, until, params["holdout"])


def test_sample_is_valid(problem, rows):
    checked = data.check(problem, rows)
    assert len(checked) == len(rows)
    assert set(problem.inputs) <= set(checked)


def test_known_rows_end_with_the_period(problem, rows, periods):
    known = data.up_to(problem, rows, periods[0])
    assert data.last_period(problem, known) == periods[0]
    assert 0 < len(known) < len(rows)
    assert set(data.periods(problem, data.of(problem, rows, periods[1]))) == {periods[1]}


@pytest.mark.parametrize("choose", [data.up_to, data.of])
def test_missing_period_is_refused(problem, rows, choose):
    with pytest.raises(Refused, match=f"no {problem.rows} of 1999-01"):
        choose(problem, rows, "1999-01")


def test_files_are_read_as_the_table_they_were_written_from(problem, rows, tmp_path):
    expected = data.check(problem, rows).drop(columns=data.BATCH, errors="ignore")
    for suffix in ("csv", "parquet"):
        file = tmp_path / f"own.{suffix}"
        table = rows.drop(columns=data.BATCH, errors="ignore")
        table.to_csv(file, index=False) if suffix == "csv" else table.to_parquet(file)
        found = data.check(problem, data.read(problem, str(file)))
        pd.testing.assert_frame_equal(found.drop(columns=data.BATCH, errors="ignore"), expected)


def test_hold_out_is_later_or_a_stratified_share(problem, rows):
    labelled = data.labelled(problem, data.check(problem, rows))
    earlier, later = holdout.split(problem, labelled, problem.holdout)
    assert len(earlier) + len(later) == len(labelled)
    if problem.time:
        assert data.times(problem, earlier).max() < data.times(problem, later).min()
    else:
        shares = later[problem.target].value_counts() / labelled[problem.target].value_counts()
        assert shares.between(0.15, 0.25).all()
        shuffled = labelled.sample(frac=1, random_state=1)
        assert set(holdout.split(problem, shuffled, problem.holdout)[1].index) == set(later.index)


def test_nothing_to_hold_out_is_refused(problem, rows):
    labelled = data.labelled(problem, data.check(problem, rows)).head(1)
    with pytest.raises(Refused, match=r"^nothing to (train on|hold out)"):
        holdout.split(problem, labelled, problem.holdout)
    with pytest.raises(Refused, match="nothing to train on"):
        holdout.split(problem, labelled.head(0), problem.holdout)


def test_models_beat_the_baseline(problem, first):
    metric = scores.metric_of(problem)
    for one in first.trained:
        gain = scores.METRICS[metric].gain(one["metrics"][metric], one["baseline"][metric])
        assert gain > 0.05, one


def test_training_is_logged_with_what_it_was_made_of(problem, first, after_first, periods):
    for one in first.trained:
        run = after_first.get_run(one["run_id"])
        assert run.info.run_name == f"{one['kind']} {periods[0]}"
        assert (run.data.params["until"], run.data.params["seed"]) == (periods[0], "42")
        assert run.data.tags["data_sha256"] == first.ingested["sha256"]
        assert run.data.tags["mlflow.source.name"].startswith("dags/")
        metrics = {f"baseline_{name}": value for name, value in one["baseline"].items()}
        assert (one["metrics"] | metrics).items() <= run.data.metrics.items()
        [dataset] = run.inputs.dataset_inputs
        assert dataset.dataset.name == problem.name


def test_first_model_is_champion(problem, first, after_first, periods):
    assert (first.verdict["alias"], first.verdict["version"]) == ("champion", "1")
    assert tracking.is_trained_for(problem, periods[0])
    held_out, champion, baseline, link = first.verdict["report"]
    assert held_out.startswith("held out: ")
    assert champion.startswith("champion ")
    assert baseline.startswith("baseline ")
    assert link.endswith(f"#/models/{problem.name}")


def test_same_training_again_registers_nothing(problem, first, after_first):
    verdict = again(problem, first, "second")
    assert (verdict["alias"], verdict["version"]) == ("unchanged", "1")
    assert len(after_first.search_model_versions()) == 1
    other = again(problem, first, "third", seed=7)
    assert (other["alias"], other["version"]) == ("challenger", "2")


def test_retried_validation_keeps_the_version(problem, first, after_first):
    until, holdout_size = first.ingested["until"], problem.holdout
    retried = training.validate(problem, first.tables, first.trained, until, holdout_size)
    assert retried == first.verdict


def test_champion_predicts_raw_rows_through_mlflow(problem, first, after_first, rows):
    served = mlflow.pyfunc.load_model(f"models:/{problem.name}@champion")
    raw = data.check(problem, rows.head(50))
    found = np.asarray(served.predict(raw[list(problem.inputs)]))
    champion = registry.load(problem.name, "champion")
    expected = model.predict(problem, champion.model, raw).values
    assert found.reshape(expected.shape) == pytest.approx(expected)


def test_period_is_monitored(problem, first, after_first, periods, tmp_path):
    arrived = monitoring.arrive(problem, tmp_path, periods[1])
    drifted = monitoring.measure_drift(problem, arrived)
    performance = monitoring.measure_performance(problem, arrived, drifted)
    assert (drifted["period"], drifted["version"]) == (periods[1], "1")
    assert drifted["news"]
    assert not drifted["trained_on"]
    assert performance["labelled_share"] == 1
    assert not performance["stored"]
    lines = monitoring.summary(problem, drifted, performance)
    assert lines[0].startswith(f"{problem.unit} {periods[1]}, champion version 1")
    run = after_first.get_run(drifted["run_id"])
    assert run.data.tags["period"] == periods[1]
    assert {"drifted_share", "psi.prediction", "labelled_share"} <= run.data.metrics.keys()


def test_stored_predictions_are_what_is_measured(problem, first, after_first, periods, tmp_path):
    arrived = monitoring.arrive(problem, tmp_path, periods[1])
    data.load(arrived["rows"]).drop(columns=problem.target).to_parquet(tmp_path / "new.parquet")
    scored = scoring.score(problem, str(tmp_path / "new.parquet"), "run one")
    table = pd.read_parquet(scored["file"])
    assert len(table) == scored["rows"]
    assert {"prediction", "model_version", "model_run", "scored_at"} <= set(table)
    drifted = monitoring.measure_drift(problem, arrived)
    computed_from_stored = monitoring.measure_performance(problem, arrived, drifted)
    assert computed_from_stored["stored"]
    champion = registry.load(problem.name, "champion")
    labelled = data.labelled(problem, data.load(arrived["rows"]))
    predictions = model.predict(problem, champion.model, labelled)
    expected = scores.evaluate(problem.kind, labelled[problem.target], predictions)
    name = scores.metric_of(problem)
    assert computed_from_stored["metric"] == pytest.approx(expected[name])
    # The predictions of another model are not those that were made.
    table.assign(prediction=0.0).head(1).to_parquet(scored["file"])
    assert scoring.stored_predictions(problem, labelled) is None


def test_scoring_without_champion_is_refused_with_the_next_command(problem, client):
    with pytest.raises(Refused, match=f"no champion. .*: inv trigger {problem.dag('training')}"):
        scoring.score(problem, "", "run")


def test_period_without_labels_is_not_judged(problem, first, after_first, periods, tmp_path):
    arrived = monitoring.arrive(problem, tmp_path, periods[1])
    table = data.load(arrived["rows"]).assign(**{problem.target: None})
    drifted = monitoring.measure_drift(problem, arrived)
    unlabelled = {**arrived, "rows": data.save(table, tmp_path / "unlabelled.parquet")}
    performance = monitoring.measure_performance(problem, unlabelled, drifted)
    reason = f"0% of the {problem.rows} have a label"
    expected = {"labelled_share": 0.0, "metric": None, "reason": reason, "decayed": False}
    assert performance == expected
    assert monitoring.summary(problem, drifted, performance)[-1].endswith(f"because {reason}")


def test_period_with_labels_of_one_class_is_not_judged(
    problem, first, after_first, periods, tmp_path
):
    arrived = monitoring.arrive(problem, tmp_path, periods[1])
    rows = data.load(arrived["rows"])
    one_class = rows.assign(**{problem.target: rows[problem.target].iloc[0]})
    drifted = monitoring.measure_drift(problem, arrived)
    arrived = {**arrived, "rows": data.save(one_class, tmp_path / "one_class.parquet")}
    performance = monitoring.measure_performance(problem, arrived, drifted)
    if problem.kind == "regression":
        assert performance["metric"] > 0
    else:
        assert performance["reason"] == "all labels are of one class"


def test_id_of_a_row_is_the_same_for_missing_text_and_numbers(problem, rows):
    checked = data.check(problem, rows.head(30))
    inputs = list(problem.inputs)
    for name in inputs:
        if checked[name].dtype == object:
            missing = [checked.assign(**{name: value}) for value in (None, np.nan)]
            ids = [data.row_ids(problem, part).tolist() for part in missing]
            assert ids[0] == ids[1] != data.row_ids(problem, checked).tolist()


def test_trial_without_a_stack_has_the_same_scores_for_small_tables(problem, rows):
    found = trial.run(problem, rows)
    assert {"baseline", *problem.models} == set(found["scores"])


def test_features_depend_on_their_row_only(problem, rows):
    features = carried.of(problem)
    checked = data.check(problem, rows)
    table = features.table(checked)
    assert set(table) == set(features.names)
    pd.testing.assert_frame_equal(features.table(checked.iloc[[7]]), table.iloc[[7]])


def test_coverage_of_intervals_is_measured_if_the_model_has_them(name, first):
    coverage = {one["kind"]: one["metrics"].get("coverage_90") for one in first.trained}
    if name != "demand":
        assert set(coverage.values()) == {None}
    else:
        assert coverage["linear"] is None
        assert 0.85 < coverage["bayesian"] < 0.98


def test_unknown_metric_is_refused_with_the_choices(problem):
    wrong = replace(problem, metric="gini")
    with pytest.raises(Refused, match=r"metric='gini' is none of \w+, \w+"):
        scores.metric_of(wrong)


def test_each_new_batch_is_monitored_once(first, after_first, problem, periods, tmp_path):
    if problem.time:
        pytest.skip("only problems without time have batches")
    arrived = monitoring.arrive(problem, tmp_path, "")
    assert arrived["period"] == periods[1]
    monitoring.measure_drift(problem, arrived)
    with pytest.raises(NothingToDo, match=f"no new file after {periods[1]}"):
        monitoring.arrive(problem, tmp_path, "")


def test_batches_wait_for_a_champion(client, problem, tmp_path):
    if problem.time:
        pytest.skip("only problems without time have batches")
    with pytest.raises(NothingToDo, match="no champion yet"):
        monitoring.arrive(problem, tmp_path, "")


def test_drift_of_few_rows_is_not_that_of_chance():
    random = np.random.default_rng(5)
    reference = pd.DataFrame({"x": random.normal(size=600), "c": random.choice(["a", "b"], 600)})
    few = pd.DataFrame({"x": random.normal(size=22), "c": random.choice(["a", "b"], 22)})
    assert not drift.compare(reference, few, Limits()).past_threshold
    moved = few.assign(x=few["x"] + 3, c="a")
    assert drift.compare(reference, moved, Limits()).past_threshold


@pytest.mark.parametrize("content", ["day;plan\n2024-01-01;pro\n", "plan,calls\npro,3\n"])
def test_file_without_the_columns_of_the_first_is_refused_by_name(tmp_path, content):
    CHURN.function("sample")().head(50).to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "b.csv").write_text(content)
    with pytest.raises(Refused, match=r"^b\.csv has no column .*usage"):
        data.read(CHURN, str(tmp_path))


@pytest.mark.parametrize("text", ["NULL", "N/A", "null", ""])
def test_usual_words_for_missing_numbers_are_read(tmp_path, text):
    rows = CHURN.function("sample")().head(50).astype({"usage": object})
    rows.loc[7, "usage"] = text
    rows.to_csv(tmp_path / "a.csv", index=False)
    checked = data.check(CHURN, data.read(CHURN, str(tmp_path / "a.csv")))
    assert checked["usage"].isna().tolist() == [row == 7 for row in range(50)]


def test_few_rows_in_the_last_period_hold_out_more_periods():
    rows = CHURN.function("sample")()
    few = data.labelled(CHURN, data.check(CHURN, rows[rows["day"] < "2024-12-03"].iloc[::10]))
    assert data.periods(CHURN, few).iloc[-1] == "2024-12"
    earlier, later = holdout.split(CHURN, few, 1)
    assert set(data.periods(CHURN, later)) == {"2024-11", "2024-12"}
    assert len(later) >= holdout.MIN_ROWS
    assert len(earlier) + len(later) == len(few)


def test_unknown_class_of_a_binary_target_is_refused():
    predictions = scores.Predictions(np.array([[0.2, 0.8], [0.6, 0.4], [0.5, 0.5]]), ("no", "yes"))
    target = pd.Series(["yes", "no", "maybe"], name="left")
    with pytest.raises(Refused, match="does not know the class maybe of left"):
        scores.evaluate("binary", target, predictions)
