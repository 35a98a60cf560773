"""Where plugins are: sockets, specs and JSON files by their names in the folders that Docker's engine looks in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from netd.common.errors import ServerError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
_LONGEST = 200
"""Characters of a name, so that the name of its file is not too long."""
_LARGEST = 64 << 10


@dataclass(frozen=True, slots=True)
class PluginAddress:
    """A plugin's address: a unix socket, or host and port of a TCP one."""

    socket: str = ""
    tcp: str = ""

    def __str__(self) -> str:
        return self.socket or f"tcp://{self.tcp}"


class _Described(msgspec.Struct, rename="pascal"):
    """``NAME.json``."""

    addr: str = ""
    tls: dict[str, object] | None = msgspec.field(default=None, name="TLSConfig")


def find(name: str, folders: Sequence[Path]) -> PluginAddress | None:
    """Return where the plugin *name* listens; None when no folder speaks of it.

    Sockets come before files that name an address, folders in their order.  Raises ServerError naming a file that
    cannot be used.
    """
    if len(name) > _LONGEST or not _NAME.match(name):
        return None
    for path in _candidates(folders, name, ("sock",)):
        if path.is_socket():
            return PluginAddress(socket=str(path))
    for path in _candidates(folders, name, ("spec", "json")):
        if path.is_file():
            return _read(path)
    return None


def _candidates(folders: Iterable[Path], name: str, endings: Iterable[str]) -> Iterator[Path]:
    for folder in folders:
        for ending in endings:
            yield folder / f"{name}.{ending}"
            yield folder / name / f"{name}.{ending}"


def _read(path: Path) -> PluginAddress:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST)
        if path.suffix == ".spec":
            return _place(path, data.decode().strip())
        described = msgspec.json.decode(data, type=_Described)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as problem:
        raise ServerError(f"plugin file {path} cannot be read: {problem}") from None
    if described.tls is not None:
        raise ServerError(f"plugin file {path} asks for TLS, which is not supported: let the plugin use a unix socket")
    return _place(path, described.addr)


def _place(path: Path, url: str) -> PluginAddress:
    parts = urlsplit(url)
    if parts.scheme == "unix" and parts.path:
        return PluginAddress(socket=parts.netloc + parts.path)
    if parts.scheme == "tcp" and parts.netloc:
        return PluginAddress(tcp=parts.netloc)
    raise ServerError(f"plugin file {path} names no address: write unix:///path or tcp://host:port, not {url!r}")
