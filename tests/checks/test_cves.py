"""docs/cves.md and the audit's list say the same, and both fit the locks. No service is asked."""

import re
from collections import Counter

import pytest
from packaging.utils import canonicalize_name

from checks import audit, links
from checks.pins import pins
from orchestration.dependencies.locks import LOCKS

PAGE = (audit.ROOT / "docs" / "cves.md").read_text(encoding="utf-8")
LISTED = audit.entries((audit.ROOT / audit.IGNORED).read_text(encoding="utf-8"))
HEADING = "| id | package | fixed in | what | here |"


def rows():
    """Each id of the page's tables, as the audit's list would have it, and what is said of it."""
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        (see,) = links.anchors(f"# {section.splitlines()[0]}")
        for line in section.splitlines():
            if line.startswith("| ") and line != HEADING:
                ids, package, fixed, what, here = line.strip("| ").split(" | ")
                for name in ids.split(", "):
                    yield audit.Ignored(name, package, see, fixed, None), what, here


def versions(package):
    every = {pin.key for lock in LOCKS for pin in pins(audit.ROOT / "install" / lock)}
    return {version for name, version in every if name == canonicalize_name(package)}


def spelled(one):
    return (one.see, one.package, one.id, one.fixed)


def test_the_page_has_rows():
    assert len(list(rows())) > 100


@pytest.mark.parametrize(("row", "what", "here"), [*rows()], ids=lambda one: getattr(one, "id", ""))
def test_a_row_is_whole(row, what, here):
    assert audit.ID.fullmatch(row.id), row.id
    assert audit._is_version(row.fixed), row.fixed
    assert what, row.id
    assert here, row.id
    assert versions(row.package), f"{row.package} is in no lock"


def test_an_id_has_one_row():
    assert {name: n for name, n in Counter(row.id for row, _, _ in rows()).items() if n > 1} == {}


def test_what_a_locked_version_has_is_in_the_list_and_nothing_else_is():
    has = {spelled(row) for row, _, _ in rows() if any(map(row.touches, versions(row.package)))}
    listed = {spelled(one) for one in LISTED}
    assert has - listed == set(), "told in docs/cves.md, missing in the audit's list"
    assert listed - has == set(), "in the audit's list, not told under that heading"


def test_the_list_has_no_entry_of_a_version_that_is_gone():
    held = {lock: pins(audit.ROOT / "install" / lock) for lock in LOCKS}
    earlier = min(one.until for one in LISTED)
    assert [audit.problem(one, held, earlier) for one in LISTED] == [""] * len(LISTED)


def test_every_table_has_the_same_columns():
    tables = re.findall(r"^(\|.*)\n\|[-|]+\|$", PAGE, re.MULTILINE)
    assert set(tables) == {HEADING}


def test_settings_named_as_mitigation_are_set():
    compose = (audit.ROOT / "orchestration" / "docker-compose.yaml").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:AIRFLOW__|MLFLOW_)[A-Z_]+)`", PAGE))
    assert named
    assert [name for name in named if f"{name}:" not in compose] == []
