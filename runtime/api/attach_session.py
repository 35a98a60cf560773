"""Copies bytes between a client's hijacked connection and a process's streams, for attach and exec.

Output without a terminal is sent in frames that name the stream; input is never framed.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from netd.common.http.hijack import Hijacked
from netd.common.http.web import Version
from netd.common.tasks import start_awaited
from runtime.engine.containers.container import Container, PendingAttachment
from runtime.engine.options.detach_keys import DetachKeyDetector
from runtime.shim_client.supervisor import Attachment, Running
from runtime.spec import StreamLost

_MULTIPLEXED = (1, 42)
_CHUNK = 1 << 16
_LAST_INPUT_SECONDS = 2.0
_ERROR_STREAM = 3
"""Docker's stream ``systemerr``: clients report its content as an error of the daemon."""
RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"

_log = logging.getLogger(__name__)


def content_type(*, tty: bool, version: Version, upgrade: bool = True) -> str:
    return RAW if tty or version < _MULTIPLEXED or not upgrade else MULTIPLEXED


def frame(stream: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", stream, len(data)) + data


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """Options of one session."""

    tty: bool
    stdin: bool
    close_stdin: bool
    """Close the process's stdin at the end of the client's input."""
    keys: bytes
    """Detach keys."""


async def join(
    container: Container, selected: frozenset[int], stdin: bool, gone: asyncio.Future[Any]
) -> Attachment | None:
    """Return the streams of the running process or, if there is none, of the next one.

    *selected* are the numbers of the streams.  Returns None if *gone* is done first, because the client has
    disconnected, or if the container is removed or the process ends.
    """
    connect = partial(_connect, stdin=stdin, stdout=1 in selected, stderr=2 in selected)
    if container.running is not None:
        with suppress(ProcessLookupError):
            return await connect(container.running)
        return None
    if container.removed:
        return None
    attachment = PendingAttachment(connect, asyncio.get_running_loop().create_future())
    container.pending_attachments.append(attachment)
    try:
        await asyncio.wait((attachment.ready, gone), return_when=asyncio.FIRST_COMPLETED)
        return attachment.ready.result() if attachment.ready.done() else None
    finally:
        attachment.ready.cancel()
        with suppress(ValueError):
            container.pending_attachments.remove(attachment)


async def _connect(running: Running, *, stdin: bool, stdout: bool, stderr: bool) -> Attachment:
    return await running.attach(stdin=stdin, stdout=stdout, stderr=stderr)


async def run(connection: Hijacked, streams: Attachment, options: SessionOptions) -> bool:
    """Serve one session until the output ends, the client disconnects, or it sends the detach keys.

    Returns whether all output was sent.
    """
    sending = start_awaited(_send(connection.writer, streams, options.tty))
    receiving = start_awaited(_receive(connection.reader, streams, options))
    try:
        await asyncio.wait((sending, receiving, connection.gone), return_when=asyncio.FIRST_COMPLETED)
        detached = receiving.done() and not receiving.cancelled() and not receiving.exception() and receiving.result()
        if not detached and not sending.done():
            await asyncio.wait((sending, connection.gone), return_when=asyncio.FIRST_COMPLETED)
        if connection.gone.done() and not receiving.done():
            # Input that the client sent before it disconnected is still delivered.
            await asyncio.wait((receiving,), timeout=_LAST_INPUT_SECONDS)
    finally:
        for task in (sending, receiving):
            task.cancel()
        await asyncio.gather(sending, receiving, return_exceptions=True)
        await streams.close()
    return sending.done() and not sending.cancelled() and not sending.exception() and sending.result()


async def _send(writer: asyncio.StreamWriter, streams: Attachment, tty: bool) -> bool:
    with suppress(ConnectionError):
        try:
            async for stream, data in streams:
                writer.write(data if tty else frame(stream, data))
                await writer.drain()
            return True
        except StreamLost as lost:
            _log.warning("output of a stream cut off: error=%s", lost)
            writer.write(f"\r\n{lost}\r\n".encode() if tty else frame(_ERROR_STREAM, str(lost).encode()))
    return False


async def _receive(reader: asyncio.StreamReader, streams: Attachment, options: SessionOptions) -> bool:
    """Copy the client's input to the process; return whether the client detached."""
    detector = DetachKeyDetector(options.keys)
    with suppress(ConnectionError, BrokenPipeError):
        while data := await reader.read(_CHUNK):
            passed, detached = detector.feed(data) if options.tty else (data, False)
            if passed and options.stdin:
                await streams.write(passed)
            if detached:
                return True
        if options.stdin and options.close_stdin:
            await streams.close_stdin()
    return False
