"""``netd-runtime``: reads flags and configuration file, and runs the daemon."""

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
