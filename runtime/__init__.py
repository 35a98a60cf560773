"""The container runtime beside netd: containers, images and volumes, with Docker's API."""

VERSION = "0.1.0"
"""The same as in pyproject.toml."""
