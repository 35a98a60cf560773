"""The command ``netd``: reads the flags and the configuration file, and runs the daemon."""

from __future__ import annotations

import os
import sys

from netd import log_output, process_memory
from netd.common import folders
from netd.common.config import Settings
from netd.common.daemon_locks import lock, lock_state
from netd.common.errors import Problem
from netd.common.http import aiohttp_root
from netd.common.http.listening_socket import listening
from netd.settings.command_line import Loaded, load

DESCRIPTION = "container networks, addresses, published ports and names, on RUN/netd.sock"


def main() -> None:
    try:
        loaded = load("netd", DESCRIPTION, check=_check)
    except Problem as problem:
        sys.exit(f"netd: {problem.message}")
    log_output.start("netd", loaded.settings.log_level, loaded.settings.log_format)
    _run(loaded)


def _check(settings: Settings) -> None:
    from netd.daemon import check

    check(settings)


def _run(loaded: Loaded) -> None:
    if os.geteuid() != 0:
        sys.exit("netd: needs root: run it with sudo, or start its unit with systemctl start netd")
    # Imported here, so that --help and --version do not wait for it.
    from netd.common import resource_errors

    try:
        _serve(loaded)
    except Problem as problem:
        sys.exit(f"netd: {problem.message}")
    except (OSError, RuntimeError) as error:
        action = "cannot start"
        shortage = resource_errors.problem(error, action)
        if shortage is None and isinstance(error, RuntimeError):
            raise  # the only expected RuntimeError is a thread that cannot be started
        sys.exit(f"netd: {shortage.message if shortage else f'{action}: {error}'}")


def _serve(loaded: Loaded) -> None:
    """Lock the folders and listen, then load the daemon: clients wait for their answers meanwhile."""
    process_memory.begin()
    settings = loaded.settings
    folders.prepare(settings)
    lock(settings.run_dir / "netd.lock", "netd")
    lock_state(settings.state_dir / "netd.lock", "netd")
    with listening(settings.run_dir / "netd.sock", settings.group) as opened:
        aiohttp_root.install()
        import asyncio

        from netd.daemon import run

        asyncio.run(run(loaded, opened))


if __name__ == "__main__":
    main()
