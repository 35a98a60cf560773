"""Seccomp profiles in Docker's JSON: what a profile means, evaluated by a small interpreter of classic BPF."""

from __future__ import annotations

import json
import operator
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netd.common.errors import BadRequest
from runtime.engine.options import seccomp_profile
from runtime.kernel import capabilities, seccomp_rules
from runtime.kernel.syscall_numbers import NUMBERS

ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x50001, 0x50026, 0
X86_64 = 0xC000003E
WORD = st.integers(0, 2**64 - 1)


def evaluate(program: bytes, number: int, arguments: tuple[int, ...] = (), architecture: int = X86_64) -> int:
    """Return the action of *program* for a call, as the kernel's filter interpreter does."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *(*arguments, *[0] * 6)[:6])
    lines = list(struct.iter_unpack("HBBI", program))
    place = accumulator = 0
    tests: dict[int, Callable[[int, int], bool]] = {0x15: operator.eq, 0x25: operator.gt, 0x35: operator.ge}
    while True:
        code, yes, no, operand = lines[place]
        place += 1
        if code == 0x20:
            accumulator = struct.unpack_from("<I", data, operand)[0]
        elif code == 0x54:
            accumulator &= operand
        elif code == 0x05:
            place += operand
        elif code == 0x06:
            return operand
        else:
            place += yes if tests[code](accumulator, operand) else no


def compiled(profile: dict[str, Any], mask: int = 0, machine: str = "x86_64", release: str = "6.1.0") -> bytes:
    return seccomp_profile.program(json.dumps(profile), mask, machine, release)


def rule(action: str, *names: str, **more: Any) -> dict[str, Any]:
    return {"names": list(names), "action": f"SCMP_ACT_{action}", **more}


@settings(max_examples=150, deadline=None)
@given(st.sets(st.sampled_from(sorted(NUMBERS["x86_64"])), max_size=120))
def test_every_call_gets_the_action_of_its_rule(names: set[str]) -> None:
    program = compiled({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule("ALLOW", *names, "nosuch")]})
    allowed = {NUMBERS["x86_64"][name] for name in names}
    for number in range(470):
        assert evaluate(program, number) == (ALLOW if number in allowed else EPERM)
    assert evaluate(program, 5000) == evaluate(program, 0x40000001) == ENOSYS
    assert evaluate(program, 0, architecture=0x40000003) == EPERM


OPERATORS = {
    "EQ": operator.eq,
    "NE": operator.ne,
    "LT": operator.lt,
    "LE": operator.le,
    "GT": operator.gt,
    "GE": operator.ge,
}


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(OPERATORS)), st.integers(0, 5), WORD, WORD, st.booleans())
def test_arguments_are_compared_as_numbers_of_64_bits(
    name: str, index: int, value: int, given_value: int, same: bool
) -> None:
    given_value = value if same else given_value
    arguments = tuple(given_value if place == index else 7 for place in range(6))
    program = compiled(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [rule("KILL", "read", args=[{"index": index, "value": value, "op": f"SCMP_CMP_{name}"}])],
        }
    )
    expected = KILL if OPERATORS[name](given_value, value) else ALLOW
    assert evaluate(program, 0, arguments) == expected


@settings(max_examples=200, deadline=None)
@given(WORD, WORD, WORD)
def test_masked_arguments(mask: int, value: int, given_value: int) -> None:
    condition = {"index": 2, "value": mask, "valueTwo": value & mask, "op": "SCMP_CMP_MASKED_EQ"}
    program = compiled({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule("KILL", "read", args=[condition])]})
    assert evaluate(program, 0, (0, 0, given_value)) == (KILL if given_value & mask == value & mask else ALLOW)
    assert evaluate(program, 0, (0, 0, value)) == KILL


def test_all_conditions_of_a_rule_hold_and_several_of_one_argument_are_alternatives() -> None:
    both = [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}]
    either = [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]
    program = compiled(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [rule("KILL", "read", args=both), rule("KILL", "write", args=either)],
        }
    )
    assert [evaluate(program, 0, arguments) for arguments in ((1, 2), (1, 3), (0, 2))] == [KILL, ALLOW, ALLOW]
    assert [evaluate(program, 1, (value,)) for value in (1, 2, 3)] == [KILL, KILL, ALLOW]


def test_rules_apply_by_capability_architecture_and_kernel() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "syscalls": [
            rule("ALLOW", "mount", includes={"caps": ["CAP_SYS_ADMIN"]}),
            rule("ALLOW", "chroot", excludes={"caps": ["CAP_SYS_ADMIN"]}),
            rule("ALLOW", "arch_prctl", includes={"arches": ["amd64"]}),
            rule("ALLOW", "ptrace", includes={"minKernel": "4.8"}),
            rule("ERRNO", "getpid", errnoRet=95),
        ],
    }
    numbers = NUMBERS["x86_64"]

    def actions(mask: int, release: str) -> list[bool]:
        program = compiled(profile, mask, release=release)
        return [evaluate(program, numbers[n]) == ALLOW for n in ("mount", "chroot", "arch_prctl", "ptrace")]

    assert actions(0, "6.1.0") == [False, True, True, True]
    assert actions(capabilities.BIT["SYS_ADMIN"], "4.4.0-x") == [True, False, True, False]
    assert evaluate(compiled(profile), numbers["getpid"]) == 0x50000 | 95
    assert evaluate(compiled(profile), numbers["read"]) == 0x50000 | 38


def test_the_numbers_are_those_of_the_machine() -> None:
    program = compiled({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule("KILL", "read")]}, machine="aarch64")
    assert evaluate(program, NUMBERS["aarch64"]["read"], architecture=0xC00000B7) == KILL
    assert evaluate(program, 0, architecture=0xC00000B7) == ALLOW


@pytest.mark.parametrize(
    "text",
    [
        "nosuch", "[]", "{}", '{"defaultAction":"SCMP_ACT_NOTIFY"}', '{"defaultAction":"ALLOW"}',
        '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"x"}]}',
        '{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/s"}',
        '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_KILL","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}]}',
        '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_KILL","args":[{"index":1,"op":"x"}]}]}',
        '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_KILL","includes":{"minKernel":"x"}}]}',
        '{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":70000}',
    ],
)  # fmt: skip
def test_invalid_profiles_are_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        seccomp_profile.program(text, 0, "x86_64", "6.1.0")


def test_a_profile_that_is_too_long_for_the_kernel_is_refused() -> None:
    calls = [
        rule("KILL", name, args=[{"index": 0, "value": number * 9 + more, "op": "SCMP_CMP_EQ"} for more in range(6)])
        for name, number in NUMBERS["x86_64"].items()
    ]
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": calls}
    with pytest.raises(BadRequest, match="instructions"):
        compiled(profile)


def test_actions_have_the_kernels_values() -> None:
    assert seccomp_rules.LOG == 0x7FFC0000
    assert seccomp_rules.KILL_PROCESS == 0x80000000
