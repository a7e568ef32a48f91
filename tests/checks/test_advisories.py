"""Compare checks/advisories.toml with the locks and its page, without a network."""

import re
from collections import Counter

import pytest
from packaging.utils import canonicalize_name

from checks import advisories, audit
from checks.pins import pins
from orchestration.dependencies.locks import LOCKS
from orchestration.errors import StackError

TEXT = (advisories.ROOT / advisories.FILE).read_text("utf-8")
ENTRIES = advisories.advisories(TEXT)
PAGE = (advisories.ROOT / "docs/advisories.md").read_text("utf-8")
KEYS = {pin.key for lock in LOCKS for pin in pins(advisories.ROOT / "install" / lock)}
SECTION = """
[[section]]
heading = "Templates"
until = 2026-12-31
rows = [
    { ids = ["CVE-2019-10906"], package = "Jinja2", fixed = "2.10.1", what = "x", here = "y" },
]
"""


def test_id_is_in_one_row_only():
    assert len(ENTRIES) > 100
    assert [id for id, rows in Counter(one.id for one in ENTRIES).items() if rows > 1] == []


@pytest.mark.parametrize("one", ENTRIES, ids=lambda one: one.id)
def test_id_has_last_day_only_if_locked_version_is_affected(one):
    versions = {version for name, version in KEYS if name == canonicalize_name(one.package)}
    assert versions, f"{one.package} is in no lock"
    assert bool(one.until) == any(map(one.affects, versions))


def test_every_entry_fits_the_locks():
    current = [one for one in ENTRIES if one.until]
    earliest = min(one.until for one in current)
    assert [problem for one in current if (problem := audit.problem(one, KEYS, earliest))] == []


def test_settings_named_as_mitigation_are_set():
    compose = (advisories.ROOT / "orchestration" / "docker-compose.yaml").read_text("utf-8")
    names = set(re.findall(r"`((?:AIRFLOW__|MLFLOW_)[A-Z_]+)`", PAGE))
    assert names
    assert [name for name in names if f"{name}:" not in compose] == []


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("2026-12-31", '"2026-12-31"', "until"),
        ("2026-12-31", "2026-12-31T00:00:00", "until"),
        ('"CVE-2019-10906"', '"because"', "ids"),
        ('"CVE-2019-10906"', "", "ids"),
        ('["CVE-2019-10906"]', '"CVE-2019-10906"', "ids"),
        ('"2.10.1"', "2.10", "fixed"),
        ("2.10.1", "soon", "fixed"),
        (', here = "y"', "", "here"),
        ('"y"', '"y | z"', "here"),
        ("what", "why", "what, why"),
    ],
)
def test_load_invalid_row_names_section_and_key(old, new, key):
    with pytest.raises(StackError, match=rf"advisories.toml: Templates: .* invalid: {key}$"):
        advisories.load(SECTION.replace(old, new))


def test_load_invalid_toml_names_line():
    with pytest.raises(StackError, match=r"advisories.toml: .*line 2"):
        advisories.load("\n[a b]")


def test_example_in_the_file_is_valid():
    lines = [line[4:] for line in TEXT.splitlines() if line.startswith("#   ")]
    (example,) = advisories.advisories("\n".join(lines))
    assert (example.id, example.until.year) == ("CVE-2019-10906", 2026)


def test_row_may_override_last_day():
    (one,) = advisories.advisories(SECTION.replace('"y" }', '"y", until = 2026-11-30 }'))
    assert one.until.isoformat() == "2026-11-30"
