"""The command ``netd``: reads the flags and the configuration file, and runs the daemon."""

from __future__ import annotations

import os
import sys

from netd import log_output
from netd.common.config import Settings
from netd.common.errors import Problem
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
    import asyncio

    from netd.common import resource_errors
    from netd.daemon import run

    try:
        asyncio.run(run(loaded))
    except Problem as problem:
        sys.exit(f"netd: {problem.message}")
    except (OSError, RuntimeError) as error:
        action = "cannot start"
        shortage = resource_errors.problem(error, action)
        if shortage is None and isinstance(error, RuntimeError):
            raise  # the only expected RuntimeError is a thread that cannot be started
        sys.exit(f"netd: {shortage.message if shortage else f'{action}: {error}'}")


if __name__ == "__main__":
    main()
