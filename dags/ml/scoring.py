"""Predict new rows with the champion, in batches, and store the predictions."""

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ml import bucket, data, model, registry
from ml.problem import Problem
from ml.scores import Predictions

ROW = "_row"
"""The column with the hash of a row's inputs, which matches labels with predictions."""
CHANCE, DEVIATION = "probability_", "prediction_deviation"
BATCH_ROWS = 100_000


def folder(problem: Problem) -> str:
    """Return where predictions are: below `PREDICTIONS_URI`, or else below `DATA_DIR`."""
    local = f"{os.environ.get('DATA_DIR') or '/opt/airflow/data'}/predictions"
    base = os.environ.get("PREDICTIONS_URI") or local
    return f"{base.rstrip('/')}/{problem.name}"


def score(problem: Problem, source: str, run_id: str) -> dict[str, Any]:
    """Predict the rows at `source` (blank: the newest period) with the champion, and store them.

    Returns the file, the number of rows, the champion's version, and lines to report. Raises
    Refused for invalid rows and if there is no champion.
    """
    champion = registry.require(problem, "champion")
    rows = data.read(problem, source)
    if not source:
        rows = data.of(problem, rows, data.last_period(problem, rows))
    rows = data.check(problem, _with_target(problem, rows))
    starts = range(0, len(rows), BATCH_ROWS)
    parts = [_table(problem, champion, rows.iloc[start : start + BATCH_ROWS]) for start in starts]
    table = pd.concat(parts, ignore_index=True).assign(
        scored_at=datetime.now(UTC), model_version=champion.version, model_run=champion.run_id
    )
    name = data.run_folder(problem.dag("scoring"), run_id).name
    file = _store(table, f"{folder(problem)}/{name}.parquet")
    summary = f"{len(table):,} {problem.rows} predicted by version {champion.version}"
    report = [summary, f"predictions     {file}"]
    return {"file": file, "rows": len(table), "version": champion.version, "report": report}


def _with_target(problem: Problem, rows: pd.DataFrame) -> pd.DataFrame:
    """Add the columns that only labels need, because they are unknown for new rows."""
    unknown = [
        name for name, column in problem.schema().columns.items()
        if name not in rows and name not in problem.inputs and column.nullable
    ]  # fmt: skip
    return rows.assign(**dict.fromkeys(unknown, np.nan))


def _table(problem: Problem, champion: registry.Registered, rows: pd.DataFrame) -> pd.DataFrame:
    predictions = model.predict(problem, champion.model, rows)
    inputs = [name for name in problem.inputs if name in rows]
    table = rows[inputs].assign(**{ROW: data.row_ids(problem, rows)}, prediction=predictions.column)
    if predictions.deviation is not None:
        table[DEVIATION] = predictions.deviation
    for number, name in enumerate(predictions.classes):
        table[f"{CHANCE}{name}"] = predictions.values[:, number]
    return table


def stored_predictions(problem: Problem, labelled: pd.DataFrame) -> Predictions | None:
    """Return the stored predictions of labelled rows, or None if some rows have none.

    If rows were predicted more than once, the last prediction counts.
    """
    place = f"{folder(problem)}/"
    if not place.startswith("s3://") and not Path(place).is_dir():
        return None
    ids = data.row_ids(problem, labelled)
    wanted = [(ROW, "in", set(ids))]
    with bucket.local_copies(place, (".parquet",)) as files:
        tables = [pd.read_parquet(file, filters=wanted) for file in files]
    if not (tables := [table for table in tables if len(table)]):
        return None
    newest_last = pd.concat(tables, ignore_index=True).sort_values("scored_at")
    last = newest_last.drop_duplicates(ROW, keep="last").set_index(ROW)
    if not ids.isin(last.index).all():
        return None
    stored = last.loc[ids]
    if problem.kind == "regression":
        known = DEVIATION in stored and stored[DEVIATION].notna().all()
        deviation = stored[DEVIATION].to_numpy(dtype=float) if known else None
        return Predictions(stored[["prediction"]].to_numpy(dtype=float), deviation=deviation)
    by_text = {str(value): value for value in set(labelled[problem.target])}
    chances = {name: name.removeprefix(CHANCE) for name in stored if name.startswith(CHANCE)}
    classes = tuple(by_text.get(text, text) for text in chances.values())
    return Predictions(stored[list(chances)].to_numpy(dtype=float), classes)


def _store(table: pd.DataFrame, uri: str) -> str:
    if not uri.startswith("s3://"):
        return data.save(table, Path(uri))
    with tempfile.TemporaryDirectory() as local:
        bucket.upload(Path(data.save(table, Path(local, "predictions.parquet"))), uri)
    return uri
