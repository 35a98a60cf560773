"""``netd-runtime``: reads flags and configuration file, and runs the daemon."""

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
from runtime.paths import Paths

DESCRIPTION = "containers, images and volumes, with Docker's API on RUN/docker.sock"


def main() -> None:
    try:
        loaded = load("netd-runtime", DESCRIPTION, check=_check)
    except Problem as error:
        sys.exit(f"netd-runtime: {error.message}")
    log_output.start("netd-runtime", loaded.settings.log_level, loaded.settings.log_format)
    _run(loaded)


def _check(settings: Settings) -> None:
    from runtime.daemon import check

    check(settings)


def _run(loaded: Loaded) -> None:
    if os.geteuid() != 0:
        sys.exit("netd-runtime: needs root: run it with sudo, or start its unit with systemctl start netd-runtime")
    # Imported here, so that --help and --version do not wait for it.
    from netd.common import resource_errors

    try:
        _serve(loaded)
    except Problem as error:
        sys.exit(f"netd-runtime: {error.message}")
    except (OSError, RuntimeError) as error:
        what = "cannot start"
        problem = resource_errors.problem(error, what)
        if problem is None and isinstance(error, RuntimeError):
            raise  # Other RuntimeErrors than a thread that cannot be started are bugs.
        sys.exit(f"netd-runtime: {problem.message if problem else f'{what}: {error}'}")


def _serve(loaded: Loaded) -> None:
    """Lock the folders and listen, then load the daemon: clients wait for their answers meanwhile."""
    process_memory.begin()
    settings = loaded.settings
    folders.prepare(settings)
    lock(settings.run_dir / "netd-runtime.lock", "netd-runtime")
    lock_state(settings.state_dir / "netd-runtime.lock", "netd-runtime")
    with listening(Paths(settings.state_dir, settings.run_dir).socket, settings.group) as opened:
        aiohttp_root.install()
        import asyncio

        from runtime.daemon import check, run

        check(settings)
        asyncio.run(run(loaded, opened))


if __name__ == "__main__":
    main()
