"""The audit: what pip-audit answers against the locks and the list of what may stay."""

import json
from dataclasses import asdict
from datetime import date, timedelta

import pytest

from checks import audit, vulnerabilities
from checks.advisories import ROOT, Advisory
from checks.pins import Pin, pins
from checks.vulnerabilities import BAD, read, reason
from orchestration.dependencies.locks import LOCKS
from orchestration.errors import StackError

TODAY = date(2026, 11, 26)
# As pip-audit 2.10.1 writes it; the last one as it does where --strict is forgotten.
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
    held = {"a.lock": [BAD, pin("six", "1.16.0")], "b.lock": [BAD]}
    return audit.judged(held, read(ANSWER), entries, TODAY)


def entry(id="CVE-2019-10906", package="Jinja2", fixed="2.10.1", until=TODAY):
    return Advisory(id, package, fixed, until)


def test_a_vulnerability_is_found_once_with_every_lock_that_holds_it():
    (finding,) = verdict().findings
    assert finding.locks == ("a.lock", "b.lock")
    assert (finding.package, finding.version) == ("jinja2", "2.4.1")
    assert (finding.id, finding.fixed_in) == ("PYSEC-2019-217", ("2.10.1",))


def test_people_see_version_id_what_mends_it_and_the_locks():
    first, checked = audit.told(verdict()).splitlines()
    assert first == "jinja2 2.4.1: PYSEC-2019-217, fixed in 2.10.1 (a.lock, b.lock)"
    assert checked == "2 locks, 2 pinned versions; known vulnerabilities: 1, ignored: 0"


def test_machines_see_the_same():
    told = json.loads(json.dumps(asdict(verdict())))
    assert told["locks"] == ["a.lock", "b.lock"]
    assert told["versions"] == 2
    assert [finding["id"] for finding in told["findings"]] == ["PYSEC-2019-217"]
    assert told["ignored"] == told["problems"] == []


@pytest.mark.parametrize("name", ["PYSEC-2019-217", "CVE-2019-10906", "GHSA-462w-v97r-4m45"])
def test_what_is_on_the_list_may_stay_under_any_of_its_names_to_the_last_day(name):
    judged = verdict(entry(id=name))
    assert judged.findings == judged.problems == []
    assert [finding.id for finding in judged.ignored] == ["PYSEC-2019-217"]
    assert audit.told(judged).endswith("known vulnerabilities: 0, ignored: 1")


def test_the_day_after_the_last_one_it_is_told():
    late = verdict(entry(until=TODAY - timedelta(1)))
    (problem,) = late.problems
    assert "CVE-2019-10906 of Jinja2 could stay until 2026-11-25" in problem
    assert problem in audit.told(late)


@pytest.mark.parametrize("stranger", [{"id": "CVE-2019-1"}, {"package": "six"}, {"until": None}])
def test_an_entry_of_something_else_or_without_a_last_day_hides_nothing(stranger):
    assert len(verdict(entry(**stranger)).findings) == 1


@pytest.mark.parametrize(("name", "version"), [("six", "1.16.0"), ("Jinja2", "2.10.1")])
def test_an_entry_whose_package_is_gone_or_mended_in_all_locks_is_told(name, version):
    problem = audit.problem(entry(), [pin(name, version).key], TODAY)
    assert problem.endswith("is in no lock any more: remove it, then: python -m checks.pages")


@pytest.mark.parametrize("known", [{"id": "CVE-2019-1"}, {"fixed": "none"}])
def test_an_entry_that_this_service_does_not_know_or_nothing_fixes_is_no_problem(known):
    assert verdict(entry(**known)).problems == []


def test_an_id_of_airflow_holds_for_its_parts():
    finding = audit.Finding(("a.lock",), "apache-airflow-core", "3.0.1", "CVE-2019-10906", (), ())
    assert audit.covers(entry(package="apache-airflow"), finding)
    assert not audit.covers(entry(package="six"), finding)


def test_what_was_skipped_is_no_answer():
    assert set(read(ANSWER)) == {("jinja2", "2.4.1"), ("six", "1.16.0")}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (NOT_ON_PYPI, "jinja2: Dependency not found on PyPI and could not be audited: jinja2"),
        (NO_CONNECTION, "Could not connect to PyPI's vulnerability feed"),
        (BUSY, "503 Server Error: Service Unavailable for url"),
        ("Killed\n", "Killed"),
    ],
)
def test_a_failure_is_told_by_the_line_that_says_why(words, why):
    assert reason(words).startswith(why)
    assert "\n" not in reason(words)


def test_each_version_is_asked_for_once_after_the_bad_one(monkeypatch):
    asked = []

    def answer(wanted, options):
        asked.append([one.key for one in wanted])
        return {one.key: [{}] for one in wanted}

    monkeypatch.setattr(vulnerabilities, "_asked", answer)
    locks = [[pin("a", "1"), pin("b", "1")], [pin("A", "1"), pin("a", "2")], [pin("a", "1"), BAD]]
    assert set(vulnerabilities.answers(locks)) == {BAD.key, ("a", "1"), ("b", "1"), ("a", "2")}
    assert asked == [[BAD.key], [("a", "1"), ("b", "1")], [("a", "2")]]


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_of_a_lock_is_read_with_every_hash(lock):
    path = ROOT / "install" / lock
    text = path.read_text(encoding="utf-8")
    read_back = pins(path)
    assert len(read_back) == sum("==" in line and line[0] not in " #" for line in text.splitlines())
    assert sum(len(one.hashes) for one in read_back) == text.count("--hash=")


def test_a_pin_of_another_platform_is_audited_too(tmp_path):
    lock = tmp_path / "some.lock"
    lock.write_text("pywin32==312 ; sys_platform == 'win32' \\\n    --hash=sha256:ab\n")
    assert list(map(str, pins(lock))) == ["pywin32==312 --hash=sha256:ab"]


@pytest.mark.parametrize("line", ["a==1", "a", "a @ file:///a", "-e .", "a==1 \\"])
def test_a_requirement_without_version_or_hash_is_refused(tmp_path, line):
    lock = tmp_path / "some.lock"
    lock.write_text(f"b==1 \\\n    --hash=sha256:ab\n{line}\n")
    with pytest.raises(StackError, match=r"some.lock: of 2 requirements 1 are pinned.*: inv lock"):
        pins(lock)


def test_without_pip_audit_nothing_passes(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert audit.main([]) == 1
    assert capsys.readouterr().err == "audit: pip-audit is not on PATH: nox -s audit\n"
