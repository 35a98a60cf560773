"""Standard streams: pipes, terminals, and attached clients."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from low_box import Box, parent_of, read_all, read_until

from runtime import frames
from runtime.shim import clients, event_loop
from runtime.spec import ExitStatus


def test_stdin_reaches_the_program_and_ends(box: Box) -> None:
    spec = box.spec("cat", process={"stdin": True})

    async def scenario() -> tuple[bytes, ExitStatus]:
        running = await box.launcher.prepare(spec)
        attachment = await running.attach(stdin=True)
        await attachment.write(b"before ")
        await box.launcher.release(running)
        await attachment.write(b"after")
        await attachment.close_stdin()
        out, _err = await read_all(attachment)
        return out, await running.wait()

    out, status = box.run(scenario())
    assert (out, status.code) == (b"before after", 0)


def test_much_input_is_passed_on_as_fast_as_it_is_read(box: Box) -> None:
    spec = box.spec("sh", "-c", "sleep 0.2; wc -c", process={"stdin": True})

    async def scenario() -> bytes:
        running = await box.launcher.prepare(spec)
        attachment = await running.attach(stdin=True)
        await box.launcher.release(running)
        await attachment.write(b"x" * (3 << 20))
        await attachment.close_stdin()
        return (await read_all(attachment))[0]

    assert int(box.run(scenario())) == 3 << 20


def test_without_stdin_the_program_reads_the_containers_null_device(box: Box) -> None:
    assert box.shell("wc -c; readlink /proc/self/fd/0").split() == ["0", "/dev/null"]


def test_stdin_stays_open_when_clients_leave(box: Box) -> None:
    spec = box.spec("sh", "-c", "read a; read b; echo $a$b", process={"stdin": True})

    async def scenario() -> bytes:
        running = await box.launcher.prepare(spec)
        await box.launcher.release(running)
        for word in (b"1\n", b"2\n"):
            attachment = await running.attach(stdin=True)
            await attachment.write(word)
            if word == b"1\n":
                await attachment.close()
        return (await read_all(attachment))[0]

    assert box.run(scenario()) == b"12\n"


def test_stdin_once_ends_with_the_first_client(box: Box) -> None:
    spec = box.spec("cat", process={"stdin": True, "stdin_once": True})

    async def scenario() -> ExitStatus:
        running = await box.launcher.prepare(spec)
        await box.launcher.release(running)
        attachment = await running.attach(stdin=True)
        await attachment.write(b"x")
        await attachment.close()
        return await running.wait()

    assert box.run(scenario()).code == 0


def test_stdin_survives_the_shim(box: Box) -> None:
    spec = box.spec("sh", "-c", "cat; echo end", process={"stdin": True})

    async def scenario() -> bytes:
        running = await box.launcher.prepare(spec)
        await box.launcher.release(running)
        os.kill(parent_of(running.pid), signal.SIGKILL)
        attachment = await attach_again(running)
        await attachment.write(b"word\n")
        seen = await read_until(attachment, b"word\n")
        await attachment.close_stdin()
        return seen + (await read_all(attachment))[0]

    assert box.run(scenario()) == b"word\nend\n"


async def attach_again(running: Any) -> Any:
    """Attach to the next shim as soon as it listens."""
    while True:
        try:
            return await running.attach(stdin=True)
        except ProcessLookupError:
            await asyncio.sleep(0.005)


def test_both_streams_are_told_apart_and_can_be_left_out(box: Box) -> None:
    spec = box.spec("sh", "-c", "echo out; echo err >&2")

    async def scenario() -> list[tuple[bytes, bytes]]:
        running = await box.launcher.prepare(spec)
        kinds = ({}, {"stdout": False}, {"stderr": False})
        attachments = [await running.attach(stdin=False, **kind) for kind in kinds]
        await box.launcher.release(running)
        return [await read_all(attachment) for attachment in attachments]

    assert box.run(scenario()) == [(b"out\n", b"err\n"), (b"", b"err\n"), (b"out\n", b"")]


def test_a_terminal_is_one_stream_with_a_size_that_changes(box: Box) -> None:
    script = "tty; stty size; trap 'stty size; exit 3' WINCH; echo ready; while :; do sleep 0.02; done"
    spec = box.spec("sh", "-c", script, process={"tty": True, "stdin": True, "console_size": (40, 100)})

    async def scenario() -> tuple[bytes, bytes, ExitStatus]:
        running = await box.launcher.prepare(spec)
        attachment = await running.attach(stdin=True)
        await box.launcher.release(running)
        first = await read_until(attachment, b"ready\r\n")
        await running.resize(50, 120)
        rest, _err = await read_all(attachment)
        return first, rest, await running.wait()

    first, rest, status = box.run(scenario())
    assert first.split() == [b"/dev/pts/0", b"40", b"100", b"ready"]
    assert rest.split() == [b"50", b"120"]
    assert status.code == 3


def test_a_terminal_interrupts_and_is_the_console(box: Box) -> None:
    spec = box.spec(
        "sh", "-c", "echo on console > /dev/console; exec cat", process={"tty": True, "stdin": True}, init=True
    )

    async def scenario() -> tuple[bytes, ExitStatus]:
        running = await box.launcher.prepare(spec)
        attachment = await running.attach(stdin=True)
        await box.launcher.release(running)
        seen = await read_until(attachment, b"on console\r\n")
        await attachment.write(b"typed\r")
        seen += await read_until(attachment, b"typed\r\ntyped\r\n")
        await attachment.write(b"\x03")
        return seen, await running.wait()

    _seen, status = box.run(scenario())
    assert status.code == 130


def test_a_terminals_last_words_are_delivered(box: Box) -> None:
    spec = box.spec("seq", "1", "3000", process={"tty": True})

    async def scenario() -> bytes:
        running = await box.launcher.prepare(spec)
        attachment = await running.attach(stdin=False)
        await box.launcher.release(running)
        return (await read_all(attachment))[0]

    assert box.run(scenario()) == b"".join(b"%d\r\n" % n for n in range(1, 3001))


def test_a_terminal_survives_its_shim(box: Box) -> None:
    spec = box.spec("sh", process={"tty": True, "stdin": True})

    async def scenario() -> tuple[bytes, ExitStatus]:
        running = await box.launcher.prepare(spec)
        await box.launcher.release(running)
        os.kill(parent_of(running.pid), signal.SIGKILL)
        attachment = await attach_again(running)
        await attachment.write(b"echo $((40+2))\r")
        seen = await read_until(attachment, b"\n42\r\n")
        await attachment.write(b"exit 4\r")
        return seen, await running.wait()

    assert box.run(scenario())[1].code == 4


def test_a_client_that_does_not_read_holds_the_output_back_until_it_goes(box: Box) -> None:
    spec = box.spec("sh", "-c", "seq 1 300000; echo done > /done")

    async def scenario() -> tuple[bytes, bytes]:
        running = await box.launcher.prepare(spec)
        lazy = await running.attach(stdin=False)
        eager = await running.attach(stdin=False)
        await box.launcher.release(running)
        seen = b""
        try:
            async with asyncio.timeout(1.0):
                async for _stream, data in eager:
                    seen += data
        except TimeoutError:
            pass
        memory = resident(parent_of(running.pid))
        assert not (Path(spec.upper) / "done").exists()
        await lazy.close()
        out, _err = await read_all(eager)
        assert (await running.wait()).code == 0
        return seen + out, memory

    out, memory = box.run(scenario())
    assert len(out) > 1_000_000
    assert memory < 24 << 20
    assert re.search(rb"\n300000\n\Z", out)


def resident(pid: int) -> int:
    """Return the bytes of memory that the process holds."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096


