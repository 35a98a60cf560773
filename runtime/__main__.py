"""``netd-runtime``: reads flags and configuration file, and runs the daemon."""

from __future__ import annotations

import os
import sys

from netd import log_output
from netd.common.config import Settings
from netd.common.errors import Problem
from netd.settings.command_line import Loaded, load

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
    import asyncio

    from netd.common import resource_errors
    from runtime.daemon import run

    try:
        asyncio.run(run(loaded))
    except Problem as error:
        sys.exit(f"netd-runtime: {error.message}")
    except (OSError, RuntimeError) as error:
        what = "cannot start"
        problem = resource_errors.problem(error, what)
        if problem is None and isinstance(error, RuntimeError):
            raise  # Other RuntimeErrors than a thread that cannot be started are bugs.
        sys.exit(f"netd-runtime: {problem.message if problem else f'{what}: {error}'}")


if __name__ == "__main__":
    main()
