"""Test which DAG files without a current DAG still define DAGs."""

import os
from datetime import UTC, datetime, timedelta

import pytest

from orchestration.clients import status_page
from orchestration.health import stale_dags

HOUR = timedelta(hours=1)
DAG = "@dag(schedule=None)\ndef a(): ...\n"
# The time of the last change cannot be set, so the others are relative to it.
LATER = datetime.now(UTC) + HOUR


@pytest.fixture
def dags(tmp_path, monkeypatch):
    """A folder in which new files count as old ones."""
    monkeypatch.setattr(stale_dags, "SETTLED_SECONDS", -1)
    return tmp_path


def found(dags, seen, name="a.py"):
    return [one.detail for one in stale_dags.check({name: seen}, dags)]


def test_unchanged_file_is_reported(dags):
    (dags / "a.py").write_text("create_dags()\n")
    [work] = stale_dags.check({"a.py": LATER}, dags)
    assert (work.name, work.state, work.at) == ("stale-dags", "degraded", None)
    assert work.detail.startswith("a.py: Airflow counts its DAGs as removed")


@pytest.mark.parametrize(
    "text", [DAG, "with DAG('a'):\n    pass\n", "    dag = models.DAG(\n", "x\n\n  @dag\n"]
)
def test_changed_file_is_reported_if_it_defines_a_dag(dags, text):
    (dags / "a.py").write_text(text)
    assert found(dags, LATER - 2 * HOUR)


@pytest.mark.parametrize("text", ["", "# @dag()\n", "  # dag = DAG(\n", "import airflow\nMYDAG(\n"])
def test_changed_file_without_dags_is_not_reported(dags, text):
    (dags / "a.py").write_text(text)
    assert found(dags, LATER - 2 * HOUR) == []


def test_deleted_file_is_not_reported(dags):
    assert found(dags, LATER) == found(dags, LATER, "package.zip/a.py") == []
    (dags / "a.py").mkdir()
    assert found(dags, LATER) == []


def test_new_file_is_not_reported(dags, monkeypatch):
    monkeypatch.setattr(stale_dags, "SETTLED_SECONDS", 60)
    (dags / "a.py").write_text(DAG)
    assert found(dags, LATER - 2 * HOUR) == []


def test_file_that_is_copied_with_its_time_counts_as_changed(dags):
    (dags / "a.py").write_text("nothing\n")
    os.utime(dags / "a.py", (0, 0))
    assert found(dags, LATER - 2 * HOUR) == []


@pytest.mark.parametrize("name", ["a.py", "team/a.py"])
@pytest.mark.parametrize(("seen", "reported"), [(LATER - 2 * HOUR, False), (LATER, True)])
def test_file_is_not_reported_after_a_change_of_the_ignored_ones(dags, name, seen, reported):
    (dags / name).parent.mkdir(exist_ok=True)
    (dags / name).write_text(DAG)
    (dags / ".airflowignore").write_text("a.py\n")
    assert bool(found(dags, seen, name)) == reported


def test_several_files_are_one_result(dags):
    for name in ("a.py", "b.py", "c.py"):
        (dags / name).write_text(DAG)
    [work] = stale_dags.check(dict.fromkeys(("a.py", "b.py", "c.py"), LATER), dags)
    assert work.detail.startswith("a.py (and 2 more): ")


def test_stale_files_of_a_malformed_document_are_left_out():
    good = {"name": "a.py", "parsed": "2026-01-02T03:04:05.678901+00:00"}
    entries = [{}, None, {"name": "b.py", "parsed": None}, {"name": "c.py", "parsed": "x"}, good]
    files = status_page.stale_files({"stale_files": entries})
    assert files == {"a.py": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)}
    assert status_page.stale_files({}) == status_page.stale_files({"stale_files": None}) == {}


def test_factory_in_include_that_changed_later_may_define_no_dag(dags):
    folder = dags / "dags"
    folder.mkdir()
    (folder / "a.py").write_text("create_dags()\n")
    assert found(folder, LATER)
    (dags / "include").mkdir()
    factory = dags / "include" / "factory.py"
    factory.write_text("")
    assert found(folder, LATER)
    later = (LATER + HOUR).timestamp()
    os.utime(factory, (later, later))
    assert found(folder, LATER) == []
    (folder / "a.py").write_text(DAG)
    assert found(folder, LATER)
