"""Minimum and recommended resources, and time limits."""

from datetime import UTC, datetime

MEMORY_NEEDED_GIB, MEMORY_ADVISED_GIB = 4, 8
# Firmware and kernel reserve a part of the nominal memory.
MEMORY_TOLERANCE = 0.95
CPUS_NEEDED, CPUS_ADVISED = 1, 2
# Free space for data and images or environments, and for a clone on a disk of its own.
DISK_NEEDED_GIB, CLONE_NEEDED_GIB = 6, 1
OLDEST_ENGINE, OLDEST_COMPOSE = (20, 10), (2, 20)
# When this line was written: no correct clock shows an earlier time.
EARLIEST = datetime(2026, 11, 1, tzinfo=UTC)
# Between containers and this machine, and to the package index. S3 rejects 15 minutes.
CLOCK_SKEW_SECONDS, INDEX_SKEW_SECONDS = 30, 300
# For requests to other machines.
PATIENCE_SECONDS = 3

GIB = 1024**3
