"""Further processes in a running container."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from pathlib import Path

import pytest
from low_box import FIRST_ID, Box, groups_of, parent_of, read_all, read_until, wait_gone

from runtime.spec import ExitStatus, StartError, StreamLost


def test_an_exec_shares_everything_with_the_container(box: Box) -> None:
    spec = box.spec("sleep", "1000")
    pid = box.start(spec).pid
    spaces = "for n in mnt pid uts ipc time net; do readlink /proc/self/ns/$n; done"
    script = f"hostname; cat /proc/1/comm; {spaces}; cat /proc/self/cgroup"
    code, out, err = box.exec(spec, pid, box.process("sh", "-c", script))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:2] == [spec.hostname, "sleep"]
    assert lines[2:8] == [os.readlink(f"/proc/{pid}/ns/{n}") for n in ("mnt", "pid", "uts", "ipc", "time", "net")]
    assert lines[8:] == Path(f"/proc/{pid}/cgroup").read_text().splitlines()


def test_an_exec_has_its_own_user_environment_directory_and_privileges(box: Box) -> None:
    spec = box.spec("sleep", "1000")
    pid = box.start(spec).pid
    process = box.process(
        "sh", "-c", "id -u; pwd; echo $A $HOME; grep -E 'CapEff|Seccomp:' /proc/self/status; ls /proc/self/fd | wc -l"
    )
    process = box.process(*process.argv, user="al", cwd="/tmp", env=("A=1", "PATH=/bin"))
    _code, out, _err = box.exec(spec, pid, process)
    assert out.split() == ["1000", "/tmp", "1", "/home/al", "CapEff:", "0000000000000000", "Seccomp:", "2", "4"]


@pytest.mark.parametrize(
    ("argv", "changes", "code"),
    [
        (("nothing",), {}, 127),
        (("/etc",), {}, 126),
        (("true",), {"cwd": "/nowhere"}, 127),
        (("true",), {"user": "ghost"}, 125),
    ],
)
def test_execs_that_cannot_start_say_why_and_leave_nothing(
    box: Box, argv: tuple[str, ...], changes: dict[str, str], code: int
) -> None:
    spec = box.spec("sleep", "1000")
    pid = box.start(spec).pid
    with pytest.raises(StartError) as caught:
        box.exec(spec, pid, box.process(*argv, **changes))
    assert caught.value.code == code
    assert box.launcher.pids(spec.id) == [pid]
    assert len(list((box.folder / "run/shims").iterdir())) == 2


def test_an_exec_has_a_terminal_and_input(box: Box) -> None:
    spec = box.spec("sleep", "1000")
    pid = box.start(spec).pid

    async def scenario() -> tuple[bytes, ExitStatus]:
        process = box.process("sh", tty=True, stdin=True, console_size=(20, 50))
        running = await box.launcher.exec(spec.id, pid, process, secrets.token_hex(32))
        attachment = await running.attach(stdin=True)
        await box.launcher.release(running)
        await attachment.write(b"stty size; tty\r")
        seen = await read_until(attachment, b"/dev/pts/0\r\n")
        await running.resize(30, 60)
        await attachment.write(b"stty size\r")
        seen += await read_until(attachment, b"30 60\r\n")
        await attachment.write(b"exit 5\r")
        return seen, await running.wait()

    seen, status = box.run(scenario())
    assert b"20 50\r\n" in seen
    assert status.code == 5


def test_an_exec_reads_input_to_its_end(box: Box) -> None:
    spec = box.spec("sleep", "1000")
    pid = box.start(spec).pid

    async def scenario() -> bytes:
        running = await box.launcher.exec(spec.id, pid, box.process("cat", stdin=True), secrets.token_hex(32))
        attachment = await running.attach(stdin=True)
        await box.launcher.release(running)
        await attachment.write(b"in and out")
        await attachment.close_stdin()
        out, _err = await read_all(attachment)
        assert (await running.wait()).code == 0
        return out

    assert box.run(scenario()) == b"in and out"


def test_an_exec_ends_with_its_container(box: Box) -> None:
    spec = box.spec("sleep", "1000")
    running = box.start(spec)

    async def scenario() -> ExitStatus:
        other = await box.launcher.exec(spec.id, running.pid, box.process("sleep", "1000"), secrets.token_hex(32))
        await box.launcher.release(other)
        await running.signal(signal.SIGKILL)
        return await other.wait()

    assert box.run(scenario()).code == 137
    assert box.run(running.wait()).code == 137


def test_an_exec_is_found_after_its_shim_was_killed(box: Box) -> None:
    spec = box.spec("sleep", "1000")
    pid = box.start(spec).pid

    async def scenario() -> ExitStatus:
        process = box.process("sh", "-c", "trap 'exit 8' TERM; echo up; while :; do sleep 0.02; done")
        running = await box.launcher.exec(spec.id, pid, process, secrets.token_hex(32))
        attachment = await running.attach(stdin=False)
        await box.launcher.release(running)
        await read_until(attachment, b"up\n")
        os.kill(parent_of(running.pid), signal.SIGKILL)
        with pytest.raises(StreamLost):
            await read_all(attachment)
        await running.signal(signal.SIGTERM)
        return await running.wait()

    assert box.run(scenario()).code == 8


def test_execs_of_a_daemon_that_died_are_cleared_away_when_they_end(box: Box) -> None:
    spec = box.spec("sleep", "1000")
    pid = box.start(spec).pid
    names = [secrets.token_hex(32) for _ in range(2)]

    async def scenario() -> None:
        for name, seconds in zip(names, ("0.01", "1000"), strict=True):
            await box.launcher.release(await box.launcher.exec(spec.id, pid, box.process("sleep", seconds), name))

    box.run(scenario())
    box.drop()
    box.restart_after_drop()
    box.until(lambda: not (box.folder / "run/shims" / names[0]).exists())
    assert (box.folder / "run/shims" / names[1]).exists()
    box.run(box.launcher.discard(spec.id))
    box.until(lambda: os.listdir(box.folder / "run/shims") == [])


def test_a_container_that_has_ended_takes_no_exec(box: Box) -> None:
    spec = box.spec("true")
    running = box.start(spec)
    box.run(running.wait())
    wait_gone(running.pid)
    with pytest.raises(StartError, match="is not running"):
        box.exec(spec, running.pid, box.process("true"))


def test_a_foreign_process_is_not_taken_for_the_container(box: Box) -> None:
    spec = box.spec("sleep", "1000")
    box.start(spec)
    with pytest.raises(StartError, match="is not running"):
        box.exec(spec, os.getpid(), box.process("true"))


def test_nothing_enters_a_mapped_container_as_root_of_the_host(box: Box) -> None:
    spec = box.mapped_spec("sleep", "1000")
    pid = box.start(spec).pid
    _code, out, _err = box.exec(spec, pid, box.process("cat", "/proc/self/uid_map"))
    assert out.split()[1] == str(FIRST_ID)
    with pytest.raises(StartError, match="user namespace"):
        box.run(box.launcher.exec(spec.id, pid, box.process("true", root=0), secrets.token_hex(32)))


def test_two_hundred_execs_leak_nothing(box: Box) -> None:
    spec = box.spec("sleep", "1000")
    running = box.start(spec)

    async def exec_once() -> int:
        made = await box.launcher.exec(spec.id, running.pid, box.process("true"), secrets.token_hex(32))
        await box.launcher.release(made)
        return (await made.wait()).code

    async def scenario(count: int) -> set[int]:
        return {code for _ in range(count // 4) for code in await asyncio.gather(*(exec_once() for _ in range(4)))}

    assert box.run(scenario(8)) == {0}
    before = census(running.pid)
    assert box.run(scenario(192), 60) == {0}
    descriptors, *others = census(running.pid)
    assert descriptors <= before[0] + 4  # Idle shims start and end during the test.
    assert others == [*before[1:]]
    assert box.launcher.pids(spec.id) == [running.pid]
    in_group = [line for line in Path(f"/proc/{running.pid}/cgroup").read_text().splitlines() if ":/netd/" in line]
    assert len(groups_of(spec.id)) == len(in_group)


def census(pid: int) -> tuple[int, int, int]:
    """Return what could grow: our descriptors, the container's mounts, the shims' files."""
    mounts = len(Path(f"/proc/{pid}/mountinfo").read_text().splitlines())
    return len(os.listdir("/proc/self/fd")), mounts, len(os.listdir(f"/proc/{parent_of(pid)}/fd"))
