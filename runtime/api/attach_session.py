"""Moves bytes between a client's raw connection and a process's streams: attach and exec.

To the client, output without a terminal is framed by stream; from it, bytes are never framed.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from contextlib import suppress
from dataclasses import dataclass

from netd.common.http.hijack import Hijacked
from netd.common.http.web import Version
from netd.common.tasks import start_awaited
from runtime.engine.options.detach_keys import Detector
from runtime.shim_client.supervisor import Attachment
from runtime.spec import StreamLost

_MULTIPLEXED = (1, 42)
_CHUNK = 1 << 16
_LAST_INPUT_SECONDS = 2.0
_ERROR = 3
"""The stream of messages that clients report as an error of the daemon."""
RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"

_log = logging.getLogger(__name__)


def content_type(*, tty: bool, version: Version, upgrade: bool = True) -> str:
    return RAW if tty or version < _MULTIPLEXED or not upgrade else MULTIPLEXED


def frame(stream: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", stream, len(data)) + data


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a session behaves."""

    tty: bool
    stdin: bool
    close_stdin: bool
    """The end of the client's input is the end of the process's."""
    keys: bytes
    """Detach keys."""


async def run(taken: Hijacked, streams: Attachment, terms: Terms) -> bool:
    """Serve one session until the output ends, the client leaves, or it presses the detach keys.

    Returns whether all of the output was sent.
    """
    sending = start_awaited(_send(taken.writer, streams, terms.tty))
    receiving = start_awaited(_receive(taken.reader, streams, terms))
    try:
        await asyncio.wait((sending, receiving, taken.gone), return_when=asyncio.FIRST_COMPLETED)
        detached = receiving.done() and not receiving.cancelled() and not receiving.exception() and receiving.result()
        if not detached and not sending.done():
            await asyncio.wait((sending, taken.gone), return_when=asyncio.FIRST_COMPLETED)
        if taken.gone.done() and not receiving.done():
            # What the client wrote before it left is still the program's.
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
            _log.warning("client disconnected from a stream: error=%s", lost)
            writer.write(f"\r\n{lost}\r\n".encode() if tty else frame(_ERROR, str(lost).encode()))
    return False


async def _receive(reader: asyncio.StreamReader, streams: Attachment, terms: Terms) -> bool:
    """Hand the client's input on; return whether it detached."""
    detector = Detector(terms.keys)
    with suppress(ConnectionError, BrokenPipeError):
        while data := await reader.read(_CHUNK):
            passed, detached = detector.feed(data) if terms.tty else (data, False)
            if passed and terms.stdin:
                await streams.write(passed)
            if detached:
                return True
        if terms.stdin and terms.close_stdin:
            await streams.close_stdin()
    return False
