"""Imported by the bad DAGs beside it."""
