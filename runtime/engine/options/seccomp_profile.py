"""Seccomp profiles in Docker's JSON format, compiled for this machine.  Pure.

The format is that of moby's ``profiles/seccomp`` and of the OCI runtime specification.  Of the rules for one call,
those with conditions on arguments are tried first, in order, then the last one without.  Calls of 32-bit programs are
refused, as with the default profile, whatever ``archMap`` says.
"""

from __future__ import annotations

import errno
import re
from functools import lru_cache
from typing import Annotated

import msgspec
from msgspec import field

from netd.common.errors import BadRequest
from runtime.kernel import capabilities, seccomp_rules
from runtime.kernel.seccomp_rules import CallRule, Condition
from runtime.kernel.syscall_numbers import NUMBERS

_Unsigned = Annotated[int, msgspec.Meta(ge=0)]
_Index = Annotated[int, msgspec.Meta(ge=0, le=5)]
_Errno = Annotated[int, msgspec.Meta(ge=0, le=seccomp_rules.LARGEST_DATA)]

_ACTIONS = {
    "SCMP_ACT_KILL": seccomp_rules.KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": seccomp_rules.KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": seccomp_rules.KILL_PROCESS,
    "SCMP_ACT_TRAP": seccomp_rules.TRAP,
    "SCMP_ACT_ERRNO": seccomp_rules.ERRNO,
    "SCMP_ACT_TRACE": seccomp_rules.TRACE,
    "SCMP_ACT_ALLOW": seccomp_rules.ALLOW,
    "SCMP_ACT_LOG": seccomp_rules.LOG,
}
_WITH_DATA = (seccomp_rules.ERRNO, seccomp_rules.TRACE)
_OPERATORS = {
    "SCMP_CMP_EQ": "==",
    "SCMP_CMP_NE": "!=",
    "SCMP_CMP_LT": "<",
    "SCMP_CMP_LE": "<=",
    "SCMP_CMP_GT": ">",
    "SCMP_CMP_GE": ">=",
    "SCMP_CMP_MASKED_EQ": "masked",
}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})", re.ASCII)


class _Argument(msgspec.Struct, frozen=True, rename="camel"):
    index: _Index
    op: str
    value: _Unsigned = 0
    value_two: _Unsigned = 0


class _Filter(msgspec.Struct, frozen=True, rename="camel"):
    """Where a rule applies: capabilities of the container, architectures in Go's names, the oldest kernel."""

    caps: list[str] | None = None
    arches: list[str] | None = None
    min_kernel: str = ""


class _Rule(msgspec.Struct, frozen=True, rename="camel"):
    action: str
    names: list[str] | None = None
    name: str = ""
    errno_ret: _Errno | None = None
    args: list[_Argument] | None = None
    includes: _Filter | None = None
    excludes: _Filter | None = None


class _Profile(msgspec.Struct, frozen=True, rename="camel"):
    default_action: str
    default_errno_ret: _Errno | None = None
    syscalls: list[_Rule] | None = None
    listener_path: str = field(default="", name="listenerPath")


@lru_cache(maxsize=64)
def program(text: str, mask: int, machine: str, release: str) -> bytes:
    """Return the BPF program of the profile *text* for a process with the capabilities *mask*.

    *machine* and *release* are those of ``uname``.  Raises BadRequest for an invalid profile.
    """
    if machine not in NUMBERS:
        raise BadRequest(f"seccomp profiles are not supported on {machine}: use seccomp=unconfined")
    try:
        profile = msgspec.json.decode(text, type=_Profile)
    except msgspec.DecodeError as error:
        raise BadRequest(f"Decoding seccomp profile failed: {error}: give the contents of a JSON file") from None
    if profile.listener_path:
        raise BadRequest("the seccomp profile has a listenerPath, which is not supported: remove it")
    default = _action(profile.default_action, profile.default_errno_ret)
    names = frozenset(f"CAP_{name}" for name in capabilities.names(mask))
    numbers = NUMBERS[machine]
    conditional: dict[int, list[CallRule]] = {}
    unconditional: dict[int, CallRule] = {}
    for rule in profile.syscalls or ():
        action = _action(rule.action, rule.errno_ret)
        if not _applies(rule, names, _ARCHITECTURES[machine], release):
            continue
        for number in {numbers[name] for name in [*(rule.names or ()), rule.name] if name in numbers}:
            if rule.args:
                conditional.setdefault(number, []).extend(_with_conditions(action, rule.args))
            else:
                unconditional[number] = CallRule(action)
    rules = {
        number: [*conditional.get(number, ()), *([unconditional[number]] if number in unconditional else ())]
        for number in conditional | unconditional
    }
    try:
        return seccomp_rules.compile_rules(machine, rules, default, max(numbers.values()))
    except ValueError as error:
        raise BadRequest(str(error)) from None


def _action(name: str, data: int | None) -> int:
    if name not in _ACTIONS:
        raise BadRequest(f"the seccomp action {name[:80]!r} is not supported: use one of {', '.join(_ACTIONS)}")
    action = _ACTIONS[name]
    return action | (errno.EPERM if data is None else data) if action in _WITH_DATA else action


def _applies(rule: _Rule, names: frozenset[str], architecture: str, release: str) -> bool:
    includes, excludes = rule.includes or _Filter(), rule.excludes or _Filter()
    if not set(includes.caps or ()) <= names or set(excludes.caps or ()) & names:
        return False
    if (includes.arches and architecture not in includes.arches) or architecture in (excludes.arches or ()):
        return False
    if includes.min_kernel and _version(release) < _version(includes.min_kernel):
        return False
    return not (excludes.min_kernel and _version(release) >= _version(excludes.min_kernel))


def _version(text: str) -> tuple[int, int]:
    found = _VERSION.match(text)
    if found is None:
        raise BadRequest(f"the seccomp profile has an invalid minKernel {text[:40]!r}: use a version such as 4.8")
    return int(found[1]), int(found[2])


def _with_conditions(action: int, arguments: list[_Argument]) -> list[CallRule]:
    """Return one rule, or a rule for each condition if an argument has several, as runc does."""
    conditions = [_condition(argument) for argument in arguments]
    if len({condition.argument for condition in conditions}) < len(conditions):
        return [CallRule(action, (condition,)) for condition in conditions]
    return [CallRule(action, tuple(conditions))]


def _condition(argument: _Argument) -> Condition:
    if argument.op not in _OPERATORS:
        raise BadRequest(f"there is no seccomp operator {argument.op[:80]!r}: use one of {', '.join(_OPERATORS)}")
    if max(argument.value, argument.value_two) >= 2**64:
        raise BadRequest("a value in the seccomp profile is too large: arguments have 64 bits")
    return Condition(argument.index, _OPERATORS[argument.op], argument.value, argument.value_two)
