"""Where log messages go: the journal with fields, or lines of text or JSON on standard error.

A message is ``what happened: key=value key=value``; the keys are those of the format string, so that values with spaces
stay whole in the journal and in JSON.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from netd import request_id

_JOURNAL = "/run/systemd/journal/socket"
_KEYS = re.compile(r"(\w+)=%[.\d]*[sdrfg]")
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
"""syslog(3) priorities."""


def start(program: str, level: str, style: str, journal: str = _JOURNAL) -> None:
    """Configure the log: the *journal* if standard error leads there, else *style* (text, json) on standard error."""
    handler: logging.Handler
    if _stderr_is_journal() and (connection := _journal(journal)) is not None:
        handler = _JournalHandler(program, connection)
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_JsonFormatter(program) if style == "json" else _TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def set_level(level: str) -> None:
    logging.getLogger().setLevel(level.upper())


def fields(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of a message, then the id of the request."""
    keys = _KEYS.findall(str(record.msg))
    if isinstance(record.args, tuple) and len(keys) == len(record.args):
        yield from zip(keys, record.args, strict=True)
    if found := request_id.current():
        yield "request", found


class _TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        request = request_id.current()
        head, *rest = super().format(record).split("\n", 1)
        return "\n".join([f"{_time(record)} {head}{f' request={request}' if request else ''}", *rest])


class _JsonFormatter(logging.Formatter):
    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        document = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "program": self._program,
            "logger": record.name,
            "message": record.getMessage(),
            **{key: value if isinstance(value, int | float) else str(value) for key, value in fields(record)},
        }
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False)


class _JournalHandler(logging.Handler):
    """Sends messages by the journal's native protocol (systemd, "Native Journal Protocol")."""

    def __init__(self, program: str, connection: socket.socket) -> None:
        super().__init__()
        self._program = program
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        entries = [
            ("MESSAGE", text),
            ("PRIORITY", _PRIORITIES.get(record.levelno, 6)),
            ("SYSLOG_IDENTIFIER", self._program),
            ("LOGGER", record.name),
            *((f"NETD_{key.upper()}", value) for key, value in fields(record)),
        ]
        with suppress(OSError):  # A journal that restarts must not end the daemon.
            self._connection.send(b"".join(_entry(name, str(value)) for name, value in entries))


def _entry(name: str, text: str) -> bytes:
    data = text.encode(errors="backslashreplace")
    return b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(data)), data)


def _time(record: logging.LogRecord) -> str:
    """RFC 3339, UTC, milliseconds."""
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _stderr_is_journal() -> bool:
    """Return whether standard error is a stream of the journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        found = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _journal(journal: str) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        connection.connect(journal)
    except OSError:
        connection.close()
        return None
    return connection
