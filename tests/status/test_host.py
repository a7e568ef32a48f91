"""Free disk space, and the report of the last backup."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from status import host

GIB = 2**30


@pytest.fixture
def report(tmp_path):
    """Write the report of a backup that is some days old, and return its path."""

    def write(days=1.0, **fields):
        made_at = datetime.now(UTC) - timedelta(days=days)
        document = {"made_at": made_at.isoformat(), "verified": True, "detail": "12 tables"}
        path = tmp_path / "report.json"
        path.write_text(json.dumps(document | fields))
        return str(path)

    return write


@pytest.mark.parametrize(
    ("free", "size", "state"),
    [
        (100, 200, "up"),
        # 2 GiB are enough on a large disk, 5 % on a small one.
        (3, 1000, "up"),
        (1, 1000, "degraded"),
        (1, 10, "up"),
        (0.4, 10, "degraded"),
        (0, 10, "degraded"),
    ],
)
def test_disk_nearly_full_is_degraded(monkeypatch, free, size, state):
    block = 4096
    counts = {
        "f_frsize": block,
        "f_bavail": int(free * GIB / block),
        "f_blocks": size * GIB / block,
    }
    # Blocks reserved for root do not count as free.
    stats = type("Stats", (), {**counts, "f_bfree": counts["f_blocks"], "f_bsize": 1})
    monkeypatch.setattr(os, "statvfs", {"/data": stats}.__getitem__)
    verdict, space = host.disk("/data")
    assert (verdict.name, verdict.state) == ("disk", state)
    assert f"{free:.1f} GiB free of {size} GiB" in verdict.detail
    assert space == host.Disk(int(free * GIB / block) * block, size * GIB)


def test_disk_of_a_folder_has_size_and_free_space(tmp_path):
    _, space = host.disk(str(tmp_path))
    assert 0 < space.free <= space.size


def test_disk_of_a_missing_folder_is_unknown(tmp_path):
    verdict, space = host.disk(str(tmp_path / "absent"))
    assert (verdict.state, space) == ("unknown", None)
    assert "No such file" in verdict.detail


@pytest.mark.parametrize(
    ("days", "fields", "state", "detail"),
    [
        (1, {}, "up", "12 tables"),
        (7.9, {}, "up", "12 tables"),
        (8.1, {}, "degraded", "12 tables"),
        (1, {"detail": ""}, "up", "verified"),
        (1, {"verified": False}, "down", "12 tables"),
        (1, {"verified": False, "detail": ""}, "down", "not verified"),
        (90, {"verified": False}, "down", "12 tables"),
        # Only `true` counts as verified.
        (1, {"verified": "false"}, "down", "12 tables"),
        (1, {"verified": 1}, "down", "12 tables"),
        (1, {"detail": "x" * 900}, "up", "x" * 160),
    ],
)
def test_backup_state_depends_on_verification_and_age(report, days, fields, state, detail):
    verdict = host.backup(report(days, **fields))
    assert (verdict.name, verdict.state, verdict.detail) == ("backup", state, detail)
    age = datetime.now(UTC) - verdict.seen
    assert age.total_seconds() == pytest.approx(days * 86400, abs=5)


@pytest.mark.parametrize("path", ["", "/absent/report.json"])
def test_backup_without_report_is_unknown(path):
    verdict = host.backup(path)
    assert (verdict.state, verdict.detail, verdict.seen) == ("unknown", "no backup report", None)


def made_at(moment):
    return json.dumps({"made_at": moment, "verified": True, "detail": "12 tables"}).encode()


@pytest.mark.parametrize(
    "junk",
    [b"", b"{", b"[]", b"null", b'"ok"', b"{}", b"\xff\xfe"]
    + [made_at(moment) for moment in ("yesterday", 17, None, "2026-01-01T00:00")],
)
def test_backup_with_invalid_report_is_unknown(tmp_path, junk):
    path = tmp_path / "report.json"
    path.write_bytes(junk)
    verdict = host.backup(str(path))
    assert (verdict.state, verdict.detail) == ("unknown", "cannot read the backup report")


@pytest.mark.parametrize("name", ["", "x" * 300])
def test_backup_with_unreadable_report_is_unknown(tmp_path, name):
    assert host.backup(str(tmp_path / name)).state == "unknown"
