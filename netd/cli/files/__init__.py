"""Copies of files between the caller's disk and archives, for ``cp`` and ``export``."""
