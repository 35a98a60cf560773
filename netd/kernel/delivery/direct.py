"""Direct delivery between the ports of a network: the loaded program, its map, and what a port lacks of both.

The program and the map belong to the ports' filters, so delivery continues while netd does not run, and the next netd
takes over the program of the first port that it reads.  Must be used in the thread that changes the host, except for
``counters``.  Must not send requests about links: the caller adds those of ``requests`` to its own.
"""

from __future__ import annotations

import logging
import os
import platform
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from netd.kernel.delivery import bpf_calls, program
from netd.kernel.delivery.bridge_filters import BridgeFilters
from netd.kernel.netlink import tc
from netd.kernel.netlink.link_reading import Link
from netd.kernel.netlink.messages import Request
from netd.kernel.netlink.rtnl_socket import Rtnl, index_of, name_of

_log = logging.getLogger(__name__)
_ENTRIES = 1 << 16
_FIRST_KERNEL = (6, 7)
"""Earlier kernels do not count delivered frames at the link that receives them."""
_PREFIX = "ndp"
_POSSIBLE = Path("/sys/devices/system/cpu/possible")
_PLAIN_QDISCS = ("noqueue", "")
_MOST_SCOPE = 0xFFFF
"""The kernel passes 16 bits of a filter's class id to its program: a larger scope would be that of another network."""
FAULT = "direct delivery"


