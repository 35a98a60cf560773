"""A client of the D-Bus system bus for a few calls (D-Bus specification, "Message Protocol").

Owns one connection.  Supports the types that firewalld's zone calls need: strings, numbers, lists of strings, and a
dictionary of strings and lists of strings.  Must not be used in a thread that may not wait.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping
from typing import Self, TypeAlias

from netd.common.errors import KernelRefused

Value: TypeAlias = str | list[str] | Mapping[str, str | list[str]]
_ADDRESS = "/run/dbus/system_bus_socket"
_VARIABLE = "DBUS_SYSTEM_BUS_ADDRESS"
_CALL, _RETURN, _ERROR = 1, 2, 3
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _DESTINATION, _SIGNATURE = 1, 2, 3, 4, 5, 6, 8
_MOST = 1 << 20
"""Bytes of the longest message that is read."""


class SystemBus:
    """Use it as a context manager.  Raises OSError and KernelRefused; every call takes at most *timeout* seconds."""

    def __init__(self, timeout: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(timeout)
        self._serial = 0
        self._read = b""

    def __enter__(self) -> Self:
        try:
            self._socket.connect(_address())
            self._socket.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
            if not self._line().startswith(b"OK "):
                raise KernelRefused("the system bus refused this process's user")
            self._socket.sendall(b"BEGIN\r\n")
            self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")
        except BaseException:
            self._socket.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def call(self, name: str, path: str, interface: str, member: str, *arguments: Value) -> str | int | list[str]:
        """Call a method and return the first value of its reply; "" if it has none or of another type.

        Raises KernelRefused with the error's name and text.
        """
        self._serial += 1
        self._socket.sendall(encode(self._serial, name, path, interface, member, arguments))
        while True:
            kind, fields, body = self._message()
            if fields.get(_REPLY_SERIAL) != self._serial:
                continue
            found = _first(str(fields.get(_SIGNATURE, "")), body)
            if kind == _ERROR:
                raise KernelRefused(f"{member} was refused: {fields.get(_ERROR_NAME)}: {found}")
            if kind == _RETURN:
                return found

    def _line(self) -> bytes:
        while b"\r\n" not in self._read:
            self._receive()
        line, _, self._read = self._read.partition(b"\r\n")
        return line

    def _take(self, size: int) -> bytes:
        while len(self._read) < size:
            self._receive()
        taken, self._read = self._read[:size], self._read[size:]
        return taken

    def _receive(self) -> None:
        if not (found := self._socket.recv(1 << 16)):
            raise KernelRefused("the system bus closed the connection")
        self._read += found

    def _message(self) -> tuple[int, dict[int, str | int], bytes]:
        """Return type, header fields and body of the next message."""
        start = self._take(16)
        order = "<" if start[:1] == b"l" else ">"
        body, _, header = struct.unpack_from(f"{order}III", start, 4)
        if body > _MOST or header > _MOST:
            raise KernelRefused("the system bus sent a message that is too long")
        fields = _fields(order, self._take(-(-header // 8) * 8)[:header])
        content = self._take(body)
        # Only this machine's byte order is read below: the bus forwards messages of processes of this machine.
        return start[1], fields, content if order == "<" else b""


def _address() -> str:
    for part in os.environ.get(_VARIABLE, "").split(";"):
        if part.startswith("unix:path="):
            return part.removeprefix("unix:path=").split(",")[0]
    return _ADDRESS


def encode(serial: int, name: str, path: str, interface: str, member: str, arguments: tuple[Value, ...] = ()) -> bytes:
    """Return the message of a method call."""
    body = bytearray()
    for argument in arguments:
        _append(body, argument)
    signature = "".join(map(_type, arguments))
    header = bytearray(struct.pack("<BBBBII", ord("l"), _CALL, 0, 1, len(body), serial))
    fields = bytearray()
    texts = ((_PATH, "o", path), (_INTERFACE, "s", interface), (_MEMBER, "s", member), (_DESTINATION, "s", name))
    for code, kind, text in texts:
        _align(fields, 8)
        fields += bytes((code, 1)) + kind.encode() + b"\0"
        _append(fields, text)
    if signature:
        _align(fields, 8)
        fields += bytes((_SIGNATURE, 1)) + b"g\0" + bytes((len(signature),)) + signature.encode() + b"\0"
    header += struct.pack("<I", len(fields)) + fields
    _align(header, 8)
    return bytes(header + body)


def _type(value: Value) -> str:
    return "s" if isinstance(value, str) else "as" if isinstance(value, list) else "a{sv}"


def _align(data: bytearray, to: int) -> None:
    data += bytes(-len(data) % to)


def _append(data: bytearray, value: Value) -> None:
    _align(data, 4)
    if isinstance(value, str):
        text = value.encode()
        data += struct.pack("<I", len(text)) + text + b"\0"
        return
    position = len(data)
    data += bytes(4)
    if isinstance(value, Mapping):
        _align(data, 8)
    start = len(data)
    if isinstance(value, list):
        for item in value:
            _append(data, item)
    else:
        for key, content in value.items():
            _align(data, 8)
            _append(data, key)
            kind = _type(content)
            data += bytes((len(kind),)) + kind.encode() + b"\0"
            _append(data, content)
    data[position : position + 4] = struct.pack("<I", len(data) - start)


def _fields(order: str, data: bytes) -> dict[int, str | int]:
    """Return the header's fields that are strings or numbers."""
    found: dict[int, str | int] = {}
    offset = 0
    while offset + 4 <= len(data):
        offset = -(-offset // 8) * 8
        code, kind = data[offset], data[offset + 2 : offset + 3]
        offset += 4
        if kind == b"u":
            found[code] = struct.unpack_from(f"{order}I", data, offset)[0]
            offset += 4
        elif kind == b"g":
            length = data[offset]
            found[code] = data[offset + 1 : offset + 1 + length].decode(errors="replace")
            offset += length + 2
        else:
            [length] = struct.unpack_from(f"{order}I", data, offset)
            found[code] = data[offset + 4 : offset + 4 + length].decode(errors="replace")
            offset += length + 5
    return found


def _first(signature: str, body: bytes) -> str | int | list[str]:
    if signature[:1] == "u" and len(body) >= 4:
        return int.from_bytes(body[:4], "little")
    if signature[:1] in ("s", "o") and len(body) >= 4:
        return _string(body, 0)[0]
    found = []
    if signature.startswith("as") and len(body) >= 4:
        end, offset = 4 + int.from_bytes(body[:4], "little"), 4
        while offset + 4 <= min(end, len(body)):
            text, offset = _string(body, offset)
            found.append(text)
        return found
    return ""


def _string(body: bytes, offset: int) -> tuple[str, int]:
    """Return a string and the position of the next value."""
    offset = -(-offset // 4) * 4
    end = offset + 4 + int.from_bytes(body[offset : offset + 4], "little")
    return body[offset + 4 : end].decode(errors="replace"), end + 1
