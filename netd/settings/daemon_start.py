"""The start of a daemon: flags, log, locks and socket come before the daemon's own code is loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias

from netd import log_output, process_memory
from netd.common import folders
from netd.common.config import Settings
from netd.common.daemon_locks import lock, lock_state
from netd.common.errors import Problem
from netd.common.http import aiohttp_root
from netd.common.http.listening_socket import ListeningSocket, listening
from netd.settings.command_line import Check, Loaded, load

Run: TypeAlias = Callable[[Loaded, ListeningSocket], Coroutine[Any, Any, None]]


def start(
    name: str,
    description: str,
    *,
    check: Check,
    socket: Callable[[Settings], Path],
    load_run: Callable[[Settings], Run],
) -> None:
    """Run the daemon *name* until it ends; errors end the process with a message.

    *check* validates settings for ``--check-config``.  *load_run* imports the daemon and returns its main coroutine
    function; it is called when the daemon listens at *socket*, so that clients wait for their answers meanwhile.
    """
    try:
        loaded = load(name, description, check=check)
    except Problem as problem:
        sys.exit(f"{name}: {problem.message}")
    log_output.start(name, loaded.settings.log_level, loaded.settings.log_format)
    if os.geteuid() != 0:
        sys.exit(f"{name}: needs root: run it with sudo, or start its unit with systemctl start {name}")
    # Imported here, so that --help and --version do not wait for it.
    from netd.common import resource_errors

    try:
        _serve(name, loaded, socket(loaded.settings), load_run)
    except Problem as problem:
        sys.exit(f"{name}: {problem.message}")
    except (OSError, RuntimeError) as error:
        action = "cannot start"
        shortage = resource_errors.problem(error, action)
        if shortage is None and isinstance(error, RuntimeError):
            raise  # the only expected RuntimeError is a thread that cannot be started
        sys.exit(f"{name}: {shortage.message if shortage else f'{action}: {error}'}")


def _serve(name: str, loaded: Loaded, socket: Path, load_run: Callable[[Settings], Run]) -> None:
    process_memory.begin()
    settings = loaded.settings
    folders.prepare(settings)
    lock(settings.run_dir / f"{name}.lock", name)
    lock_state(settings.state_dir / f"{name}.lock", name)
    with listening(socket, settings.group) as opened:
        aiohttp_root.install()
        import asyncio

        asyncio.run(load_run(settings)(loaded, opened))
