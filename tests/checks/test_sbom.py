"""Bills of material: what is in them against the locks, and Debian's packages added to them."""

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

# As cyclonedx-py 7.5.0 gives it, without its metadata.
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


def test_a_bill_that_lacks_a_package_or_holds_a_stranger_is_refused(monkeypatch):
    def write(command, **_):
        out = command.argv[command.argv.index("-o") + 1]
        Path(out).write_text(json.dumps(BOM), "utf-8")

    monkeypatch.setattr(sbom.runner, "run", write)
    assert sbom.python_part([ANYIO])["components"] == BOM["components"]
    six = Pin("six", "1.16.0", ("sha256:00",))
    for pinned in ([], [ANYIO, six], [Pin("anyio", "4.16.1", ANYIO.hashes)]):
        with pytest.raises(StackError, match=r"not give as pinned: (anyio|six) "):
            sbom.python_part(pinned)


@pytest.mark.parametrize("name", sbom.LOCKS_OF)
def test_an_image_holds_each_package_of_its_locks_once_from_the_same_files(name):
    pinned = [pin for lock in sbom.LOCKS_OF[name] for pin in pins(sbom.ROOT / "install" / lock)]
    held = sbom.pinned(name, sbom.ROOT)
    assert [pin.key for pin in held] == sorted({pin.key for pin in pinned})
    assert len({pin.key[0] for pin in held}) == len(held)
    assert set(pinned) == set(held)


def test_every_image_made_here_has_a_bill():
    assert set(IMAGES) <= set(sbom.LOCKS_OF)


def test_the_locks_of_an_image_are_those_its_recipe_installs():
    install = sbom.ROOT / "install"
    for name, locks in sbom.LOCKS_OF.items():
        if not locks:
            continue
        folder = install / "base" if name == "postgres" else install
        recipe = (folder / f"{name}.dockerfile").read_text(encoding="utf-8")
        assert all(lock.rpartition("/")[2] in recipe for lock in locks), name


def test_debian_packages_are_named_with_their_distribution_without_those_that_were_removed():
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
def test_an_image_that_lists_nothing_is_a_failure(listing):
    with pytest.raises(StackError, match="lists no Debian packages"):
        sbom.debian_packages(listing)


def test_an_image_s_packages_are_added_with_its_id():
    bom = copy.deepcopy(BOM)
    debian = sbom.debian_packages(LISTING)
    sbom.add_image(bom, "status", "sha256:1234", debian)
    assert bom["components"] == [*BOM["components"], *debian]
    assert bom["metadata"]["component"]["version"] == "sha256:1234"
    assert {"name": "mlops-stack:image-id", "value": "sha256:1234"} in bom["metadata"]["properties"]
    references = [part["bom-ref"] for part in bom["components"]]
    assert len(set(references)) == len(references)


def test_an_image_of_others_gets_no_bill_of_our_locks():
    ours, public = (SimpleNamespace(labels=labels) for labels in ({sbom.MADE_HERE: "x"}, {}))
    settings = load_or_draft(Project(sbom.ROOT, os.environ))
    for name in ("postgres", "redis"):
        assert "was not made here" in sbom.foreign(name, public, settings)
        assert sbom.foreign(name, ours, settings) == ""
        assert sbom.foreign(name, None, settings) == ""
    assert sbom.foreign("status", public, settings) == ""


@pytest.mark.parametrize(("base", "told"), [("debian:x", ""), ("apache/airflow:3.0.1", "apache")])
def test_airflow_on_a_base_of_others_gets_no_bill_of_our_locks(base, told):
    given = {"DEBIAN_IMAGE": "debian:x", "AIRFLOW_BASE_IMAGE": base}
    assert sbom.foreign("airflow", None, given).startswith(f"it stands on {told}" if told else "")
    assert bool(sbom.foreign("airflow", None, given)) == bool(told)


def test_without_cyclonedx_no_bill_is_claimed(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sbom.main() == 1
    assert capsys.readouterr().err == "sbom: cyclonedx-py is not on PATH: nox -s audit\n"
