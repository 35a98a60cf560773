"""All plugins that were ever asked for, by name: found when first used, kept until the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from netd.remote.caller import PATIENCE, Caller
from netd.remote.ipam_driver import RemoteIpamDriver
from netd.remote.network_driver import RemoteNetworkDriver


class Plugins:
    def __init__(self, folders: Sequence[str], patience: float = PATIENCE) -> None:
        """*patience* is how many seconds a call may take."""
        self._folders = tuple(map(Path, folders))
        self._patience = patience
        self._callers: dict[str, Caller] = {}
        self._addresses: dict[str, RemoteIpamDriver] = {}

    async def close(self) -> None:
        for caller in self._callers.values():
            await caller.close()

    def networks(self, name: str) -> RemoteNetworkDriver:
        """Return the network driver of that name, which its calls will find or not."""
        return RemoteNetworkDriver(self._caller(name))

    def addresses(self, name: str) -> RemoteIpamDriver:
        """Return the IPAM driver of that name, which its calls will find or not; always the same one."""
        if name not in self._addresses:
            self._addresses[name] = RemoteIpamDriver(self._caller(name))
        return self._addresses[name]

    def _caller(self, name: str) -> Caller:
        if name not in self._callers:
            self._callers[name] = Caller(name, self._folders, self._patience)
        return self._callers[name]
