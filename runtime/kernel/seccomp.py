"""Compiles the system call policy into a classic BPF program for seccomp.

Pure.  The daemon compiles it once per set of capabilities; :func:`runtime.kernel.linux.load_seccomp` loads it.
"""

from __future__ import annotations

import platform
import struct
from functools import lru_cache
from itertools import pairwise

from runtime.kernel import capabilities as caps
from runtime.kernel import seccomp_table as table

_LOAD, _JEQ, _JGT, _JGE, _JSET, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE = 0, 4
_ARGUMENT = 16
_X86_64 = 0xC000003E

ACTIONS = {"allow": 0x7FFF0000, "EPERM": 0x50000 | 1, "ENOSYS": 0x50000 | 38}

Line = tuple[int, int, str, str]
"""(opcode, operand, label to jump to if the test is true, and if false); "" is the next line."""


class Assembler:
    """Instructions with labels as jump targets."""

    def __init__(self) -> None:
        self._lines: list[Line] = []
        self._labels: dict[str, int] = {}

    def label(self, name: str) -> None:
        self._labels[name] = len(self._lines)

    def line(self, code: int, operand: int, yes: str = "", no: str = "") -> None:
        self._lines.append((code, operand, yes, no))

    def assemble(self) -> bytes:
        """Return the program.  Raises struct.error if a jump is longer than 255 instructions."""
        packed = []
        for place, (code, operand, yes, no) in enumerate(self._lines):
            jumps = [self._labels[name] - place - 1 if name else 0 for name in (yes, no)]
            packed.append(struct.pack("HBBI", code, *jumps, operand))
        return b"".join(packed)


@lru_cache(maxsize=64)
def default_program(capabilities: int) -> bytes:
    """Return Docker's default policy for a process with these capabilities.

    All 32-bit and x32 calls are refused.  Raises ValueError on machines other than x86_64.
    """
    if platform.machine() != "x86_64":
        raise ValueError(f"there is no system call policy for {platform.machine()}; run with seccomp=unconfined")
    names = frozenset(caps.names(capabilities))
    restricted = "SYS_ADMIN" not in names
    code = Assembler()
    _entry(code, restricted)
    _by_number(code, table.refused(names))
    _by_argument(code, restricted)
    for action, value in ACTIONS.items():
        code.label(action)
        code.line(_RETURN, value)
    return code.assemble()


def _entry(code: Assembler, restricted: bool) -> None:
    code.line(_LOAD, _ARCHITECTURE)
    code.line(_JEQ, _X86_64, "", "EPERM")
    code.line(_LOAD, _NUMBER)
    code.line(_JGT, table.NEWEST, "ENOSYS")
    code.line(_JEQ, table.PERSONALITY, "personality")
    code.line(_JEQ, table.SOCKET, "socket")
    if restricted:
        # A filter cannot read the flags of clone3, which are in memory; libc falls back to clone.
        code.line(_JEQ, table.CLONE3, "ENOSYS")
        code.line(_JEQ, table.CLONE, "clone")


def _by_number(code: Assembler, refused: frozenset[int]) -> None:
    """Compare with the numbers at which the action changes, in ascending order."""
    edges = [0] + [n for n in range(1, table.NEWEST + 1) if (n in refused) != (n - 1 in refused)]
    for first, next_edge in pairwise(edges):
        code.line(_JGE, next_edge, "", "EPERM" if first in refused else "allow")
    code.line(_RETURN, ACTIONS["EPERM" if edges[-1] in refused else "allow"])


def _by_argument(code: Assembler, restricted: bool) -> None:
    code.label("personality")
    code.line(_LOAD, _ARGUMENT + 4)
    code.line(_JEQ, 0, "", "EPERM")
    code.line(_LOAD, _ARGUMENT)
    for value in table.PERSONALITIES:
        code.line(_JEQ, value, "allow")
    code.line(_RETURN, ACTIONS["EPERM"])
    code.label("socket")
    # The kernel reads the family as an int and ignores the upper half of the register.
    code.line(_LOAD, _ARGUMENT)
    for family in table.REFUSED_FAMILIES:
        code.line(_JEQ, family, "EPERM")
    code.line(_RETURN, ACTIONS["allow"])
    if restricted:
        code.label("clone")
        code.line(_LOAD, _ARGUMENT)
        code.line(_JSET, table.NEW_NAMESPACES, "EPERM", "allow")
