"""The system call policy, run in the kernel that enforces it."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
from low_box import Box

from runtime.kernel import capabilities, seccomp, seccomp_table

PROBE = Path(__file__).with_name("syscall_probe.py")
LAST = 480
UPROBE = 336
"""Calls that the kernel does not pass to filters."""


def probe(*arguments: str) -> list[int | None]:
    command = [sys.executable, "-I", "-S", str(PROBE), str(LAST), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=True, timeout=60)
    found: list[int | None] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def unfiltered() -> list[int | None]:
    return probe()


@pytest.mark.parametrize("extra", [(), ("SYS_ADMIN", "SYS_PTRACE"), ("SYS_TIME", "SYSLOG", "BPF")])
def test_the_kernel_answers_as_the_table_says(
    unfiltered: list[int | None], tmp_path: Path, extra: tuple[str, ...]
) -> None:
    mask = capabilities.DEFAULT | sum(capabilities.BIT[name] for name in extra)
    file = tmp_path / "program"
    file.write_bytes(seccomp.default_program(mask))
    filtered = probe(str(file))
    refused = seccomp_table.refused(frozenset(capabilities.names(mask)))
    wrong = {}
    for number, (plain, answer) in enumerate(zip(unfiltered, filtered, strict=True)):
        wanted = expected(number, plain, refused, "SYS_ADMIN" in extra)
        if plain is not None and answer != wanted:
            wrong[number] = (answer, wanted)
    assert wrong == {}


def expected(number: int, plain: int | None, refused: frozenset[int], admin: bool) -> int | None:
    if number == UPROBE:
        return plain
    if number > seccomp_table.NEWEST:
        return errno.ENOSYS
    if number == seccomp_table.CLONE3 and not admin:
        return errno.ENOSYS
    if number in refused or number == seccomp_table.PERSONALITY or (number == seccomp_table.CLONE and not admin):
        return errno.EPERM
    return plain


def test_the_default_policy_allows_what_dockers_does() -> None:
    refused = seccomp_table.refused(frozenset(capabilities.names(capabilities.DEFAULT)))
    by_argument = {seccomp_table.CLONE, seccomp_table.CLONE3, seccomp_table.PERSONALITY, seccomp_table.SOCKET}
    assert len(set(range(seccomp_table.NEWEST + 1)) - refused - by_argument) == 306


def test_programs_are_short_and_made_once() -> None:
    for mask in (0, capabilities.DEFAULT, (1 << 41) - 1):
        assert len(seccomp.default_program(mask)) % 8 == 0
        assert len(seccomp.default_program(mask)) // 8 <= 130
        assert seccomp.default_program(mask) is seccomp.default_program(mask)


SOCKETS = """
import socket, errno
for family in (1, 2, 10, 16, 38, 39, 40, 44):
    try:
        socket.socket(family, socket.SOCK_DGRAM if family != 38 else 5).close()
        print(family, "ok")
    except OSError as problem:
        print(family, errno.errorcode[problem.errno])
"""


def test_families_with_a_history_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "program"
    file.write_bytes(seccomp.default_program(capabilities.DEFAULT))
    loader = f"import runpy, sys; sys.argv=['x', '-1', {str(file)!r}]; runpy.run_path({str(PROBE)!r});"
    done = subprocess.run([sys.executable, "-c", f"{loader}\n{SOCKETS}"], capture_output=True, text=True, check=True)
    answers = dict(line.split() for line in done.stdout.removeprefix("[]").splitlines())
    assert answers["38"] == answers["40"] == "EPERM"
    assert answers["2"] == answers["10"] == answers["1"] == answers["16"] == "ok"
    assert answers["39"] != "EPERM"


def test_a_container_makes_no_namespaces_and_mounts_nothing(box: Box) -> None:
    for script in (
        "unshare -m true",
        "unshare -Ur true",
        "mount -t tmpfs x /tmp",
        "mount -o remount,rw /sys",
        "umount /proc/keys",
    ):
        code, _out, err = box.try_shell(script)
        assert code != 0, script
        assert "not permitted" in err or "denied" in err, err
