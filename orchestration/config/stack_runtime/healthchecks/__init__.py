"""Health checks of containers and processes. They run by path and import little."""
