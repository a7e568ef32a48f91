"""Check bad DAGs, each with one fault, by their sources and by Airflow."""

import re
import time
from pathlib import Path

import pytest

from checks.dag_lint.run import lint

BAD = Path(__file__).with_name("bad_dags")
# Seconds that a busy machine may need for a good file. One file here never finishes.
LIMIT = 12
EXPECTED = re.compile(r"# (?:line (\d+) )?finds: (.+)$")
FILES = sorted(path for path in BAD.rglob("*.py") if path.name != "__init__.py")
# These have no finding, or their finding is in another file.
UNMARKED = {"has_a_duplicate_id.py", "opens_a_socket_in_a_helper.py", "waives_with_a_reason.py"}


def expected(path):
    """Yield the (line, rule) that the marks in a file name."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if mark := EXPECTED.search(line):
            yield from ((int(mark[1] or number), rule) for rule in mark[2].split(", "))


@pytest.fixture(scope="module")
def results(airflow):
    """Lint the folder once; return findings, parsed files and the seconds it took."""
    started = time.monotonic()
    findings, parsed = lint(BAD, airflow, limit=LIMIT, fresh=True)
    return findings, parsed, time.monotonic() - started


def test_bad_dags_are_enough_and_marked():
    marked = [path for path in FILES if list(expected(path))]
    assert len(marked) >= 25
    assert {path.name for path in FILES} - {path.name for path in marked} == UNMARKED


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_bad_dag_has_exactly_its_findings(results, path):
    findings, _, _ = results
    assert sorted((one.line, one.rule) for one in findings if one.path == path) == sorted(
        expected(path)
    )


def test_every_finding_has_cause_and_fix(results):
    for one in results[0]:
        row = one.as_dict(BAD)
        assert row["why"]
        assert row["fix"]
        assert one.as_text(BAD).startswith(f"{row['path']}:{one.line}: {row['level']} ")


def test_endless_loop_is_stopped_at_the_limit(results):
    _, parsed, seconds = results
    endless = [one for one in parsed if one.path.name == "never_ends.py"]
    assert [one.seconds for one in endless] == [LIMIT]
    assert seconds < 5 * LIMIT


def test_parse_time_of_each_file_is_reported(results):
    times = {one.path.name: one.seconds for one in results[1]}
    assert 2.2 <= times["is_slow.py"] < LIMIT
    assert 0 < times["has_a_duplicate_id.py"] < times["is_slow.py"]
