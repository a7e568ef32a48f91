"""What the stack needs of a machine, in numbers."""

from datetime import UTC, datetime

MEMORY_NEEDED_GIB, MEMORY_ADVISED_GIB = 4, 8
# Firmware and kernel keep a part of what a machine is sold with.
MEMORY_TOLERANCE = 0.95
CPUS_NEEDED, CPUS_ADVISED = 1, 2
# Where images or environments and the data go; where only the clone is.
DISK_NEEDED_GIB, CLONE_NEEDED_GIB = 6, 1
OLDEST_ENGINE, OLDEST_COMPOSE = (20, 10), (2, 20)
# No clock can be right that is before this was written.
EARLIEST = datetime(2026, 11, 1, tzinfo=UTC)
# Between containers and this machine; against the world, where S3 refuses after 15 minutes.
CLOCK_SKEW_SECONDS, INDEX_SKEW_SECONDS = 30, 300
# For questions that leave this machine.
PATIENCE_SECONDS = 3

GIB = 1024**3
