"""What the checks of `nox` need beyond a command."""
