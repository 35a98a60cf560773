"""Streams the progress of an operation to the client that asked for it, as Docker's JSON messages.

An error before the first message is an ordinary error response; after it, the last message of the stream.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from netd.common import codec, resource_errors
from netd.common.errors import Problem
from netd.common.http.web import Call, stream
from netd.common.tasks import start_awaited
from runtime.api.long_requests import LongRequests
from runtime.progress import Message, Report

_log = logging.getLogger(__name__)
Job = Callable[[Report], Awaitable[None]]


async def run(call: Call, long_requests: LongRequests, job: Job) -> web.StreamResponse:
    """Run *job*, which is cancelled when the client disconnects, and send its messages."""
    report = Report()
    response: web.StreamResponse | None = None
    with long_requests.session(call):
        working = start_awaited(job(report))
        arrived = start_awaited(report.next())
        try:
            while not working.done():
                await asyncio.wait((working, arrived), return_when=asyncio.FIRST_COMPLETED)
                if arrived.done():
                    response = await _send(call, response, arrived.result())
                    arrived = start_awaited(report.next())
            problem = working.exception()
            if problem is not None and response is None:
                raise problem
            messages = report.take() + ([_error(call, problem)] if problem is not None else [])
            return await _send(call, response, messages)
        finally:
            arrived.cancel()
            working.cancel()
            # Retrieves the error of a job that ends with another one than CancelledError, such as a cut archive.
            await asyncio.gather(working, return_exceptions=True)


async def _send(call: Call, response: web.StreamResponse | None, messages: list[Message]) -> web.StreamResponse:
    response = response or await stream(call, {"Content-Type": "application/json"})
    if messages:
        await response.write(b"".join(codec.encode(message) + b"\r\n" for message in messages))
    return response


def _error(call: Call, error: BaseException) -> Message:
    """Return the last message after *error*, which ended the job; a bug is logged."""
    problem = error if isinstance(error, Problem) else resource_errors.problem(error, "the operation failed")
    if problem is None:
        _log.error("request failed: method=%s path=%s", call.request.method, call.request.path, exc_info=error)
    message = problem.message if problem is not None else "the operation failed; the daemon's log has the cause"
    return {"errorDetail": {"message": message}, "error": message}
