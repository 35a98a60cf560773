"""``netd-runtime``: reads the flags and the configuration file, and runs the daemon."""

from __future__ import annotations

import asyncio
import sys

from netd.common import resource_errors
from netd.common.config import load, log_to_stderr
from netd.common.errors import Problem
from runtime.daemon import run


def main() -> None:
    try:
        settings = load("netd-runtime", "containers, images and volumes, with Docker's API on RUN/docker.sock")
        log_to_stderr(settings.log_level)
        asyncio.run(run(settings))
    except Problem as problem:
        sys.exit(f"netd-runtime: {problem.message}")
    except (OSError, RuntimeError) as error:
        what = "cannot start"
        told = resource_errors.problem(error, what)
        if told is None and isinstance(error, RuntimeError):
            raise  # nothing but a thread that cannot be started is a matter of what is left
        sys.exit(f"netd-runtime: {told.message if told else f'{what}: {error}'}")


if __name__ == "__main__":
    main()
