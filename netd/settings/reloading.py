"""Reload of the configuration while a daemon runs: on SIGHUP, and on ``POST /netd/v1/reload``.

Only settings whose definition says so change; the others are named, and take effect at the next start.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable

import msgspec
from aiohttp import web

from netd import log_output, service_manager
from netd.common.config import Settings
from netd.common.errors import Problem
from netd.common.http.web import Call, HttpRoute, json
from netd.settings.command_line import Loaded, reload

_log = logging.getLogger(__name__)


class ReloadView(msgspec.Struct, frozen=True):
    """The response of ``POST /netd/v1/reload``: names of settings."""

    applied: list[str]
    need_restart: list[str]


class Reloader:
    """Reads the configuration again and passes it to *apply*, which must not fail."""

    def __init__(self, program: str, loaded: Loaded, apply: Callable[[Settings], None]) -> None:
        self._program = program
        self._loaded = loaded
        self._apply = apply

    def install(self) -> None:
        """Reload on SIGHUP; errors are logged and leave all settings as they are."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._on_signal)

    def routes(self) -> list[HttpRoute]:
        return [HttpRoute("POST", "/netd/v1/reload", self._on_request)]

    def reload(self) -> ReloadView:
        """Apply the changes of the file.  Raises BadRequest for an invalid file, and changes nothing then."""
        settings, changed, need_restart = reload(self._program, self._loaded)
        applied = [name for name in changed if name not in need_restart]
        self._loaded = Loaded(settings, self._loaded.sources, self._loaded.argv)
        log_output.set_level(settings.log_level)
        self._apply(settings)
        _log.info("configuration reloaded: applied=%s need_restart=%s", ",".join(applied), ",".join(need_restart))
        return ReloadView(applied, need_restart)

    def _on_signal(self) -> None:
        service_manager.reloading()
        try:
            self.reload()
        except Problem as problem:
            _log.error("configuration not reloaded: error=%s", problem.message)
        service_manager.ready()

    async def _on_request(self, _: Call) -> web.StreamResponse:
        return json(self.reload())
