"""The plugins in use, by name: each object is created at its first use and cached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from netd.remote.caller import CALL_TIMEOUT, Caller
from netd.remote.ipam_driver import RemoteIpamDriver
from netd.remote.network_driver import RemoteNetworkDriver


class Plugins:
    """One :class:`Caller` and one IPAM driver per plugin."""

    def __init__(self, folders: Sequence[str], timeout: float = CALL_TIMEOUT) -> None:
        """*timeout* is in seconds per call."""
        self._folders = tuple(map(Path, folders))
        self._timeout = timeout
        self._callers: dict[str, Caller] = {}
        self._addresses: dict[str, RemoteIpamDriver] = {}

    async def close(self) -> None:
        for caller in self._callers.values():
            await caller.close()

    def networks(self, name: str) -> RemoteNetworkDriver:
        """Return the network driver of that name; its calls raise PluginNotFound if there is none."""
        return RemoteNetworkDriver(self._caller(name))

    def addresses(self, name: str) -> RemoteIpamDriver:
        """Return the IPAM driver of that name, the same object each time; its calls may raise PluginNotFound."""
        if name not in self._addresses:
            self._addresses[name] = RemoteIpamDriver(self._caller(name))
        return self._addresses[name]

    def _caller(self, name: str) -> Caller:
        if name not in self._callers:
            self._callers[name] = Caller(name, self._folders, self._timeout)
        return self._callers[name]
