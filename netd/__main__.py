"""The command ``netd``: the parts of its start that differ from netd-runtime's."""

from __future__ import annotations

from netd.common.config import Settings
from netd.settings import daemon_start

DESCRIPTION = "container networks, addresses, published ports and names, on RUN/netd.sock"


def main() -> None:
    daemon_start.start(
        "netd", DESCRIPTION, check=_check, socket=lambda settings: settings.run_dir / "netd.sock", load_run=_load_run
    )


def _check(settings: Settings) -> None:
    from netd.daemon import check

    check(settings)


def _load_run(settings: Settings) -> daemon_start.Run:
    from netd.daemon import run

    return run


if __name__ == "__main__":
    main()
