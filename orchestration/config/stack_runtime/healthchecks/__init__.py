"""Health checks of containers and processes: run by path, importing as little as possible."""