class Quiet:
    """Callbacks of a shim whose process writes no output."""

    def describe(self) -> tuple[bytes, tuple[int, ...]]:
        return b"", ()

    def command(self, kind: int, payload: bytes) -> None: ...

    def client_closed(self, client: clients.Client) -> None: ...

    def set_reading(self, *, enabled: bool) -> None: ...


def test_a_client_that_has_taken_nothing_for_too_long_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = socket.socket(socket.AF_UNIX)
    ours, theirs = socket.socketpair()
    listed = clients.Clients(Quiet(), event_loop.Loop(), listener)
    client = listed.add(ours)
    client.streams = clients.OUT
    while not client.pending:
        listed.output(1, b"x" * 65536)
    listed.drop_stalled()
    assert not listed.idle()
    monkeypatch.setattr(clients, "STALL_SECONDS", -1.0)
    listed.drop_stalled()
    assert listed.idle()
    theirs.setblocking(False)
    while theirs.recv(1 << 20):
        pass
    listener.close()


def test_a_client_that_the_process_belongs_to_is_never_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "STALL_SECONDS", -1.0)
    listener, events = socket.socket(socket.AF_UNIX), event_loop.Loop()
    ours, theirs = socket.socketpair()
    listed = clients.Clients(Quiet(), events, listener)
    client = listed.add(ours)
    frames.send(theirs, frames.ATTACH, bytes((clients.OUT | clients.NO_TIMEOUT,)))
    events.poll(1)
    while not client.pending:
        listed.output(1, b"x" * 65536)
    listed.drop_stalled()
    assert not listed.idle() and listed.poll_timeout() == -1
    theirs.close()
    events.poll(1)
    assert listed.idle()
    listener.close()