class DirectDelivery:
    """The methods take the *scope* of a port, see ``program``; 0 means that its frames go through the bridge."""

    def __init__(self, host: Rtnl, *, enabled: bool, pauses: bool = True) -> None:
        """*pauses* is whether frames take the bridge while rules of other programs may see them there."""
        self._host = host
        self._program = self._map = -1
        self._info = bpf_calls.ProgramInfo(0, b"", ())
        self._adopted = False
        self._ports: dict[str, tuple[bytes, int]] = {}
        """Key and index of each port that takes part, by its name."""
        self._holders: dict[bytes, set[str]] = {}
        """The names of the ports with a key: more than one if containers of a network were given the same MAC."""
        self._filters = BridgeFilters()
        self._pauses = pauses
        self._paused = False
        """The host filters what bridges forward, so the map is empty."""
        self._value_size = 0
        if enabled:
            self._open()

    @property
    def available(self) -> bool:
        return self._program >= 0

    def close(self) -> None:
        """Close the descriptors; the ports keep the program and the map."""
        self._filters.close()
        self._close()

    def _close(self) -> None:
        for fd in (self._program, self._map):
            if fd >= 0:
                os.close(fd)
        self._program = self._map = -1

    def _open(self) -> None:
        if (release := _release()) < _FIRST_KERNEL:
            _log.info("direct delivery off: reason=kernel is older than %s", ".".join(map(str, _FIRST_KERNEL)))
            return
        try:
            self._value_size = program.VALUE.size * _possible_processors()
            self._map = bpf_calls.create_map(program.NAME, program.KEY.size, program.VALUE.size, _ENTRIES)
            self._program = bpf_calls.load_classifier(program.NAME, program.program(self._map))
            self._info = bpf_calls.program_info(self._program)
        except (OSError, ValueError) as problem:
            self._close()
            _log.info("direct delivery off: kernel=%s reason=%s", ".".join(map(str, release)), problem)

    def look(self, rules: str) -> None:
        """Pause delivery while the host filters or translates what bridges forward, and resume it afterwards.

        *rules* describes the rule of another program that may see packets of the network layer; "" if there is none.
        """
        if not self._pauses or not self.available:
            return
        reason = rules or ("a chain of the family bridge" if self._filters.present() else "")
        if bool(reason) == self._paused:
            return
        self._paused = bool(reason)
        if reason:
            _log.info("direct delivery paused: reason=%s", reason)
        else:
            _log.info("direct delivery resumed")
        for key in self._holders:
            self._write(key)

    # Ports

    def requests(self, port: int, scope: int, *, created: bool) -> list[Request]:
        """Return the requests that attach or detach the program of a port that has the antispoof program's qdisc.

        *created* is whether the port was created just now, so that nothing is on it.
        """
        if self._takes_part(scope) and (created or self._is_plain(port)):
            return [tc.attach_last(port, self._program, program.NAME, scope)]
        return [] if created else [tc.detach_last(port)]

    def add(self, name: str, scope: int, mac: str, *, created: bool) -> None:
        """Deliver to the port *name*, both ends of which are up, or no longer."""
        port = index_of(name)
        if not (port and self._takes_part(scope) and (created or self._is_plain(port))):
            self.remove(name)
            return
        found = (_key(scope, mac), port)
        if self._ports.get(name, found) != found:
            self.remove(name)
        self._hold(name, *found)
        try:
            self._write(found[0])
        except OSError as problem:
            _log.warning("frames to port go through the bridge: link=%s error=%s", name, problem)

    def remove(self, name: str) -> None:
        """Deliver no longer to the port *name*.  Call it before the port is deleted."""
        if (found := self._ports.pop(name, None)) is None:
            return
        key, _ = found
        self._holders[key].discard(name)
        self._write(key)
        if not self._holders[key]:
            del self._holders[key]

    def _hold(self, name: str, key: bytes, port: int) -> None:
        self._ports[name] = (key, port)
        self._holders.setdefault(key, set()).add(name)

    def retain(self, names: Collection[str]) -> None:
        """Remove the ports that are not among *names*."""
        for name in [name for name in self._ports if name not in names]:
            self.remove(name)

    def counters(self) -> Mapping[str, tuple[int, int]]:
        """Return how many packets and bytes were delivered to each port, by its name.  Any thread may call it."""
        found = {}
        for name, (key, _) in list(self._ports.items()):
            with suppress(OSError):
                values = self._lookup(key)
                found[name] = (sum(value[0] for value in values), sum(value[1] for value in values))
        return found

    # Comparison

    def faults(self, link: Link, scope: int, mac: str, programs: tc.Programs) -> list[str]:
        """Return what differs: a port has the program and its element of the map if and only if it should."""
        if programs.last is not None and self.available:
            self._adopt(programs.last[0])
        plain = link.qdisc in _PLAIN_QDISCS
        if not (self._takes_part(scope) and plain and not self._has_egress_filters(link.index)):
            return [FAULT] if programs.last is not None or link.name in self._ports else []
        key = _key(scope, mac)
        if self._paused and link.name not in self._ports and programs.last == (self._info.identifier, scope):
            # The map of an earlier netd is empty during a pause: the program shows that the port takes part.
            self._hold(link.name, key, link.index)
        takes_part = self._ports.get(link.name) == (key, link.index)
        reached = takes_part and self._target(key) == self._wanted_target(key)
        return [] if reached and programs.last == (self._info.identifier, scope) else [FAULT]

    def _takes_part(self, scope: int) -> bool:
        return 0 < scope <= _MOST_SCOPE and self.available

    def _is_plain(self, port: int) -> bool:
        """Return false if another program shapes or filters what the port sends, which delivery would bypass."""
        link = self._host.find(port)
        return link is not None and link.qdisc in _PLAIN_QDISCS and not self._has_egress_filters(port)

    def _has_egress_filters(self, port: int) -> bool:
        return bool(self._host.filters(port, tc.EGRESS))

    # The map

    def _adopt(self, identifier: int) -> None:
        """Take over an equal program of an earlier netd, with its map, before the first port is added."""
        if self._adopted or self._ports or identifier == self._info.identifier:
            return
        self._adopted = True
        with suppress(OSError):
            found = bpf_calls.program_by_id(identifier)
            info = bpf_calls.program_info(found)
            if info.tag != self._info.tag or len(info.maps) != 1:
                os.close(found)
                return
            held = bpf_calls.map_by_id(info.maps[0])
            self._close()
            self._program, self._map, self._info = found, held, info
            self._read_ports()

    def _read_ports(self) -> None:
        """Read which ports the map contains, and delete the elements of ports that no longer exist."""
        for key in list(bpf_calls.keys(self._map, program.KEY.size)):
            port = self._target(key)
            name = name_of(port)
            if name.startswith(_PREFIX):
                self._hold(name, key, port)
            self._write(key)

    def _wanted_target(self, key: bytes) -> int:
        """Return the index of the port to which a key should lead; 0 if its frames go through the bridge."""
        holders = self._holders.get(key, ())
        return 0 if self._paused or len(holders) != 1 else self._ports[next(iter(holders))][1]

    def _target(self, key: bytes) -> int:
        """Return the index of a key's port; 0 if there is none."""
        values = self._lookup(key)
        return values[0][2] if values and len({value[2] for value in values}) == 1 else 0

    def _lookup(self, key: bytes) -> list[tuple[int, int, int]]:
        found = bpf_calls.lookup(self._map, key, self._value_size)
        return list(program.VALUE.iter_unpack(found)) if found else []

    def _write(self, key: bytes) -> None:
        """Write the element of a key; an element that is right keeps its counters."""
        port = self._wanted_target(key)
        if not port:
            bpf_calls.delete(self._map, key)
        elif self._target(key) != port:
            values = program.VALUE.pack(0, 0, port) * (self._value_size // program.VALUE.size)
            bpf_calls.update(self._map, key, values)


def _key(scope: int, mac: str) -> bytes:
    return program.KEY.pack(scope, bytes.fromhex(mac.replace(":", "")))


def _possible_processors() -> int:
    """Return how many values an element of a map has."""
    return int(re.split("[-,]", _POSSIBLE.read_text().strip())[-1]) + 1


def _release() -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", platform.release())
    return (int(found[1]), int(found[2])) if found else (0, 0)
