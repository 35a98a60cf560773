"""The lines of a stream of netd, read without an HTTP client, which a runtime would otherwise load for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

_CONNECT_SECONDS = 5.0
_MAX_LINE = 1 << 20
"""Bytes; also the largest chunk."""


class WrongResponse(OSError):
    """The response is no stream in chunks, or is incomplete."""


async def lines(socket: Path, path: str) -> AsyncIterator[bytes]:
    """Yield the lines of ``GET path`` until the response ends.  Raises OSError, also for every status but 200."""
    async with asyncio.timeout(_CONNECT_SECONDS):
        reader, writer = await asyncio.open_unix_connection(str(socket), limit=_MAX_LINE)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: netd\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if head.split(b" ", 2)[1:2] != [b"200"] or b"\r\ntransfer-encoding: chunked\r\n" not in head.lower():
            raise WrongResponse(f"the answer to {path} begins with {head[:40]!r}")
        rest = b""
        while chunk := await _chunk(reader):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield line
            if len(rest) > _MAX_LINE:
                raise WrongResponse(f"the answer to {path} has a line of more than {_MAX_LINE} bytes")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as problem:
        raise WrongResponse(f"the answer to {path} is incomplete: {problem}") from None
    finally:
        writer.close()


async def _chunk(reader: asyncio.StreamReader) -> bytes:
    """Return the next chunk; b"" for the last (RFC 9112, section 7.1)."""
    size = int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16)
    if not 0 <= size <= _MAX_LINE:
        raise ValueError(f"a chunk of {size} bytes")
    return (await reader.readexactly(size + 2))[:-2]
