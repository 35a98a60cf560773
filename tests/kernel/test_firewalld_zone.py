"""The zone of netd in firewalld: the messages on the system bus, and the order of the calls."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from netd.common.errors import KernelRefused
from netd.kernel.firewall.forwarding import firewalld_zone
from netd.kernel.firewall.forwarding.system_bus import SystemBus, encode

ADD_ZONE = bytes.fromhex(
    "6c0100017b00000007000000ac00000001016f00240000002f6f72672f6665646f726170726f6a6563742f4669726577616c6c44312f636f6e666967"
    "0000000002017300230000006f72672e6665646f726170726f6a6563742e4669726577616c6c44312e636f6e66696700000000000301730008000000"
    "6164645a6f6e65320000000000000000060173001c0000006f72672e6665646f726170726f6a6563742e4669726577616c6c44310000000008016700"
    "0673617b73767d0000000000040000006e657464000000006b0000000500000073686f727400017300000000040000006e6574640000000000000000"
    "06000000746172676574000173000000060000004143434550540000000000000a000000696e74657266616365730002617300001300000004000000"
    "6e642d2b0000000002000000c3a900"
)
"""A call that dbus-fast 5.2.0 encoded."""


def test_a_call_is_encoded_as_other_implementations_encode_it() -> None:
    settings = {"short": "netd", "target": "ACCEPT", "interfaces": ["nd-+", "é"]}
    name = "org.fedoraproject.FirewallD1"
    path = "/org/fedoraproject/FirewallD1/config"
    assert encode(7, name, path, f"{name}.config", "addZone2", ("netd", settings)) == ADD_ZONE


class Bus:
    """A system bus on which firewalld has the given zones; ``calls`` are the members that were called."""

    def __init__(self, path: Path, zones: list[str]) -> None:
        self.zones, self.links = zones, list[str]()
        self.calls: list[str] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return  # closed
            with client, client.makefile("rwb") as stream:
                assert stream.readline() == b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n"
                stream.write(b"OK 0123\r\n")
                stream.flush()
                assert stream.readline() == b"BEGIN\r\n"
                while head := stream.read(16):
                    body, serial, fields = struct.unpack_from("<III", head, 4)
                    rest = stream.read(-(-fields // 8) * 8 + body)
                    stream.write(self._reply(serial, rest))
                    stream.flush()

    def _reply(self, serial: int, message: bytes) -> bytes:
        member = next(name for name in REPLIES if name.encode() + b"\0" in message)
        self.calls.append(member)
        match member:
            case "getZoneByName" if "netd" not in self.zones:
                return answer(serial, 3, "s", string("INVALID_ZONE: netd"))
            case "addZone2":
                self.zones.append("netd")
            case "addInterface":
                self.links.append(next(link for link in ("nd-+", "br0") if link.encode() + b"\0" in message))
            case "getZones":
                return answer(serial, 2, "as", strings(self.zones))
            case "getInterfaces":
                return answer(serial, 2, "as", strings(self.links))
            case "GetConnectionUnixProcessID":
                return answer(serial, 2, "u", struct.pack("<I", os.getpid()))
        return answer(serial, 2, "s", string("/zone/7"))


REPLIES = ("Hello", "GetConnectionUnixProcessID", "getZones", "getZoneByName", "addZone2", "reload", "getInterfaces")
REPLIES += ("addInterface", "remove")


def string(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode() + b"\0"


def strings(texts: list[str]) -> bytes:
    content = b""
    for text in texts:
        content += bytes(-len(content) % 4) + string(text)
    return struct.pack("<I", len(content)) + content


def answer(serial: int, kind: int, signature: str, body: bytes) -> bytes:
    """Return a reply, preceded by a signal that is not for this connection."""
    fields = bytes((5, 1)) + b"u\0" + struct.pack("<I", serial)
    fields += bytes((8, 1)) + b"g\0" + bytes((len(signature),)) + signature.encode() + b"\0"
    padding = bytes(-len(fields) % 8)
    signal = struct.pack("<BBBBIII", ord("l"), 4, 0, 1, 0, 99, 0)
    return signal + struct.pack("<BBBBIII", ord("l"), kind, 0, 1, len(body), 1, len(fields)) + fields + padding + body


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bus]:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/bus,guid=1")
    made = Bus(tmp_path / "bus", ["public", "trusted"])
    yield made
    made.close()


def test_the_zone_is_created_once_and_gets_the_links(bus: Bus) -> None:
    for _ in range(2):
        with SystemBus(5) as client:
            firewalld_zone.put(client, ["br0", "nd-+"])
    first = [
        "Hello",
        "getZones",
        "getZoneByName",
        "addZone2",
        "reload",
        "getInterfaces",
        "addInterface",
        "addInterface",
    ]
    assert bus.calls == [*first, "Hello", "getZones", "getInterfaces"]
    assert bus.links == ["br0", "nd-+"]


def test_the_zone_is_deleted_by_its_path_and_only_if_it_exists(bus: Bus) -> None:
    firewalld_zone.FirewalldZone().remove()
    assert "remove" not in bus.calls
    bus.zones.append("netd")
    firewalld_zone.FirewalldZone().remove()
    assert bus.calls[-3:] == ["getZoneByName", "remove", "reload"]


def test_a_firewalld_of_another_namespace_is_not_asked(bus: Bus) -> None:
    firewalld_zone._run(["nd-+"], namespace=1)
    assert bus.calls == ["Hello", "GetConnectionUnixProcessID"]


def test_an_error_of_firewalld_is_raised_with_its_text(bus: Bus) -> None:
    with SystemBus(5) as client, pytest.raises(KernelRefused, match=r"getZoneByName was refused: .*INVALID_ZONE: netd"):
        client.call("org.fedoraproject.FirewallD1", "/", "org.fedoraproject.FirewallD1.config", "getZoneByName", "netd")
