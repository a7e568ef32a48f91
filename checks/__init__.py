"""Implement the checks of `nox` that need more than a command."""
