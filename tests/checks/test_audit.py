"""Test how the audit compares pip-audit's answers with the locks and the ignored advisories."""

import json
from dataclasses import asdict
from datetime import date, timedelta

import pytest

from checks import audit, vulnerabilities
from checks.advisories import ROOT, Advisory
from checks.pins import Pin, pins
from checks.vulnerabilities import BAD, parse, reason
from orchestration.dependencies.locks import LOCKS
from orchestration.errors import StackError

TODAY = date(2026, 11, 26)
# Output of pip-audit 2.10.1; it writes the last entry only without --strict.
ANSWER = """{"dependencies": [
 {"name": "jinja2", "version": "2.4.1", "vulns": [{"id": "PYSEC-2019-217",
  "fix_versions": ["2.10.1"], "aliases": ["GHSA-462w-v97r-4m45", "CVE-2019-10906"]}]},
 {"name": "six", "version": "1.16.0", "vulns": []},
 {"name": "stranger", "skip_reason": "Dependency not found on PyPI and could not be audited"}],
 "fixes": []}"""
NOT_ON_PYPI = """\
ERROR:pip_audit._cli:jinja2: Dependency not found on PyPI and could not be audited: jinja2 (2.4.1)
"""
NO_CONNECTION = """\
ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed
ERROR:pip_audit._cli:Tip: your network may be blocking this service. Try another service with `-s`
"""
BUSY = """\
WARNING:pip_audit._cli:The --require-hashes flag with --service osv only enforces hash presence
Traceback (most recent call last):
  File "osv.py", line 75, in query
    response.raise_for_status()
requests.exceptions.HTTPError: 503 Server Error: Service Unavailable for url: http://localhost/

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "osv.py", line 79, in query
    raise ServiceError from http_error
pip_audit._service.interface.ServiceError
"""


def pin(name, version, *hashes):
    return Pin(name, version, hashes or ("sha256:00",))


def verdict(*entries):
    locks = {"a.lock": [BAD, pin("six", "1.16.0")], "b.lock": [BAD]}
    return audit.judge(locks, parse(ANSWER), entries, TODAY)


def entry(id="CVE-2019-10906", package="Jinja2", fixed="2.10.1", until=TODAY):
    return Advisory(id, package, fixed, until)


def test_judge_vulnerability_is_one_finding_with_every_lock():
    (finding,) = verdict().findings
    assert finding.locks == ("a.lock", "b.lock")
    assert (finding.package, finding.version) == ("jinja2", "2.4.1")
    assert (finding.id, finding.fixed_in) == ("PYSEC-2019-217", ("2.10.1",))


def test_summary_shows_version_id_fix_and_locks():
    first, totals = audit.summary(verdict()).splitlines()
    assert first == "jinja2 2.4.1: PYSEC-2019-217, fixed in 2.10.1 (a.lock, b.lock)"
    assert totals == "2 locks, 2 pinned versions; known vulnerabilities: 1, ignored: 0"


def test_json_has_locks_versions_and_findings():
    document = json.loads(json.dumps(asdict(verdict())))
    assert document["locks"] == ["a.lock", "b.lock"]
    assert document["versions"] == 2
    assert [finding["id"] for finding in document["findings"]] == ["PYSEC-2019-217"]
    assert document["ignored"] == document["problems"] == []


@pytest.mark.parametrize("name", ["PYSEC-2019-217", "CVE-2019-10906", "GHSA-462w-v97r-4m45"])
def test_judge_ignores_entry_by_any_alias_until_its_last_day(name):
    result = verdict(entry(id=name))
    assert result.findings == result.problems == []
    assert [finding.id for finding in result.ignored] == ["PYSEC-2019-217"]
    assert audit.summary(result).endswith("known vulnerabilities: 0, ignored: 1")


def test_judge_reports_entry_after_its_last_day():
    late = verdict(entry(until=TODAY - timedelta(1)))
    (problem,) = late.problems
    assert "CVE-2019-10906 of Jinja2 expired on 2026-11-25" in problem
    assert problem in audit.summary(late)


