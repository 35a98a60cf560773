"""The fixtures of tests/engine; each folder has its own installation."""

from tests.engine.conftest import api, make, output, place, raw, run

__all__ = ["api", "make", "output", "place", "raw", "run"]
