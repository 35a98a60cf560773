"""The table of a container's processes that ``top`` returns."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from netd.common.errors import BadRequest
from runtime.kernel import proc

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    parent: int
    user: int
    started: float
    """Start time in seconds since boot."""
    cpu_time: float
    """CPU time in seconds."""
    memory: int
    resident: int
    state: str
    terminal: int
    command: str


_Column = Callable[[_Process], str]


def table(pids: Iterable[int], arguments: str) -> tuple[list[str], list[list[str]]]:
    """Return (titles, rows) as ``ps`` prints them for *arguments*: ``-ef``, ``aux``, or ``-o`` with columns.

    Raises BadRequest for other arguments.
    """
    titles = _titles(arguments)
    processes = sorted((process for pid in pids if (process := _read(pid))), key=lambda process: process.pid)
    return titles, [[_COLUMNS[title](process) for title in titles] for process in processes]


def _titles(arguments: str) -> list[str]:
    parts = arguments.split()
    if parts in ([], ["-ef"], ["ef"]):
        return ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    if parts in (["aux"], ["-aux"]):
        return ["USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT", "START", "TIME", "COMMAND"]
    if parts and parts[0].lstrip("-") in ("o", "eo"):
        names = [name for name in ",".join(parts[1:]).split(",") if name]
        if names and all(name in _BY_NAME for name in names):
            return [_BY_NAME[name] for name in names]
    raise BadRequest(f"ps {arguments}: use -ef, aux, or -o with any of {', '.join(_BY_NAME)}")


def _read(pid: int) -> _Process | None:
    try:
        stat, command, user = proc.process_files(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    head, _, tail = stat.rpartition(")")
    line = command.replace(b"\0", b" ").decode(errors="replace").strip()
    fields = tail.split()
    return _Process(
        pid=pid,
        parent=int(fields[1]),
        user=user,
        started=int(fields[19]) / _TICKS,
        cpu_time=(int(fields[11]) + int(fields[12])) / _TICKS,
        memory=int(fields[20]),
        resident=int(fields[21]) * _PAGE,
        state=fields[0],
        terminal=int(fields[4]),
        command=line or f"[{head.partition('(')[2]}]",
    )


def _user(process: _Process) -> str:
    try:
        return pwd.getpwuid(process.user).pw_name
    except KeyError:
        return str(process.user)


def _format_cpu_time(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _format_start_time(process: _Process) -> str:
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.strftime("%H:%M", time.localtime(booted + process.started))


def _cpu_percent(process: _Process) -> float:
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - process.started
    return process.cpu_time / age * 100 if age > 0 else 0.0


def _terminal(process: _Process) -> str:
    return f"pts/{process.terminal & 0xFF}" if process.terminal else "?"


def _memory_percent(process: _Process) -> str:
    total = os.sysconf("SC_PHYS_PAGES") * _PAGE
    return f"{process.resident / total * 100:.1f}"


_COLUMNS: dict[str, _Column] = {
    "UID": _user,
    "USER": _user,
    "PID": lambda process: str(process.pid),
    "PPID": lambda process: str(process.parent),
    "C": lambda process: str(int(_cpu_percent(process))),
    "%CPU": lambda process: f"{_cpu_percent(process):.1f}",
    "%MEM": _memory_percent,
    "VSZ": lambda process: str(process.memory // 1024),
    "RSS": lambda process: str(process.resident // 1024),
    "STAT": lambda process: process.state,
    "STIME": _format_start_time,
    "START": _format_start_time,
    "TTY": _terminal,
    "TIME": lambda process: _format_cpu_time(process.cpu_time),
    "CMD": lambda process: process.command,
    "COMMAND": lambda process: process.command,
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
