"""Attacks run against the installation that the tests of the engine use; each folder has one of its own."""

from tests.engine.conftest import api, make, output, place, raw, run

__all__ = ["api", "make", "output", "place", "raw", "run"]
