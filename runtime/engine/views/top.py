"""What ``top`` shows of a container's processes, read from the host's /proc."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from netd.common.errors import BadRequest

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LONGEST_COMMAND = 4096
"""A process can have megabytes of arguments."""


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    parent: int
    user: int
    started: float
    """Seconds since the machine's start."""
    seconds: float
    """Of processor time."""
    memory: int
    resident: int
    state: str
    terminal: int
    command: str


_Column = Callable[[_Process], str]


def table(pids: Iterable[int], arguments: str) -> tuple[list[str], list[list[str]]]:
    """Return titles and rows as ``ps`` with *arguments* would show them: ``-ef``, ``aux``, or ``-o`` with columns.

    Raises BadRequest for other arguments.
    """
    titles = _titles(arguments)
    found = sorted((one for pid in pids if (one := _read(pid))), key=lambda one: one.pid)
    return titles, [[_COLUMNS[title](one) for title in titles] for one in found]


def _titles(arguments: str) -> list[str]:
    words = arguments.split()
    if words in ([], ["-ef"], ["ef"]):
        return ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    if words in (["aux"], ["-aux"]):
        return ["USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT", "START", "TIME", "COMMAND"]
    if words and words[0].lstrip("-") in ("o", "eo"):
        named = [name for name in ",".join(words[1:]).split(",") if name]
        if named and all(name in _BY_NAME for name in named):
            return [_BY_NAME[name] for name in named]
    raise BadRequest(f"ps {arguments}: use -ef, aux, or -o with any of {', '.join(_BY_NAME)}")


def _read(pid: int) -> _Process | None:
    folder = Path("/proc", str(pid))
    try:
        head, _, tail = (folder / "stat").read_text(errors="replace").rpartition(")")
        with (folder / "cmdline").open("rb") as file:
            line = file.read(_LONGEST_COMMAND).replace(b"\0", b" ").decode(errors="replace").strip()
        user = folder.stat().st_uid
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = tail.split()
    return _Process(
        pid=pid,
        parent=int(fields[1]),
        user=user,
        started=int(fields[19]) / _TICKS,
        seconds=(int(fields[11]) + int(fields[12])) / _TICKS,
        memory=int(fields[20]),
        resident=int(fields[21]) * _PAGE,
        state=fields[0],
        terminal=int(fields[4]),
        command=line or f"[{head.partition('(')[2]}]",
    )


def _user(one: _Process) -> str:
    try:
        return pwd.getpwuid(one.user).pw_name
    except KeyError:
        return str(one.user)


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _start(one: _Process) -> str:
    return time.strftime("%H:%M", time.localtime(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + one.started))


def _share(one: _Process) -> float:
    lived = time.clock_gettime(time.CLOCK_BOOTTIME) - one.started
    return one.seconds / lived * 100 if lived > 0 else 0.0


def _terminal(one: _Process) -> str:
    return f"pts/{one.terminal & 0xFF}" if one.terminal else "?"


def _memory_share(one: _Process) -> str:
    total = os.sysconf("SC_PHYS_PAGES") * _PAGE
    return f"{one.resident / total * 100:.1f}"


_COLUMNS: dict[str, _Column] = {
    "UID": _user,
    "USER": _user,
    "PID": lambda one: str(one.pid),
    "PPID": lambda one: str(one.parent),
    "C": lambda one: str(int(_share(one))),
    "%CPU": lambda one: f"{_share(one):.1f}",
    "%MEM": _memory_share,
    "VSZ": lambda one: str(one.memory // 1024),
    "RSS": lambda one: str(one.resident // 1024),
    "STAT": lambda one: one.state,
    "STIME": _start,
    "START": _start,
    "TTY": _terminal,
    "TIME": lambda one: _clock(one.seconds),
    "CMD": lambda one: one.command,
    "COMMAND": lambda one: one.command,
}
_BY_NAME = {
    "user": "USER",
    "uid": "UID",
    "pid": "PID",
    "ppid": "PPID",
    "pcpu": "%CPU",
    "pmem": "%MEM",
    "vsz": "VSZ",
    "rss": "RSS",
    "stat": "STAT",
    "stime": "STIME",
    "tty": "TTY",
    "time": "TIME",
    "cmd": "CMD",
    "args": "COMMAND",
    "command": "COMMAND",
}
