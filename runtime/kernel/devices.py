"""Devices of a container: its nodes, its device rules, and the eBPF program that enforces these with version 2.

Pure, except :func:`nodes_of` and :func:`all_of_host`, which read the host's /dev.  Small, because every shim loads it.
"""

from __future__ import annotations

import os
import stat
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runtime.spec import Device

NODES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
"""Character devices that every container has, mode 0666."""

LINKS = (
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)

RULES = (
    "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm",
    "c 5:1 rwm", "c 5:2 rwm", "c 10:200 rwm", "c 136:* rwm",
)  # fmt: skip
"""Rules of every container: it may create any node, and open only the devices listed here."""

EVERYTHING = ("a *:* rwm",)

Node = tuple[str, int, int]
"""(path in the container, mode with file type, device number)."""


def nodes_of(device: Device) -> list[Node]:
    """Return the nodes for one ``--device``: the device, or every device in a directory.

    Raises OSError if the source does not exist, ValueError if it is not a device.
    """
    if os.path.isdir(device.source):
        return _beneath(device.source, device.target)
    status = os.stat(device.source)
    if not _is_device(status.st_mode):
        raise ValueError(f"{device.source} is not a device")
    return [(device.target, status.st_mode, status.st_rdev)]


def all_of_host(base: str = "/dev") -> list[Node]:
    """Return a node for every device of the host, except those that every container has of its own."""
    own = {name for name, _major, _minor in NODES} | {"console", "ptmx", "pts", "shm", "mqueue"}
    return [node for node in _beneath(base, "/dev") if node[0].split("/")[2] not in own]


def _beneath(source: str, target: str) -> list[Node]:
    found: list[Node] = []
    for entry in os.scandir(source):
        place = f"{target}/{entry.name}"
        status = entry.stat(follow_symlinks=False)
        if _is_device(status.st_mode):
            found.append((place, status.st_mode, status.st_rdev))
        elif stat.S_ISDIR(status.st_mode) and entry.name not in ("pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts"):
            found += _beneath(entry.path, place)
    return found


def _is_device(mode: int) -> bool:
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def rules_for(devices: Sequence[tuple[Node, str]], extra: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the rules in addition to RULES: for (node, access) pairs, and ``--device-cgroup-rule`` lines."""
    own = [
        f"{'b' if stat.S_ISBLK(mode) else 'c'} {os.major(number)}:{os.minor(number)} {access}"
        for (_path, mode, number), access in devices
    ]
    return (*own, *extra)


_BLOCK, _CHAR = 1, 2
_ACCESS = {"m": 1, "r": 2, "w": 4}

_R1, _R2, _R3, _R4, _R5 = 1, 2, 3, 4, 5


def filter_program(rules: Iterable[str]) -> bytes:
    """Return the eBPF program (BPF_PROG_TYPE_CGROUP_DEVICE) that allows exactly *rules*."""
    code = [
        _load(_R2, 0), _and(_R2, 0xFFFF),  # type
        _load(_R3, 0), _shift(_R3, 16),  # access
        _load(_R4, 4), _load(_R5, 8),  # major, minor
    ]  # fmt: skip
    for rule in rules:
        code += _allow(rule)
    code += [_set(0, 0), _EXIT]
    return b"".join(code)


_EXIT = struct.pack("<BBhi", 0x95, 0, 0, 0)


def _allow(rule: str) -> list[bytes]:
    kind, numbers, access = rule.split()
    major, minor = numbers.split(":")
    mask = sum(_ACCESS[letter] for letter in set(access))
    checks: list[tuple[int, int]] = []
    if kind != "a":
        checks.append((_R2, _BLOCK if kind == "b" else _CHAR))
    checks += [(register, int(text)) for register, text in ((_R4, major), (_R5, minor)) if text != "*"]
    body = [] if mask == 7 else [_copy(_R1, _R3), _and(_R1, ~mask & 7), _unless(_R1, 0, 2)]
    body += [_set(0, 1), _EXIT]
    for register, value in reversed(checks):
        body = [_unless(register, value, len(body)), *body]
    return body


def _load(register: int, offset: int) -> bytes:
    return struct.pack("<BBhi", 0x61, register | _CONTEXT << 4, offset, 0)


_CONTEXT = 1


def _and(register: int, mask: int) -> bytes:
    return struct.pack("<BBhi", 0x54, register, 0, mask)


def _shift(register: int, bits: int) -> bytes:
    return struct.pack("<BBhi", 0x74, register, 0, bits)


def _copy(target: int, source: int) -> bytes:
    return struct.pack("<BBhi", 0xBC, target | source << 4, 0, 0)


def _set(register: int, value: int) -> bytes:
    return struct.pack("<BBhi", 0xB4, register, 0, value)


def _unless(register: int, value: int, skip: int) -> bytes:
    """Skip the next *skip* instructions unless the register contains *value*."""
    return struct.pack("<BBhi", 0x55, register, skip, value)
