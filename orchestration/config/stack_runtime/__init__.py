"""What the services run besides their packages: all that is importable from /opt/stack."""
