"""Bad DAGs, each with one fault, and what is found in them: by the sources and by Airflow."""

import re
import time
from pathlib import Path

import pytest

from checks.dag_lint.run import lint

BAD = Path(__file__).with_name("bad_dags")
# The time that a machine at work may take for a good file; one here never ends.
LIMIT = 12
EXPECTED = re.compile(r"# (?:line (\d+) )?finds: (.+)$")
FILES = sorted(path for path in BAD.rglob("*.py") if path.name != "__init__.py")
# Their findings stand in the file beside them, or are none at all.
WITHOUT = {"is_known_twice.py", "opens_a_socket_by_a_helper.py", "waives_with_a_reason.py"}


def expected(path):
    """What the marks in a file say: (line, rule)."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if mark := EXPECTED.search(line):
            yield from ((int(mark[1] or number), rule) for rule in mark[2].split(", "))


@pytest.fixture(scope="module")
def found(airflow):
    """All findings of the folder, in one go, as a person would have them."""
    started = time.monotonic()
    findings, parsed = lint(BAD, airflow, limit=LIMIT, fresh=True)
    return findings, parsed, time.monotonic() - started


def test_there_are_enough_of_them_and_each_says_what_it_is():
    marked = [path for path in FILES if list(expected(path))]
    assert len(marked) >= 25
    assert {path.name for path in FILES} - {path.name for path in marked} == WITHOUT


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_bad_dag_gives_exactly_its_findings(found, path):
    findings, _, _ = found
    assert sorted((one.line, one.rule) for one in findings if one.path == path) == sorted(
        expected(path)
    )


def test_every_finding_says_why_and_what_to_do(found):
    for one in found[0]:
        told = one.as_dict(BAD)
        assert told["why"]
        assert told["fix"]
        assert one.as_text(BAD).startswith(f"{told['path']}:{one.line}: {told['level']} ")


def test_one_endless_loop_takes_no_longer_than_its_limit(found):
    _, parsed, seconds = found
    endless = [one for one in parsed if one.path.name == "never_ends.py"]
    assert [one.seconds for one in endless] == [LIMIT]
    assert seconds < 5 * LIMIT


def test_the_parse_time_of_each_file_is_told(found):
    times = {one.path.name: one.seconds for one in found[1]}
    assert 2.2 <= times["is_slow.py"] < LIMIT
    assert 0 < times["is_known_twice.py"] < times["is_slow.py"]
