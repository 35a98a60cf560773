"""The command ``netd``: reads the flags and the configuration file, and runs the daemon."""

from __future__ import annotations

import asyncio
import sys

from netd.common import resource_errors
from netd.common.config import load, log_to_stderr
from netd.common.errors import Problem
from netd.daemon import run


def main() -> None:
    try:
        settings = load("netd", "container networks, addresses, published ports and names, on RUN/netd.sock")
        log_to_stderr(settings.log_level)
        asyncio.run(run(settings))
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
