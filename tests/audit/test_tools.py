"""Run the real pip-audit against a stub of the OSV service, and the real cyclonedx-py."""

import json

import pytest

from checks import audit, sbom
from checks.pins import pins
from checks.vulnerabilities import BAD
from orchestration.dependencies.locks import LOCKS
from orchestration.errors import StackError
from orchestration.host.drafts import load_or_draft
from orchestration.project import Project
from tests.support.http_stub import HttpStub
from tests.support.repository import ROOT, copy_repository

AFFECTED = {"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}]}


(ANYIO,) = [pin.key for pin in pins(ROOT / "install" / "status.lock") if pin.name == "anyio"]


class Osv(HttpStub):
    """Report a vulnerability for each pin key in `bad` and 503 for each in `failing`."""

    def __init__(self):
        super().__init__()
        self.bad, self.failing, self.queries = {BAD.key}, set(), []

    def answer_to(self, request):
        key = (request.body["package"]["name"], request.body["version"])
        self.queries.append(key)
        package = {"name": key[0], "ecosystem": "PyPI"}
        vulnerability = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "summary": "bad"}
        answer = {"vulns": [vulnerability | {"affected": [AFFECTED | {"package": package}]}]}
        return (503 if key in self.failing else 200), (answer if key in self.bad else {})


@pytest.fixture
def osv():
    with Osv() as stub:
        yield stub


@pytest.fixture
def run_audit(osv, capsys):
    """Run an audit against the stub; return exit code, output and errors."""

    def run(*words):
        code = audit.main(["-s", "osv", "--osv-url", f"{osv.url}/", *words])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def few_locks(monkeypatch):
    """Use two small locks instead of all, and no advisories."""
    monkeypatch.setattr(audit, "LOCKS", ("status.lock", "uv.lock"))
    monkeypatch.setattr(audit, "advisories", lambda text: [])


def test_audit_queries_every_pin_once_after_the_bad_one(osv, run_audit):
    code, output, errors = run_audit()
    assert (code, errors) == (0, "")
    expected = {pin.key for lock in LOCKS for pin in pins(ROOT / "install" / lock)}
    assert osv.queries[0] == BAD.key
    assert sorted(osv.queries[1:]) == sorted(expected)
    totals = f"{len(LOCKS)} locks, {len(expected)} pinned versions"
    assert output.endswith(f"{totals}; known vulnerabilities: 0, ignored: 0\n")


def test_audit_vulnerable_pin_reports_lock_and_fix(osv, run_audit, few_locks):
    osv.bad.add(ANYIO)
    code, output, _ = run_audit("--json")
    (finding,) = json.loads(output)["findings"]
    assert code == 1
    assert finding["locks"] == ["status.lock"]
    assert (finding["id"], finding["aliases"]) == ("PYSEC-2026-1", ["CVE-2026-1"])
    assert finding["fixed_in"] == ["99"]


def test_audit_service_without_any_findings_fails(osv, run_audit, few_locks):
    osv.bad.clear()
    code, output, errors = run_audit()
    assert (code, output) == (1, "")
    assert "reports nothing even for a vulnerable package, jinja2 2.4.1" in errors
    assert osv.queries == [BAD.key]


def test_audit_service_failing_at_first_query_fails(osv, run_audit, few_locks):
    osv.failing.add(BAD.key)
    code, output, errors = run_audit()
    assert (code, output) == (1, "")
    assert errors.startswith("Error: Nothing was audited: the vulnerability service did not answer")
    assert "503" in errors
    assert "Try again with network access" in errors


def test_audit_service_failing_later_fails(osv, run_audit, few_locks):
    osv.failing.add(ANYIO)
    code, output, errors = run_audit()
    assert (code, output) == (1, "")
    assert errors.startswith("Error: The audit is incomplete. 503")


def test_audit_unreachable_service_prints_two_lines(osv, few_locks, capsys):
    code = audit.main(["-s", "osv", "--osv-url", "http://127.0.0.1:9/"])
    errors = capsys.readouterr().err
    assert code == 1
    assert "Nothing was audited" in errors
    assert "Connection refused" in errors
    assert errors.count("\n") == 2


@pytest.fixture
def settings(tmp_path):
    """Return settings of a clone that has locks and no images."""
    copy_repository(tmp_path, "install", ".env.example")
    (tmp_path / "orchestration").mkdir()
    return load_or_draft(Project(tmp_path, {}))


def test_sbom_contains_every_pin_and_hash_and_is_reproducible(settings):
    message = sbom.write("status", settings)
    file = settings.root / "sbom" / "status.cdx.json"
    expected = pins(ROOT / "install" / "status.lock")
    counts = f"{len(expected)} from PyPI, none from Debian."
    assert message.startswith(f"sbom/status.cdx.json: {counts}")
    first = file.read_bytes()
    bom = json.loads(first)
    assert len(bom["components"]) == len(expected)
    hashes = [file["hashes"] for one in bom["components"] for file in one["externalReferences"]]
    assert [len(each) for each in hashes] == [len(pin.hashes) for pin in expected]
    assert not {"serialNumber", "timestamp"} & {*bom, *bom["metadata"]}
    sbom.write("status", settings)
    assert file.read_bytes() == first


def test_sbom_of_two_locks_has_each_package_once(settings):
    pinned = sbom.pinned("airflow", ROOT)
    bom = sbom.python_part(pinned)
    assert [part["name"] for part in bom["components"]] == [pin.name for pin in pinned]


def test_sbom_with_debian_packages_matches_schema(settings, tmp_path):
    bom = sbom.python_part(pins(ROOT / "install" / "status.lock"))
    listing = "distro\tdebian\t12\ninstalled\tlibstdc++6\t1:12.2-14+deb12u1\tamd64\n"
    sbom.add_image(bom, "status", "sha256:1234", sbom.debian_packages(listing))
    sbom.save(bom, tmp_path / "sbom" / "complete.cdx.json")


def test_sbom_violating_schema_raises(settings, tmp_path):
    bom = sbom.python_part(pins(ROOT / "install" / "status.lock"))
    bom["components"][0]["type"] = "surprise"
    with pytest.raises(StackError, match="surprise"):
        sbom.save(bom, tmp_path / "sbom" / "broken.cdx.json")
