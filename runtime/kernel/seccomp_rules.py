"""Compiles rules about system calls into a classic BPF program for seccomp.  Pure.

The number of a call is found by a binary search; the conditions on its arguments follow in the order of its rules.
Structures and actions: include/uapi/linux/seccomp.h, include/uapi/linux/filter.h.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.kernel.seccomp import ACTIONS as _BASIC

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_… by machine."""

KILL_PROCESS, KILL_THREAD, TRAP, ERRNO, TRACE, LOG, ALLOW = (
    0x80000000, 0x00000000, 0x00030000, 0x00050000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000,
)  # fmt: skip
LARGEST_DATA = 0xFFFF
"""The largest errno, or message to a tracer, in the low half of an action."""

_LOAD, _JUMP, _JEQ, _JGT, _JGE, _AND, _RETURN = 0x20, 0x05, 0x15, 0x25, 0x35, 0x54, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_FARTHEST = 255
_LONGEST = 4096
"""BPF_MAXINSNS."""

Line = tuple[int, int, int, int]
"""(opcode, instructions to skip if true, and if false; operand)."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of an argument as an unsigned number of 64 bits; for ``masked``, *value* is the mask."""

    argument: int
    operator: str
    """``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=`` or ``masked``: argument & value == other."""
    value: int
    other: int = 0


@dataclass(frozen=True, slots=True)
class CallRule:
    """The action for one call if all *conditions* hold."""

    action: int
    conditions: tuple[Condition, ...] = ()


def compile_rules(machine: str, rules: Mapping[int, Sequence[CallRule]], default: int, newest: int) -> bytes:
    """Return the program: the first rule of a call whose conditions hold decides, otherwise *default*.

    Calls of other architectures return EPERM.  Numbers above *newest* return ENOSYS if *default* refuses, so that
    libraries fall back to older calls.  Raises ValueError for a program that is too long.
    """
    above = default if default in (ALLOW, LOG) else _BASIC["ENOSYS"]
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JEQ, 1, 0, ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _BASIC["EPERM"]),
        (_LOAD, 0, 0, _NUMBER),
        (_JGT, 0, 1, newest),
        (_RETURN, 0, 0, above),
        *_search(_runs(rules, default, newest)),
    ]
    if len(code) > _LONGEST:
        raise ValueError(f"the seccomp profile needs {len(code)} instructions, more than {_LONGEST}: shorten it")
    return b"".join(struct.pack("HBBI", *line) for line in code)


def _runs(rules: Mapping[int, Sequence[CallRule]], default: int, newest: int) -> list[tuple[int, list[Line]]]:
    """Return (first number, code) of each run of numbers with the same code, in ascending order from 0."""
    found: list[tuple[int, list[Line]]] = []
    for number in range(newest + 1):
        code = _of_call(rules.get(number, ()), default)
        if not found or found[-1][1] != code:
            found.append((number, code))
    return found


def _search(runs: list[tuple[int, list[Line]]]) -> list[Line]:
    if len(runs) == 1:
        return runs[0][1]
    middle = len(runs) // 2
    below, rest = _search(runs[:middle]), _search(runs[middle:])
    first = runs[middle][0]
    if len(below) <= _FARTHEST:
        return [(_JGE, len(below), 0, first), *below, *rest]
    return [(_JGE, 0, 1, first), (_JUMP, 0, 0, len(below)), *below, *rest]


def _of_call(rules: Sequence[CallRule], default: int) -> list[Line]:
    """Return the code that decides one call; the accumulator holds its number and may be overwritten."""
    code: list[Line] = []
    for rule in rules:
        code += _of_rule(rule)
        if not rule.conditions:
            return code
    return [*code, (_RETURN, 0, 0, default)]


def _of_rule(rule: CallRule) -> list[Line]:
    """Return the code that returns the action if all conditions hold, and is left at its end otherwise."""
    code: list[Line] = [(_RETURN, 0, 0, rule.action)]
    for condition in reversed(rule.conditions):
        code = [*_test(condition, len(code)), *code]
    return code


def _test(condition: Condition, rest: int) -> list[Line]:
    """Return the code that continues after itself if the condition holds, and skips *rest* more lines otherwise."""
    low, high = _ARGUMENTS + 8 * condition.argument, _ARGUMENTS + 8 * condition.argument + 4
    value_low, value_high = condition.value & 0xFFFFFFFF, condition.value >> 32
    match condition.operator:
        case "==":
            return _equal(low, high, value_low, value_high, rest)
        case "!=":
            return [
                (_LOAD, 0, 0, high),
                (_JEQ, 0, 2, value_high),
                (_LOAD, 0, 0, low),
                (_JEQ, rest, 0, value_low),
            ]
        case "masked":
            return [
                (_LOAD, 0, 0, high),
                (_AND, 0, 0, value_high),
                (_JEQ, 0, rest + 3, condition.other >> 32),
                (_LOAD, 0, 0, low),
                (_AND, 0, 0, value_low),
                (_JEQ, 0, rest, condition.other & 0xFFFFFFFF),
            ]
        case ">" | ">=":
            last = _JGT if condition.operator == ">" else _JGE
            return [
                (_LOAD, 0, 0, high),
                (_JGT, 3, 0, value_high),
                (_JEQ, 0, rest + 2, value_high),
                (_LOAD, 0, 0, low),
                (last, 0, rest, value_low),
            ]
        case "<" | "<=":
            last = _JGE if condition.operator == "<" else _JGT
            return [
                (_LOAD, 0, 0, high),
                (_JGT, rest + 3, 0, value_high),
                (_JEQ, 0, 2, value_high),
                (_LOAD, 0, 0, low),
                (last, rest, 0, value_low),
            ]
        case other:
            raise ValueError(f"there is no comparison {other!r}")


def _equal(low: int, high: int, value_low: int, value_high: int, rest: int) -> list[Line]:
    return [
        (_LOAD, 0, 0, high),
        (_JEQ, 0, rest + 2, value_high),
        (_LOAD, 0, 0, low),
        (_JEQ, 0, rest, value_low),
    ]
