"""Discovery of plugins: sockets, spec and JSON files in the folders of Docker's engine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from netd.common.errors import ServerError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
_MAX_NAME = 200
"""Characters; keeps file names below NAME_MAX."""
_MAX_FILE_SIZE = 64 << 10


@dataclass(frozen=True, slots=True)
class PluginAddress:
    """A plugin's address: the path of a Unix socket, or host and port of a TCP socket."""

    socket: str = ""
    tcp: str = ""

    def __str__(self) -> str:
        return self.socket or f"tcp://{self.tcp}"


class _PluginSpec(msgspec.Struct, rename="pascal"):
    """The contents of ``NAME.json``."""

    addr: str = ""
    tls: dict[str, object] | None = msgspec.field(default=None, name="TLSConfig")


def find(name: str, folders: Sequence[Path]) -> PluginAddress | None:
    """Return the address of the plugin *name*; None if there is no file for it.

    Sockets take precedence over spec and JSON files; folders are searched in order.  Raises ServerError naming a file
    that cannot be used.
    """
    if len(name) > _MAX_NAME or not _NAME.match(name):
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
            data = file.read(_MAX_FILE_SIZE)
        if path.suffix == ".spec":
            return _address(path, data.decode().strip())
        spec = msgspec.json.decode(data, type=_PluginSpec)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as problem:
        raise ServerError(f"plugin file {path} cannot be read: {problem}") from None
    if spec.tls is not None:
        raise ServerError(f"plugin file {path} asks for TLS, which is not supported: let the plugin use a unix socket")
    return _address(path, spec.addr)


def _address(path: Path, url: str) -> PluginAddress:
    parts = urlsplit(url)
    if parts.scheme == "unix" and parts.path:
        return PluginAddress(socket=parts.netloc + parts.path)
    if parts.scheme == "tcp" and parts.netloc:
        return PluginAddress(tcp=parts.netloc)
    raise ServerError(f"plugin file {path} has no valid address: write unix:///path or tcp://host:port, not {url!r}")
