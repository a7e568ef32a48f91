"""The real pip-audit against a stub that speaks OSV's language, and the real cyclonedx-py."""

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
    """Knows a vulnerability in each of `bad`, 503 for those of `failing`; keys of pins."""

    def __init__(self):
        super().__init__()
        self.bad, self.failing, self.asked = {BAD.key}, set(), []

    def answer_to(self, request):
        key = (request.body["package"]["name"], request.body["version"])
        self.asked.append(key)
        package = {"name": key[0], "ecosystem": "PyPI"}
        known = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "summary": "bad"}
        found = {"vulns": [known | {"affected": [AFFECTED | {"package": package}]}]}
        return (503 if key in self.failing else 200), (found if key in self.bad else {})


@pytest.fixture
def osv():
    with Osv() as stub:
        yield stub


@pytest.fixture
def audited(osv, capsys):
    """Exit code, output and errors of an audit by the stub."""

    def run(*words):
        code = audit.main(["-s", "osv", "--osv-url", f"{osv.url}/", *words])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def few_locks(monkeypatch):
    """Two small locks instead of all, where their number does not matter, and no advisories."""
    monkeypatch.setattr(audit, "LOCKS", ("status.lock", "uv.lock"))
    monkeypatch.setattr(audit, "advisories", lambda text: [])


def test_every_pin_of_every_lock_is_asked_for_once_after_the_bad_one(osv, audited):
    code, said, errors = audited()
    assert (code, errors) == (0, "")
    wanted = {pin.key for lock in LOCKS for pin in pins(ROOT / "install" / lock)}
    assert osv.asked[0] == BAD.key
    assert sorted(osv.asked[1:]) == sorted(wanted)
    assert said.endswith(
        f"{len(LOCKS)} locks, {len(wanted)} pinned versions; known vulnerabilities: 0, ignored: 0\n"
    )


def test_a_bad_pin_is_found_with_its_lock_and_what_mends_it(osv, audited, few_locks):
    osv.bad.add(ANYIO)
    code, said, _ = audited("--json")
    (finding,) = json.loads(said)["findings"]
    assert code == 1
    assert finding["locks"] == ["status.lock"]
    assert (finding["id"], finding["aliases"]) == ("PYSEC-2026-1", ["CVE-2026-1"])
    assert finding["fixed_in"] == ["99"]


def test_a_service_that_knows_nothing_is_not_believed(osv, audited, few_locks):
    osv.bad.clear()
    code, said, errors = audited()
    assert (code, said) == (1, "")
    assert "finds nothing even in a package that is known to be bad, jinja2 2.4.1" in errors
    assert osv.asked == [BAD.key]


def test_a_service_that_fails_at_once_is_told_as_nothing_audited(osv, audited, few_locks):
    osv.failing.add(BAD.key)
    code, said, errors = audited()
    assert (code, said) == (1, "")
    assert errors.startswith("audit: nothing was audited: the vulnerability service did not answer")
    assert "503" in errors
    assert "next: try again with network" in errors


def test_a_service_that_fails_later_passes_nothing(osv, audited, few_locks):
    osv.failing.add(ANYIO)
    code, said, errors = audited()
    assert (code, said) == (1, "")
    assert errors.startswith("audit: not all was audited: 503")


def test_a_service_that_is_not_there_is_told_in_one_line(osv, few_locks, capsys):
    code = audit.main(["-s", "osv", "--osv-url", "http://127.0.0.1:9/"])
    errors = capsys.readouterr().err
    assert code == 1
    assert "nothing was audited" in errors
    assert "Connection refused" in errors
    assert errors.count("\n") == 1


@pytest.fixture
def settings(tmp_path):
    """Settings of a clone that has locks and no images."""
    copy_repository(tmp_path, "install", ".env.example")
    (tmp_path / "orchestration").mkdir()
    return load_or_draft(Project(tmp_path, {}))


def test_a_bill_holds_every_pin_and_hash_and_is_the_same_twice(settings):
    told = sbom.write("status", settings)
    file, wanted = (
        settings.root / "sbom" / "status.cdx.json",
        pins(ROOT / "install" / "status.lock"),
    )
    assert told.startswith(f"sbom/status.cdx.json: {len(wanted)} from PyPI, none from Debian:")
    first = file.read_bytes()
    bom = json.loads(first)
    assert len(bom["components"]) == len(wanted)
    hashes = [file["hashes"] for one in bom["components"] for file in one["externalReferences"]]
    assert [len(each) for each in hashes] == [len(pin.hashes) for pin in wanted]
    assert not {"serialNumber", "timestamp"} & {*bom, *bom["metadata"]}
    sbom.write("status", settings)
    assert file.read_bytes() == first


def test_a_bill_of_two_locks_holds_each_package_once(settings):
    wanted = sbom.pinned("airflow", ROOT)
    bom = sbom.python_part(wanted)
    assert [part["name"] for part in bom["components"]] == [pin.name for pin in wanted]


def test_a_bill_with_debian_packages_keeps_to_the_schema(settings, tmp_path):
    bom = sbom.python_part(pins(ROOT / "install" / "status.lock"))
    listing = "distro\tdebian\t12\ninstalled\tlibstdc++6\t1:12.2-14+deb12u1\tamd64\n"
    sbom.add_image(bom, "status", "sha256:1234", sbom.debian_packages(listing))
    sbom.save(bom, tmp_path / "sbom" / "whole.cdx.json")


def test_a_bill_against_the_schema_is_refused(settings, tmp_path):
    bom = sbom.python_part(pins(ROOT / "install" / "status.lock"))
    bom["components"][0]["type"] = "surprise"
    with pytest.raises(StackError, match="surprise"):
        sbom.save(bom, tmp_path / "sbom" / "broken.cdx.json")
