"""Responses to prune requests: one JSON report, or with the query parameter ``stream`` a line for each deletion.

Source: API version 1.56.  The last line has the report in ``aux``, or ``errorDetail`` if the operation failed later.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from aiohttp import web

from netd.common import codec
from netd.common.errors import Problem
from netd.common.http.web import Call, json, stream

STREAM_SINCE = (1, 56)

Deleted = Callable[[str], Awaitable[None]]
"""Called with the id or name of each object that was deleted."""


async def respond(call: Call, prune: Callable[[Deleted], Awaitable[dict[str, Any]]]) -> web.StreamResponse:
    """Run *prune*, which returns the report, and send the response.  Raises a Problem of *prune* before a deletion.

    If the client disconnects, no more objects are deleted.
    """
    if call.version < STREAM_SINCE or not call.flag("stream"):
        return json(await prune(_unreported))
    response: web.StreamResponse | None = None

    async def send(message: dict[str, Any]) -> web.StreamResponse:
        nonlocal response
        response = response or await stream(call, {"Content-Type": "application/jsonl"})
        await response.write(codec.encode(message) + b"\n")
        return response

    async def deleted(identifier: str) -> None:
        await send({"id": identifier, "status": "Deleted"})

    try:
        report = await prune(deleted)
        return await send({"aux": report})
    except Problem as problem:
        if response is None:
            raise
        with suppress(ConnectionError):
            await send({"errorDetail": {"message": problem.message}})
        return response
    except ConnectionError:  # the client has disconnected: nothing can be sent
        return response or web.Response()


async def _unreported(_: str) -> None:
    """Do nothing: the deletion is in the report."""
