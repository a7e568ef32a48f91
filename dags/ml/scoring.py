"""Apply the champion to new rows in batches, and keep what was predicted."""

import os
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ml import Refused, bucket, data, model, registry
from ml.problem import Problem
from ml.scores import Predictions

ROW = "_row"
"""The column with the hash of a row's inputs, by which labels find their prediction."""
CHANCE = "probability_"
BATCH_ROWS = 100_000


def folder(problem: Problem) -> str:
    """Return where predictions are: below `PREDICTIONS_URI`, or else below `DATA_DIR`."""
    base = (
        os.environ.get("PREDICTIONS_URI")
        or f"{os.environ.get('DATA_DIR') or '/opt/airflow/data'}/predictions"
    )
    return f"{base.rstrip('/')}/{problem.name}"


def score(problem: Problem, source: str, run_id: str) -> dict[str, Any]:
    """Predict the rows at `source` (blank: the newest period) with the champion, and store them.

    Returns the file, the number of rows and the champion's version. Raises Refused for invalid rows
    and if there is no champion.
    """
    champion = registry.load(problem.name, "champion")
    if champion is None:
        command = f"inv trigger {problem.dag('training')}"
        raise Refused(f"{problem.name} has no champion to predict with: {command}")
    everything = data.read(problem, source)
    if not source:
        newest = data.last_period(problem, everything)
        everything = data.of(problem, everything, newest)
    rows = data.check(problem, _with_target(problem, everything))
    parts = [
        _table(problem, champion, rows.iloc[start : start + BATCH_ROWS])
        for start in range(0, len(rows), BATCH_ROWS)
    ]
    table = pd.concat(parts, ignore_index=True).assign(
        scored_at=datetime.now(UTC), model_version=champion.version, model_run=champion.run_id
    )
    where = _store(table, f"{folder(problem)}/{data.run_folder('x', run_id).name}.parquet")
    return {"file": where, "rows": len(table), "version": champion.version}


def _with_target(problem: Problem, rows: pd.DataFrame) -> pd.DataFrame:
    """Add the columns that only labels need, because they are unknown for new rows."""
    columns = problem.schema().columns
    unknown = [
        name for name, column in columns.items()
        if name not in rows and name not in problem.inputs and column.nullable
    ]  # fmt: skip
    return rows.assign(**dict.fromkeys(unknown, np.nan))


def _table(problem: Problem, champion: registry.Registered, rows: pd.DataFrame) -> pd.DataFrame:
    predictions = model.predict(problem, champion.model, rows)
    inputs = [name for name in problem.inputs if name in rows]
    table = rows[inputs].assign(**{ROW: row_ids(problem, rows)}, prediction=predictions.column)
    for number, name in enumerate(predictions.classes):
        table[f"{CHANCE}{name}"] = predictions.values[:, number]
    return table


def row_ids(problem: Problem, rows: pd.DataFrame) -> pd.Series:
    """Return a hash of each row's inputs."""
    inputs = [name for name in problem.inputs if name in rows]
    return pd.util.hash_pandas_object(rows[inputs].astype(str), index=False).astype("int64")


def stored_predictions(problem: Problem, labelled: pd.DataFrame) -> Predictions | None:
    """Return the stored predictions of labelled rows, or None if some rows have none.

    If rows were predicted more than once, the last prediction counts.
    """
    try:
        with bucket.fetched(f"{folder(problem)}/", (".parquet",)) as files:
            if not files or not all(Path(file).exists() for file in files):
                return None
            table = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    except OSError:
        return None
    last = table.sort_values("scored_at").drop_duplicates(ROW, keep="last").set_index(ROW)
    ids = row_ids(problem, labelled)
    if not ids.isin(last.index).all():
        return None
    found = last.loc[ids]
    names = [name for name in found if name.startswith(CHANCE)]
    if problem.kind == "regression":
        return Predictions(found[["prediction"]].to_numpy(dtype=float))
    classes = sorted(set(labelled[problem.target]), key=str)
    by_text = {str(one): one for one in classes}
    known = tuple(
        by_text.get(name.removeprefix(CHANCE), name.removeprefix(CHANCE)) for name in names
    )
    return Predictions(found[names].to_numpy(dtype=float), known)


def _store(table: pd.DataFrame, where: str) -> str:
    if not where.startswith("s3://"):
        return data.save(table, Path(where))
    with tempfile.TemporaryDirectory() as local:
        path = Path(local, "predictions.parquet")
        table.to_parquet(path, index=False)
        bucket.upload(path, where)
    return where


def report(problem: Problem, scored: Mapping[str, Any]) -> list[str]:
    """Return the lines that describe a scoring."""
    return [f"{scored['rows']:,} {problem.rows} predicted by version {scored['version']}",
            f"predictions     {scored['file']}"]  # fmt: skip
