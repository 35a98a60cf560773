"""Requests that meet the exit of a container's process: its control group is removed before the exit is recorded."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable

from runtime.shim_client.supervisor import Running

_SECONDS = 1.0
"""How long the exit, which may be the cause of a failure, is waited for."""


async def ends(process: Running) -> bool:
    """Return whether the process has ended or ends now."""
    try:
        await asyncio.wait_for(process.wait(), _SECONDS)
    except TimeoutError:
        return False
    return True


async def unless_gone(change: Awaitable[None]) -> bool:
    """Await a change of a control group; return False if its processes have ended, with which it is removed."""
    try:
        await change
    except OSError as error:
        if not is_gone(error):
            raise
        return False
    return True


def is_gone(error: OSError) -> bool:
    """Return whether a change of a control group may have failed because the group was removed."""
    return error.errno in (errno.ENOENT, errno.ENODEV)
