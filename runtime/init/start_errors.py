"""The error of a process that cannot be started, and its report to the setup process."""

from __future__ import annotations

import os

from runtime import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import NoReturn


class CannotStart(Exception):
    """The process cannot be started.  ``code`` is the exit code that Docker reports for it."""

    def __init__(self, message: str, code: int = 128) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def run_reporting(channel: _socket.socket, set_up: Callable[[], None], purpose: str) -> NoReturn:
    """Run *set_up*; if it raises an exception, send FAILED; exit with 1.

    *purpose* completes "cannot …" in the message for unexpected exceptions.
    """
    try:
        set_up()
    except CannotStart as problem:
        _send_failure(channel, problem.message, problem.code)
    except frames.ChannelError:
        pass
    except Exception as problem:
        _send_failure(channel, f"cannot {purpose}: {problem}", 128)
    os._exit(1)


def _send_failure(channel: _socket.socket, message: str, code: int) -> None:
    try:
        frames.send(channel, frames.FAILED, frames.pack_failure(code, message))
    except OSError:
        return
