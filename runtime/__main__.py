"""The command ``netd-runtime``: the parts of its start that differ from netd's."""

from __future__ import annotations

from pathlib import Path

from netd.common.config import Settings
from netd.settings import daemon_start
from runtime.paths import Paths

DESCRIPTION = "containers, images and volumes, with Docker's API on RUN/docker.sock"


def main() -> None:
    daemon_start.start("netd-runtime", DESCRIPTION, check=_check, socket=_socket, load_run=_load_run)


def _socket(settings: Settings) -> Path:
    return Paths(settings.state_dir, settings.run_dir).socket


def _check(settings: Settings) -> None:
    from runtime.daemon import check

    check(settings)


def _load_run(settings: Settings) -> daemon_start.Run:
    from runtime.daemon import check, run

    check(settings)
    return run


if __name__ == "__main__":
    main()
