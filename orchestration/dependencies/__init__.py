"""Manage lock files, uv, the Python version and requirements.txt."""