@pytest.mark.parametrize("other", [{"id": "CVE-2019-1"}, {"package": "six"}, {"until": None}])
def test_judge_other_entry_or_no_last_day_hides_nothing(other):
    assert len(verdict(entry(**other)).findings) == 1


@pytest.mark.parametrize(("name", "version"), [("six", "1.16.0"), ("Jinja2", "2.10.1")])
def test_problem_package_removed_or_fixed_in_all_locks(name, version):
    problem = audit.problem(entry(), [pin(name, version).key], TODAY)
    assert problem.endswith("affects no lock any more. Remove it, then run: python -m checks.pages")


@pytest.mark.parametrize("changes", [{"id": "CVE-2019-1"}, {"fixed": "none"}])
def test_problem_accepts_entry_unknown_to_service_or_unfixed(changes):
    assert verdict(entry(**changes)).problems == []


def test_covers_airflow_id_applies_to_airflow_core():
    finding = audit.Finding(("a.lock",), "apache-airflow-core", "3.0.1", "CVE-2019-10906", (), ())
    assert audit.covers(entry(package="apache-airflow"), finding)
    assert not audit.covers(entry(package="six"), finding)


def test_parse_leaves_out_skipped_packages():
    assert set(parse(ANSWER)) == {("jinja2", "2.4.1"), ("six", "1.16.0")}


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (NOT_ON_PYPI, "jinja2: Dependency not found on PyPI and could not be audited: jinja2"),
        (NO_CONNECTION, "Could not connect to PyPI's vulnerability feed"),
        (BUSY, "503 Server Error: Service Unavailable for url"),
        ("Killed\n", "Killed"),
    ],
)
def test_reason_is_the_explaining_line(output, why):
    assert reason(output).startswith(why)
    assert "\n" not in reason(output)


def test_query_asks_once_per_version_after_the_bad_one(monkeypatch):
    queries = []

    def answer(pins, options):
        queries.append([one.key for one in pins])
        return {one.key: [{}] for one in pins}

    monkeypatch.setattr(vulnerabilities, "_run_pip_audit", answer)
    locks = [[pin("a", "1"), pin("b", "1")], [pin("A", "1"), pin("a", "2")], [pin("a", "1"), BAD]]
    assert set(vulnerabilities.query(locks)) == {BAD.key, ("a", "1"), ("b", "1"), ("a", "2")}
    assert queries == [[BAD.key], [("a", "1"), ("b", "1")], [("a", "2")]]


@pytest.mark.parametrize("lock", LOCKS)
def test_pins_reads_every_requirement_with_every_hash(lock):
    path = ROOT / "install" / lock
    text = path.read_text(encoding="utf-8")
    entries = pins(path)
    assert len(entries) == sum("==" in line and line[0] not in " #" for line in text.splitlines())
    assert sum(len(one.hashes) for one in entries) == text.count("--hash=")


def test_pins_includes_other_platforms(tmp_path):
    lock = tmp_path / "some.lock"
    lock.write_text("pywin32==312 ; sys_platform == 'win32' \\\n    --hash=sha256:ab\n")
    assert list(map(str, pins(lock))) == ["pywin32==312 --hash=sha256:ab"]


@pytest.mark.parametrize("line", ["a==1", "a", "a @ file:///a", "-e .", "a==1 \\"])
def test_pins_without_version_or_hash_raises(tmp_path, line):
    lock = tmp_path / "some.lock"
    lock.write_text(f"b==1 \\\n    --hash=sha256:ab\n{line}\n")
    with pytest.raises(StackError, match=r"some.lock pins 1 of 2 requirements .*\nRun: inv lock"):
        pins(lock)


def test_audit_without_pip_audit_fails(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert audit.main([]) == 1
    assert capsys.readouterr().err == "Error: pip-audit is not on PATH.\nRun: nox -s audit\n"
