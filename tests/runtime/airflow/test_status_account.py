"""Test that the columns which the status page reads exist in Airflow."""

import pytest

from tests.runtime.airflow.supervised import runtime

COLUMNS = runtime("airflow.status_account").COLUMNS


@pytest.mark.parametrize("table", COLUMNS)
def test_granted_columns_exist(table):
    import airflow.models
    from airflow.models.base import Base

    airflow.models.import_all_models()
    existing = Base.metadata.tables[table].columns.keys()
    assert set(COLUMNS[table].split(", ")) <= set(existing)
