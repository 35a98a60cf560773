"""This process's file descriptor limit and usage."""

from __future__ import annotations

import os
import resource


def raise_limit() -> tuple[int, int]:
    """Raise the soft limit to the hard limit; return the former (soft, hard) limits."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    return before


def in_use() -> tuple[int, int]:
    """Return the number of open descriptors and the limit."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        with os.scandir("/proc/self/fd") as opened:
            return sum(1 for _ in opened) - 1, limit
    except OSError:
        return limit, limit  # No descriptor is left for the scan itself.
