"""Creation, start, stop, restart, exec, health checks and removal of containers."""
