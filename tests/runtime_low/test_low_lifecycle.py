"""From start to end: exit codes, errors of the start, and processes that outlive their daemon or shim."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from low_box import Box, collect, groups_of, has_ended, parent_of, read_until, wait_gone

from runtime.spec import ExitStatus, StartError


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 0), ("exit 255", 255)])
def test_the_exit_code_is_the_programs(box: Box, script: str, code: int) -> None:
    # The first process of a namespace is immune to its own signals, so the kill is without effect.
    assert box.try_shell(script)[0] == code


def test_death_by_signal_is_128_and_its_number(box: Box) -> None:
    running = box.start(box.spec("sleep", "1000"))
    box.run(running.signal(signal.SIGKILL))
    status = box.run(running.wait())
    assert (status.code, status.oom_killed, status.error) == (137, False, "")
    with pytest.raises(ProcessLookupError):
        box.run(running.signal(signal.SIGTERM))


def test_many_may_wait_for_the_end(box: Box) -> None:
    running = box.start(box.spec("sh", "-c", "exit 7"))

    async def scenario() -> list[ExitStatus]:
        return await asyncio.gather(*(running.wait() for _ in range(5)))

    assert {status.code for status in box.run(scenario())} == {7}
    assert box.run(running.wait()).code == 7


@pytest.mark.parametrize(
    ("argv", "code", "text"),
    [
        (("nothing",), 127, 'exec: "nothing": executable file not found in $PATH'),
        (("/nothing",), 127, 'exec: "/nothing": stat /nothing: no such file or directory'),
        (("/etc",), 126, 'exec: "/etc": is a directory'),
        (("/etc/passwd",), 126, 'exec: "/etc/passwd": permission denied'),
        (("/tmp/text",), 126, "exec /tmp/text: exec format error"),
        (("/tmp/script",), 127, "exec /tmp/script: no such file or directory"),
    ],
)
def test_programs_that_cannot_run_say_why(
    box: Box, tmp_path: Path, argv: tuple[str, ...], code: int, text: str
) -> None:
    layer = tmp_path / "layer" / "tmp"
    layer.mkdir(parents=True)
    (layer / "text").write_text("no program")
    (layer / "script").write_text("#!/no/interpreter\n")
    for path in layer.iterdir():
        path.chmod(0o755)
    spec = box.spec(*argv, lower=(str(layer.parent), str(box.image)))
    with pytest.raises(StartError) as caught:
        box.start(spec)
    assert (caught.value.message, caught.value.code) == (text, code)
    assert_nothing_left(box, spec.id)


def assert_nothing_left(box: Box, identifier: str) -> None:
    assert groups_of(identifier) == []
    assert not list((box.folder / "run/shims").glob(f"{identifier}*"))


def test_a_discarded_preparation_leaves_nothing(box: Box) -> None:
    spec = box.spec("sleep", "1000")
    running = box.run(box.launcher.prepare(spec))
    assert groups_of(spec.id)
    box.run(box.launcher.discard(spec.id))
    assert_nothing_left(box, spec.id)
    wait_gone(running.pid)


def test_nothing_is_left_of_a_container_that_has_ended(box: Box) -> None:
    spec = box.spec("true")
    running = box.start(spec)
    shim = parent_of(running.pid) if not has_ended(running.pid) else 0
    box.run(running.wait())
    assert groups_of(spec.id) == []
    box.run(box.launcher.discard(spec.id))
    assert_nothing_left(box, spec.id)
    assert running.pid != shim


def test_a_container_starts_again_after_its_end(box: Box) -> None:
    spec = box.spec("sh", "-c", "echo x >> /count; wc -l < /count")
    assert [box.complete(spec)[1].strip() for _ in range(3)] == ["1", "2", "3"]


def test_a_container_starts_again_though_nobody_cleaned_up(box: Box) -> None:
    spec = box.spec("sh", "-c", "exit 4")
    for _ in range(3):
        running = box.start(spec)
        assert box.run(running.wait()).code == 4


def test_a_running_container_is_not_started_twice(box: Box) -> None:
    spec = box.spec("sleep", "1000")
    running = box.start(spec)
    with pytest.raises(StartError, match="already running"):
        box.start(spec)
    assert not has_ended(running.pid)


def test_the_log_has_every_line_and_the_last_without_newline(box: Box) -> None:
    spec = box.spec("sh", "-c", 'printf "one\\ntwo \\"q\\" \\\\\\\\ \\303\\251 \\377\\n"; echo three >&2; printf end')
    box.complete(spec)
    entries = [json.loads(line) for line in Path(spec.log_path).read_text().splitlines()]
    by_stream = {name: [e["log"] for e in entries if e["stream"] == name] for name in ("stdout", "stderr")}
    assert by_stream == {"stdout": ["one\n", 'two "q" \\ é \ufffd\n', "end"], "stderr": ["three\n"]}
    assert all(entry["time"].endswith("Z") and entry["time"][10] == "T" for entry in entries)


def test_a_lot_of_output_arrives_whole_in_the_log_and_at_clients(box: Box) -> None:
    spec = box.spec("sh", "-c", "seq 1 100000")
    _code, out, _err = box.complete(spec)
    wanted = "".join(f"{n}\n" for n in range(1, 100001))
    assert out == wanted
    assert "".join(json.loads(line)["log"] for line in Path(spec.log_path).read_text().splitlines()) == wanted


def test_logs_rotate(box: Box) -> None:
    spec = box.spec("sh", "-c", "seq 1 5000", log_max_size=65536, log_max_files=3)
    box.complete(spec)
    files = sorted(Path(spec.log_path).parent.glob("log*"))
    assert [path.name for path in files] == ["log", "log.1", "log.2"]
    assert all(path.stat().st_size < 66000 for path in files)
    assert json.loads(files[0].read_text().splitlines()[-1])["log"] == "5000\n"


def test_a_daemon_that_comes_back_finds_its_containers(box: Box) -> None:
    spec = box.spec("sh", "-c", "read x; echo got $x; exit 5", process={"stdin": True})
    before = box.start(spec)
    box.restart()
    running = box.run(box.launcher.adopt(spec.id))
    assert (running.id, running.pid, running.started) == (before.id, before.pid, before.started)

    async def scenario() -> tuple[bytes, ExitStatus]:
        attachment = await running.attach(stdin=True)
        await attachment.write(b"word\n")
        return await read_until(attachment, b"got word\n"), await running.wait()

    assert box.run(scenario())[1].code == 5


def test_a_container_that_ended_while_no_daemon_ran_is_told_of(box: Box) -> None:
    spec = box.spec("sh", "-c", "sleep 0.3; exit 6")
    running = box.start(spec)
    box.drop()
    wait_gone(running.pid)
    box.restart_after_drop()
    status = box.run(until_ended(box, spec.id))
    assert status.code == 6


async def until_ended(box: Box, identifier: str) -> Any:
    found = await box.launcher.adopt(identifier)
    return found if isinstance(found, ExitStatus) else await found.wait()


def test_nothing_is_known_of_what_was_never_started(box: Box) -> None:
    assert box.run(box.launcher.adopt("0" * 64)) is None


def test_a_daemon_that_dies_before_the_start_leaves_no_container(box: Box) -> None:
    spec = box.spec("sleep", "1000")
    running = box.run(box.launcher.prepare(spec))
    shim = parent_of(running.pid)
    box.restart()
    wait_gone(shim)
    assert_nothing_left(box, spec.id)
    assert box.run(box.launcher.adopt(spec.id)) is None


def test_a_killed_zygote_is_replaced(box: Box) -> None:
    first = box.start(box.spec("sleep", "1000"))
    os.kill(zygote_of(box), signal.SIGKILL)
    for _ in range(4):  # more than there are idle shims
        assert box.shell("echo still") == "still\n"
    assert not has_ended(first.pid)


def zygote_of(box: Box) -> int:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    (found,) = [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text() == "netd-zygote\n"]
    return found


def test_a_killed_shim_is_replaced_and_nothing_is_lost(box: Box) -> None:
    script = "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo $i; done; read x; echo $x; exit 9"
    spec = box.spec("sh", "-c", script, process={"stdin": True})
    running = box.start(spec)
    os.kill(parent_of(running.pid), signal.SIGKILL)

    async def scenario() -> ExitStatus:
        attachment = None
        while attachment is None:
            try:
                attachment = await running.attach(stdin=True)
            except ProcessLookupError:
                await asyncio.sleep(0.01)
        await attachment.write(b"after\n")
        return await running.wait()

    assert box.run(scenario()) == ExitStatus(9, box.run(running.wait()).finished)
    logged = [json.loads(line)["log"] for line in Path(spec.log_path).read_text().splitlines()]
    assert logged[-1] == "after\n"
    assert logged[-2] == "2000\n"


def test_a_shim_killed_while_no_daemon_runs_is_replaced_at_the_next_start(box: Box) -> None:
    spec = box.spec("sh", "-c", "trap 'echo bye; exit 11' TERM; while :; do sleep 0.05; done")
    running = box.start(spec)
    shim = parent_of(running.pid)
    box.drop()
    os.kill(shim, signal.SIGKILL)
    box.restart_after_drop()
    found = box.run(box.launcher.adopt(spec.id))
    assert found.pid == running.pid
    box.run(found.signal(signal.SIGTERM))
    assert box.run(found.wait()).code == 11
    assert json.loads(Path(spec.log_path).read_text().splitlines()[-1])["log"] == "bye\n"


def test_a_container_that_ends_with_its_shim_is_reported_lost(box: Box) -> None:
    spec = box.spec("sleep", "1000")
    running = box.start(spec)
    shim = parent_of(running.pid)
    box.drop()
    for pid in (shim, running.pid):
        os.kill(pid, signal.SIGKILL)
    wait_gone(running.pid, reaped=True)
    box.restart_after_drop()
    status = box.run(box.launcher.adopt(spec.id))
    assert isinstance(status, ExitStatus)
    assert status.code == 255
    assert "shim was killed" in status.error


def test_the_code_is_known_when_shim_and_process_die_before_the_daemons_eyes(box: Box) -> None:
    running = box.start(box.spec("sleep", "1000"))
    os.kill(parent_of(running.pid), signal.SIGKILL)
    os.kill(running.pid, signal.SIGKILL)
    assert box.run(running.wait()).code == 137


def test_an_init_forwards_signals_and_reaps_orphans(box: Box) -> None:
    orphans = "for i in 1 2 3; do (sleep 0.01 &) ; done; sleep 0.1; ls -d /proc/[0-9]* | wc -l"
    script = f"trap 'exit 12' TERM; {orphans}; while :; do sleep 0.02; done"
    spec = box.spec("sh", "-c", script, init=True)

    async def scenario() -> tuple[bytes, ExitStatus]:
        running = await box.launcher.prepare(spec)
        attachment = await running.attach(stdin=False)
        await box.launcher.release(running)
        out = await read_until(attachment, b"\n")
        await running.signal(signal.SIGTERM)
        return out, await running.wait()

    out, status = box.run(scenario())
    assert int(out) <= 4  # the init, the shell, ls, wc
    assert status.code == 12


def test_an_init_is_as_confined_as_the_program(box: Box) -> None:
    spec = box.spec("cat", "/proc/1/status", init=True, process={"user": "al", "no_new_privileges": True})
    code, out, _err = box.complete(spec)
    assert code == 0
    for line in (
        "Name:\tinit",
        "CapEff:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "Seccomp:\t2",
        "NoNewPrivs:\t1",
    ):
        assert f"{line}\n" in out
    as_root = box.complete(box.spec("cat", "/proc/1/status", init=True))[1]
    assert "CapPrm:\t00000000a80425fb\n" in as_root
    assert "CapEff:\t00000000a80425fb\n" in as_root


def test_an_init_reports_what_cannot_be_run(box: Box) -> None:
    with pytest.raises(StartError) as caught:
        box.start(box.spec("nothing", init=True))
    assert caught.value.code == 127


def test_output_from_before_the_attachment_is_in_the_log_only(box: Box) -> None:
    spec = box.spec("sh", "-c", "echo early; read x; echo late", process={"stdin": True})

    async def scenario() -> bytes:
        running = await box.launcher.prepare(spec)
        first = await running.attach(stdin=True)
        await box.launcher.release(running)
        await read_until(first, b"early\n")
        second = asyncio.ensure_future(collect(running))
        await asyncio.sleep(0.05)
        await first.write(b"\n")
        return (await second)[0]

    assert box.run(scenario()) == b"late\n"


def test_processes_in_the_hosts_namespace_end_with_the_first(box: Box) -> None:
    spec = box.spec("sh", "-c", "sleep 1000 & exit 3", pid_mode="host")
    running = box.start(spec)
    assert box.run(running.wait()).code == 3
    assert box.launcher.pids(spec.id) == ()
    assert groups_of(spec.id) == []


def test_a_log_whose_folder_is_gone_stops_nobody(box: Box) -> None:
    spec = box.spec("sh", "-c", "read x; echo $x; exit 4", process={"stdin": True})
    running = box.start(spec)
    shutil.rmtree(Path(spec.log_path).parent, ignore_errors=True)

    async def scenario() -> tuple[bytes, ExitStatus]:
        attachment = await running.attach(stdin=True)
        await attachment.write(b"word\n")
        return await read_until(attachment, b"word\n"), await running.wait()

    assert box.run(scenario())[1].code == 4
