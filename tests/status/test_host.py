"""Files: a disk that fills up, and the report of the last backup in all its states."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from status import host

GIB = 2**30


@pytest.fixture
def report(tmp_path):
    """Write a report of a backup made some days ago; its path."""

    def write(days=1.0, **parts):
        made_at = datetime.now(UTC) - timedelta(days=days)
        said = {"made_at": made_at.isoformat(), "verified": True, "detail": "12 tables"} | parts
        path = tmp_path / "report.json"
        path.write_text(json.dumps(said))
        return str(path)

    return write


@pytest.mark.parametrize(
    ("free", "size", "state"),
    [
        (100, 200, "up"),
        # Of a large disk 2 GiB are enough, of a small one 5 %.
        (3, 1000, "up"),
        (1, 1000, "degraded"),
        (1, 10, "up"),
        (0.4, 10, "degraded"),
        (0, 10, "degraded"),
    ],
)
def test_a_disk_nearly_full_is_degraded(monkeypatch, free, size, state):
    block = 4096
    counts = {
        "f_frsize": block,
        "f_bavail": int(free * GIB / block),
        "f_blocks": size * GIB / block,
    }
    # The blocks kept for root do not count as free.
    found = type("Found", (), {**counts, "f_bfree": counts["f_blocks"], "f_bsize": 1})
    monkeypatch.setattr(os, "statvfs", {"/data": found}.__getitem__)
    verdict, space = host.disk("/data")
    assert (verdict.name, verdict.state) == ("disk", state)
    assert f"{free:.1f} GiB free of {size} GiB" in verdict.detail
    assert space == host.Disk(int(free * GIB / block) * block, size * GIB)


def test_the_disk_of_a_folder_is_read(tmp_path):
    _, space = host.disk(str(tmp_path))
    assert 0 < space.free <= space.size


def test_a_disk_that_is_not_there_is_unknown(tmp_path):
    verdict, space = host.disk(str(tmp_path / "absent"))
    assert (verdict.state, space) == ("unknown", None)
    assert "No such file" in verdict.detail


@pytest.mark.parametrize(
    ("days", "parts", "state", "detail"),
    [
        (1, {}, "up", "12 tables"),
        (7.9, {}, "up", "12 tables"),
        (8.1, {}, "degraded", "12 tables"),
        (1, {"detail": ""}, "up", "verified"),
        (1, {"verified": False}, "down", "12 tables"),
        (1, {"verified": False, "detail": ""}, "down", "not verified"),
        (90, {"verified": False}, "down", "12 tables"),
        # Only `true` is proof.
        (1, {"verified": "false"}, "down", "12 tables"),
        (1, {"verified": 1}, "down", "12 tables"),
        (1, {"detail": "x" * 900}, "up", "x" * 160),
    ],
)
def test_a_backup_is_well_if_it_was_verified_within_the_last_days(
    report, days, parts, state, detail
):
    verdict = host.backup(report(days, **parts))
    assert (verdict.name, verdict.state, verdict.detail) == ("backup", state, detail)
    age = datetime.now(UTC) - verdict.seen
    assert age.total_seconds() == pytest.approx(days * 86400, abs=5)


@pytest.mark.parametrize("path", ["", "/absent/report.json"])
def test_a_backup_that_nobody_knows_of_is_unknown(path):
    verdict = host.backup(path)
    assert (verdict.state, verdict.detail, verdict.seen) == ("unknown", "none is known of", None)


def made_at(moment):
    return json.dumps({"made_at": moment, "verified": True, "detail": "12 tables"}).encode()


@pytest.mark.parametrize(
    "junk",
    [b"", b"{", b"[]", b"null", b'"well"', b"{}", b"\xff\xfe"]
    + [made_at(moment) for moment in ("yesterday", 17, None, "2026-01-01T00:00")],
)
def test_a_report_that_is_junk_or_has_no_moment_proves_nothing(tmp_path, junk):
    path = tmp_path / "report.json"
    path.write_bytes(junk)
    verdict = host.backup(str(path))
    assert (verdict.state, verdict.detail) == ("unknown", "its report cannot be read")


@pytest.mark.parametrize("name", ["", "x" * 300])
def test_a_report_that_cannot_be_opened_is_a_verdict_too(tmp_path, name):
    assert host.backup(str(tmp_path / name)).state == "unknown"
