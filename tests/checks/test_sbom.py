"""Compare the SBOMs of the images with the locks, and test how Debian packages are added."""

import copy
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from checks import sbom
from checks.pins import Pin, pins
from orchestration.engines.base import IMAGES
from orchestration.errors import StackError
from orchestration.host.drafts import load_or_draft
from orchestration.project import Project

# Output of cyclonedx-py 7.5.0 without its metadata.
BOM = json.loads("""{"metadata": {"tools": {}}, "components": [
 {"bom-ref": "requirements-L1", "name": "anyio", "version": "4.16.0", "type": "library",
  "purl": "pkg:pypi/anyio@4.16.0", "externalReferences": [
   {"comment": "implicit dist url", "type": "distribution",
    "url": "https://pypi.org/simple/anyio/", "hashes": [
     {"alg": "SHA-256", "content": "ab"}, {"alg": "SHA-256", "content": "cd"}]}]}]}""")
ANYIO = Pin("anyio", "4.16.0", ("sha256:cd", "sha256:ab"))
LISTING = """distro\tdebian\t12
installed\tlibstdc++6\t12.2.0-14+deb12u1\tamd64
config-files\tgone\t1.0\tall
installed\tdash\t1:0.5.12-2~x\tamd64
installed\tlibc6\t2.36-9\tamd64
installed\tlibc6\t2.36-9\ti386
"""


def test_python_part_missing_or_foreign_package_raises(monkeypatch):
    def write(command, **_):
        out = command.argv[command.argv.index("-o") + 1]
        Path(out).write_text(json.dumps(BOM), "utf-8")

    monkeypatch.setattr(sbom.runner, "run", write)
    assert sbom.python_part([ANYIO])["components"] == BOM["components"]
    six = Pin("six", "1.16.0", ("sha256:00",))
    for pinned in ([], [ANYIO, six], [Pin("anyio", "4.16.1", ANYIO.hashes)]):
        with pytest.raises(StackError, match=r"differ from the pins: (anyio|six) "):
            sbom.python_part(pinned)


@pytest.mark.parametrize("name", sbom.IMAGE_LOCKS)
def test_pinned_has_each_package_of_the_locks_once(name):
    locked = [pin for lock in sbom.IMAGE_LOCKS[name] for pin in pins(sbom.ROOT / "install" / lock)]
    pinned = sbom.pinned(name, sbom.ROOT)
    assert [pin.key for pin in pinned] == sorted({pin.key for pin in locked})
    assert len({pin.key[0] for pin in pinned}) == len(pinned)
    assert set(locked) == set(pinned)


def test_every_own_image_has_an_sbom():
    assert set(IMAGES) <= set(sbom.IMAGE_LOCKS)


def test_locks_of_an_image_are_in_its_dockerfile():
    install = sbom.ROOT / "install"
    for name, locks in sbom.IMAGE_LOCKS.items():
        if not locks:
            continue
        folder = install / "base" if name == "postgres" else install
        dockerfile = (folder / f"{name}.dockerfile").read_text(encoding="utf-8")
        assert all(lock.rpartition("/")[2] in dockerfile for lock in locks), name


def test_debian_packages_have_distribution_and_no_removed_ones():
    parts = list(sbom.debian_packages(LISTING))
    assert {part["name"] for part in parts} == {"dash", "libc6", "libstdc++6"}
    purls = [part["purl"] for part in parts]
    assert purls == [
        "pkg:deb/debian/dash@1:0.5.12-2~x?arch=amd64&distro=debian-12",
        "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12",
        "pkg:deb/debian/libc6@2.36-9?arch=i386&distro=debian-12",
        "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12",
    ]


@pytest.mark.parametrize(
    "listing",
    ["", "sh: dpkg-query: not found\n", "distro\tdebian\t12\n", LISTING.partition("\n")[2]],
)
def test_debian_packages_empty_listing_raises(listing):
    with pytest.raises(StackError, match="lists no Debian packages"):
        sbom.debian_packages(listing)


def test_add_image_adds_packages_and_image_id():
    bom = copy.deepcopy(BOM)
    debian = sbom.debian_packages(LISTING)
    sbom.add_image(bom, "status", "sha256:1234", debian)
    assert bom["components"] == [*BOM["components"], *debian]
    assert bom["metadata"]["component"]["version"] == "sha256:1234"
    assert {"name": "mlops-stack:image-id", "value": "sha256:1234"} in bom["metadata"]["properties"]
    references = [part["bom-ref"] for part in bom["components"]]
    assert len(set(references)) == len(references)


def test_foreign_reason_public_image_is_named():
    ours, public = (SimpleNamespace(labels=labels) for labels in ({sbom.BUILD_LABEL: "x"}, {}))
    settings = load_or_draft(Project(sbom.ROOT, os.environ))
    for name in ("postgres", "redis"):
        assert "was not built here" in sbom.foreign_reason(name, public, settings)
        assert sbom.foreign_reason(name, ours, settings) == ""
        assert sbom.foreign_reason(name, None, settings) == ""
    assert sbom.foreign_reason("status", public, settings) == ""


@pytest.mark.parametrize(("base", "named"), [("debian:x", ""), ("apache/airflow:3.0.1", "apache")])
def test_foreign_reason_airflow_on_other_base_image_is_named(base, named):
    values = {"DEBIAN_IMAGE": "debian:x", "AIRFLOW_BASE_IMAGE": base}
    reason = sbom.foreign_reason("airflow", None, values)
    assert reason.startswith(f"The image is based on {named}" if named else "")
    assert bool(reason) == bool(named)


def test_sbom_without_cyclonedx_fails(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sbom.main() == 1
    assert capsys.readouterr().err == "Error: cyclonedx-py is not on PATH.\nRun: nox -s audit\n"
