"""Create, verify, restore and drill backups."""
