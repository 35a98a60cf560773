"""The eBPF program that delivers unicast IP frames to other ports of the same network, and the form of its map.

Pure.  It is the last filter on the ingress of a port (tc(8)), so it receives only frames that the antispoof program and
the filters of other programs pass.  One program serves all networks: the class id of its filter is the *scope*, the
index of the network's first bridge.  The map leads from scope and MAC to the port, and counts what was delivered to it.
All other frames (ARP, multicast, broadcast, unknown MACs, the port's own MAC) go to the bridge.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

NAME = "netd_deliver"
KEY = struct.Struct("=I6s2x")
"""Scope and MAC."""
VALUE = struct.Struct("=QQI4x")
"""Packets and bytes that one processor delivered, and the port's index."""
_PACKETS, _BYTES, _PORT = 0, 8, 16
_PASS = -1
"""TC_ACT_UNSPEC: the bridge receives the frame."""

# linux/bpf_common.h, linux/bpf.h: instructions of 64 bits, except loads and stores
_WORD, _HALF, _BYTE, _DOUBLE = 0x00, 0x08, 0x10, 0x18
_LOAD, _STORE, _STORE_NUMBER, _LOAD_MAP = 0x61, 0x63, 0x62, 0x18
_MOVE, _MOVE_NUMBER, _ADD, _ADD_NUMBER, _CALL, _EXIT = 0xBF, 0xB7, 0x0F, 0x07, 0x85, 0x95
_IF_EQUAL, _IF_EQUAL_NUMBER, _IF_OTHER_NUMBER, _IF_GREATER, _IF_ANY_BIT = 0x1D, 0x15, 0x55, 0x2D, 0x45
_MAP_DESCRIPTOR = 1
_LOOKUP, _CHANGE_TYPE, _REDIRECT_PEER = 1, 32, 155
_PACKET_HOST = 0
# struct __sk_buff
_LENGTH, _INDEX, _CLASS, _DATA, _DATA_END = 0, 40, 72, 76, 80
_R0, _R1, _R2, _R3, _R4, _R5, _FRAME, _FOUND, _TARGET, _, _STACK = range(11)
_ETHERNET_HEADER = 14
_IPV4, _IPV6 = (int.from_bytes(number.to_bytes(2, "big"), sys.byteorder) for number in (0x0800, 0x86DD))
_INSTRUCTION = struct.Struct("=BBhi")


@dataclass(frozen=True, slots=True)
class _Instruction:
    code: int
    to: int = 0
    source: int = 0
    offset: int = 0
    number: int = 0
    label: str = ""
    """Where to jump; "" for instructions that do not jump."""


_Line: TypeAlias = _Instruction | str
"""An instruction, or the label of the instruction that follows."""


def program(map_descriptor: int) -> bytes:
    """Return the program as an array of ``struct bpf_insn``."""
    return _assembled([*_own_network(), *_port_of(map_descriptor), *_delivered(), *_bridged()])


def _assembled(lines: Iterable[_Line]) -> bytes:
    ops: list[_Instruction] = []
    labels: dict[str, int] = {}
    for line in lines:
        if isinstance(line, str):
            labels[line] = len(ops)
        else:
            ops.append(line)
    return b"".join(
        _encoded(op, labels[op.label] - number if op.label else op.offset) for number, op in enumerate(ops, 1)
    )


def _encoded(op: _Instruction, offset: int) -> bytes:
    registers = op.source << 4 | op.to if sys.byteorder == "little" else op.to << 4 | op.source
    return _INSTRUCTION.pack(op.code, registers, offset, op.number)


def _own_network() -> Iterator[_Line]:
    """Require a unicast IP frame, and store scope and destination MAC on the stack as key."""
    yield _Instruction(_MOVE, _FRAME, _R1)
    yield _Instruction(_LOAD | _WORD, _R2, _FRAME, _DATA)
    yield _Instruction(_LOAD | _WORD, _R3, _FRAME, _DATA_END)
    yield _Instruction(_MOVE, _R4, _R2)
    yield _Instruction(_ADD_NUMBER, _R4, number=_ETHERNET_HEADER)
    yield _Instruction(_IF_GREATER, _R4, _R3, label="bridge")
    yield _Instruction(_LOAD | _HALF, _R5, _R2, 12)
    yield _Instruction(_IF_EQUAL_NUMBER, _R5, number=_IPV4, label="ip")
    yield _Instruction(_IF_OTHER_NUMBER, _R5, number=_IPV6, label="bridge")
    yield "ip"
    yield _Instruction(_LOAD | _BYTE, _R5, _R2)
    yield _Instruction(_IF_ANY_BIT, _R5, number=1, label="bridge")
    start = -KEY.size
    yield _Instruction(_LOAD | _WORD, _R5, _R2)
    yield _Instruction(_STORE | _WORD, _STACK, _R5, start + 4)
    yield _Instruction(_LOAD | _HALF, _R5, _R2, 4)
    yield _Instruction(_STORE | _WORD, _STACK, _R5, start + 8)
    yield _Instruction(_LOAD | _WORD, _R5, _FRAME, _CLASS)
    yield _Instruction(_STORE | _WORD, _STACK, _R5, start)


def _port_of(map_descriptor: int) -> Iterator[_Line]:
    """Look up the port; the bridge returns frames of a port to itself, or not, by its hairpin mode."""
    yield _Instruction(_LOAD_MAP, _R1, _MAP_DESCRIPTOR, number=map_descriptor)
    yield _Instruction(0)
    yield _Instruction(_MOVE, _R2, _STACK)
    yield _Instruction(_ADD_NUMBER, _R2, number=-KEY.size)
    yield _Instruction(_CALL, number=_LOOKUP)
    yield _Instruction(_IF_EQUAL_NUMBER, _R0, number=0, label="bridge")
    yield _Instruction(_MOVE, _FOUND, _R0)
    yield _Instruction(_LOAD | _WORD, _TARGET, _FOUND, _PORT)
    yield _Instruction(_LOAD | _WORD, _R1, _FRAME, _INDEX)
    yield _Instruction(_IF_EQUAL, _R1, _TARGET, label="bridge")


def _delivered() -> Iterator[_Line]:
    """Count the frame and let the link inside the sandbox receive it."""
    yield _Instruction(_LOAD | _DOUBLE, _R1, _FOUND, _PACKETS)
    yield _Instruction(_ADD_NUMBER, _R1, number=1)
    yield _Instruction(_STORE | _DOUBLE, _FOUND, _R1, _PACKETS)
    yield _Instruction(_LOAD | _WORD, _R2, _FRAME, _LENGTH)
    yield _Instruction(_LOAD | _DOUBLE, _R1, _FOUND, _BYTES)
    yield _Instruction(_ADD, _R1, _R2)
    yield _Instruction(_STORE | _DOUBLE, _FOUND, _R1, _BYTES)
    # The kernel compared the MAC with that of the port where the frame arrived.
    yield _Instruction(_MOVE, _R1, _FRAME)
    yield _Instruction(_MOVE_NUMBER, _R2, number=_PACKET_HOST)
    yield _Instruction(_CALL, number=_CHANGE_TYPE)
    yield _Instruction(_MOVE, _R1, _TARGET)
    yield _Instruction(_MOVE_NUMBER, _R2, number=0)
    yield _Instruction(_CALL, number=_REDIRECT_PEER)
    yield _Instruction(_EXIT)


def _bridged() -> Iterator[_Line]:
    yield "bridge"
    yield _Instruction(_MOVE_NUMBER, _R0, number=_PASS)
    yield _Instruction(_EXIT)
