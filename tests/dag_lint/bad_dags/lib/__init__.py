"""Provide helpers that the bad DAGs import."""
