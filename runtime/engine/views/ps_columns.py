"""The columns of ps(1) that ``top`` can show, under the names and titles of procps.

Values come from /proc/PID/stat and /proc/PID/status; a few functions read other files of the process.
"""

from __future__ import annotations

import grp
import os
import pwd
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from runtime.kernel import proc

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_POLICIES = {0: "TS", 1: "FF", 2: "RR", 3: "B", 5: "IDL", 6: "DLN"}


@dataclass(frozen=True, slots=True)
class ProcessEntry:
    pid: int
    name: str
    command: str
    stat: tuple[str, ...]
    """The fields of /proc/PID/stat from the state on, proc_pid_stat(5): field N of the manual is ``stat[N - 3]``."""
    status: Mapping[str, str]
    booted: float
    """The time of the host's boot, in seconds since the epoch."""
    thread: int = 0
    """The id of the thread that the entry is about; 0 for the whole process."""

    def field(self, number: int) -> int:
        """Return a numeric field by its number in the manual; 0 if the kernel does not have it."""
        return int(self.stat[number - 3]) if number - 3 < len(self.stat) else 0

    @property
    def cpu_seconds(self) -> float:
        return (self.field(14) + self.field(15)) / _TICKS

    @property
    def started(self) -> float:
        """The start time in seconds since the epoch."""
        return self.booted + self.field(22) / _TICKS

    @property
    def age(self) -> float:
        return max(time.time() - self.started, 0.0)

    @property
    def cpu_percent(self) -> float:
        return self.cpu_seconds / self.age * 100 if self.age > 0 else 0.0

    def ids(self, key: str) -> list[int]:
        """Return real, effective, saved and file system id of ``Uid`` or ``Gid``."""
        return [int(text) for text in self.status.get(key, "0 0 0 0").split()]


def read(pid: int, thread: int = 0) -> ProcessEntry | None:
    """Return a process, or one *thread* of it; None if it has ended."""
    try:
        stat, command, status = proc.process_files(pid, thread)
    except (FileNotFoundError, ProcessLookupError):
        return None
    head, _, tail = stat.rpartition(")")
    name = head.partition("(")[2]
    line = command.replace(b"\0", b" ").decode(errors="replace").strip()
    pairs = (text.partition(":") for text in status.splitlines())
    return ProcessEntry(
        pid=pid,
        name=name,
        command=line or f"[{name}]",
        stat=tuple(tail.split()),
        status={key: value.strip() for key, _, value in pairs},
        booted=time.time() - time.clock_gettime(time.CLOCK_BOOTTIME),
        thread=thread,
    )


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    text: Callable[[ProcessEntry], str]
    order: Callable[[ProcessEntry], float | str] | None = None
    """The key for sorting; None: the text, as a number if it is one."""

    def key(self, process: ProcessEntry) -> tuple[float, str]:
        value = self.order(process) if self.order else self.text(process)
        if isinstance(value, str):
            return (float(value), "") if value.lstrip("-").isdecimal() else (0.0, value)
        return value, ""


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _clock(seconds: float, *, days: bool = True) -> str:
    """Return ``[DD-]HH:MM:SS``."""
    whole = int(seconds)
    text = f"{whole % _DAY // _HOUR:02d}:{whole % _HOUR // _MINUTE:02d}:{whole % _MINUTE:02d}"
    return f"{whole // _DAY}-{text}" if days and whole >= _DAY else text


def _elapsed(seconds: float) -> str:
    text = _clock(seconds)
    return text.removeprefix("00:") if seconds < _HOUR else text


def _bsd_time(seconds: float) -> str:
    return f"{int(seconds) // _MINUTE}:{int(seconds) % _MINUTE:02d}"


def _start_hour(process: ProcessEntry, pattern: str, day: str) -> str:
    recent = process.age < _DAY
    return time.strftime(pattern if recent else day, time.localtime(process.started))


def _terminal(process: ProcessEntry) -> str:
    number = process.field(7)
    major, minor = os.major(number), os.minor(number)
    if not number:
        return "?"
    if 136 <= major <= 143:
        return f"pts/{(major - 136) * 256 + minor}"
    return f"tty{minor}" if major == 4 and minor < 64 else "?"


def _state(process: ProcessEntry) -> str:
    """Return the state with ps's marks: priority, locked pages, session leader, threads, foreground group."""
    nice = process.field(19)
    marks = (
        ("<", nice < 0),
        ("N", nice > 0),
        ("L", not process.status.get("VmLck", "0 kB").startswith("0")),
        ("s", process.field(6) == process.pid),
        ("l", process.field(20) > 1),
        ("+", process.field(8) == process.field(5)),
    )
    return process.stat[0] + "".join(mark for mark, on in marks if on)


def _memory_percent(process: ProcessEntry) -> float:
    return process.field(24) / os.sysconf("SC_PHYS_PAGES") * 100


def _kilobytes(process: ProcessEntry, key: str) -> str:
    return process.status.get(key, "0").split()[0]


def _namespace(kind: str) -> Callable[[ProcessEntry], str]:
    def inode(process: ProcessEntry) -> str:
        try:
            return str(proc.namespace_inode(proc.namespace_path(process.pid, kind)))
        except OSError:
            return "-"

    return inode


def _control_groups(process: ProcessEntry) -> str:
    try:
        lines = proc.control_groups(process.pid).split()
    except OSError:
        return "-"
    return ",".join(line for line in lines if not line.endswith(":/")) or "-"


def _flags(process: ProcessEntry) -> str:
    return f"{process.field(9) >> 6 & 5:x}"


def _number(field: int) -> Callable[[ProcessEntry], str]:
    return lambda process: str(process.field(field))


def _id(key: str, place: int, name: Callable[[int], str] = str) -> Callable[[ProcessEntry], str]:
    return lambda process: name(process.ids(key)[place])


_CPU, _MEMORY = (lambda process: process.cpu_percent), _memory_percent
_CPU_TIME, _STARTED = (lambda process: process.cpu_seconds), (lambda process: process.started)
_COLUMNS: tuple[tuple[str, str, Callable[[ProcessEntry], str], Callable[[ProcessEntry], float] | None], ...] = (
    # (names of procps, title, text, key for sorting)
    ("pid tgid", "PID", lambda process: str(process.pid), None),
    ("ppid", "PPID", _number(4), None),
    ("pgid pgrp", "PGID", _number(5), None),
    ("sid", "SID", _number(6), None),
    ("sess session", "SESS", _number(6), None),
    ("tpgid", "TPGID", _number(8), None),
    ("tty tt", "TT", _terminal, None),
    ("tname", "TTY", _terminal, None),
    ("user uname", "USER", _id("Uid", 1, _user), None),
    ("euser", "EUSER", _id("Uid", 1, _user), None),
    ("ruser", "RUSER", _id("Uid", 0, _user), None),
    ("suser", "SUSER", _id("Uid", 2, _user), None),
    ("fuser", "FUSER", _id("Uid", 3, _user), None),
    ("uid", "UID", _id("Uid", 1), None),
    ("euid", "EUID", _id("Uid", 1), None),
    ("ruid", "RUID", _id("Uid", 0), None),
    ("suid svuid", "SUID", _id("Uid", 2), None),
    ("group", "GROUP", _id("Gid", 1, _group), None),
    ("egroup", "EGROUP", _id("Gid", 1, _group), None),
    ("rgroup", "RGROUP", _id("Gid", 0, _group), None),
    ("gid", "GID", _id("Gid", 1), None),
    ("egid", "EGID", _id("Gid", 1), None),
    ("rgid", "RGID", _id("Gid", 0), None),
    ("pcpu %cpu", "%CPU", lambda process: f"{process.cpu_percent:.1f}", _CPU),
    ("c", "C", lambda process: str(int(process.cpu_percent)), _CPU),
    ("pmem %mem", "%MEM", lambda process: f"{_memory_percent(process):.1f}", _MEMORY),
    ("vsz vsize", "VSZ", lambda process: str(process.field(23) // 1024), None),
    ("rss rssize rsz", "RSS", lambda process: str(process.field(24) * _PAGE // 1024), None),
    ("sz", "SZ", lambda process: str(process.field(23) // _PAGE), None),
    ("size", "SIZE", lambda process: _kilobytes(process, "VmData"), None),
    ("trs", "TRS", lambda process: _kilobytes(process, "VmExe"), None),
    ("drs", "DRS", lambda process: str(process.field(23) // 1024 - int(_kilobytes(process, "VmExe"))), None),
    ("stat", "STAT", _state, None),
    ("s state", "S", lambda process: process.stat[0], None),
    ("stime", "STIME", lambda process: _start_hour(process, "%H:%M", "%b%d"), _STARTED),
    ("bsdstart", "START", lambda process: _start_hour(process, "%H:%M", "%b %d"), _STARTED),
    ("start", "STARTED", lambda process: _start_hour(process, "%H:%M:%S", "%b %d"), _STARTED),
    ("start_time", "START", lambda process: _start_hour(process, "%H:%M", "%b%d"), _STARTED),
    ("lstart", "STARTED", lambda process: time.strftime("%a %b %e %T %Y", time.localtime(process.started)), _STARTED),
    ("etime", "ELAPSED", lambda process: _elapsed(process.age), lambda process: process.age),
    ("etimes", "ELAPSED", lambda process: str(int(process.age)), lambda process: process.age),
    ("time cputime", "TIME", lambda process: _clock(process.cpu_seconds), _CPU_TIME),
    ("bsdtime", "TIME", lambda process: _bsd_time(process.cpu_seconds), _CPU_TIME),
    ("times cputimes", "TIME", lambda process: str(int(process.cpu_seconds)), _CPU_TIME),
    ("cmd", "CMD", lambda process: process.command, None),
    ("args command", "COMMAND", lambda process: process.command, None),
    ("comm ucomm fname", "COMMAND", lambda process: process.name, None),
    ("ucmd", "CMD", lambda process: process.name, None),
    ("ni nice", "NI", _number(19), None),
    ("pri", "PRI", lambda process: str(39 - process.field(18)), None),
    ("priority", "PRI", _number(18), None),
    ("opri", "PRI", lambda process: str(60 + process.field(18)), None),
    ("lwp", "LWP", lambda process: str(process.thread or process.pid), None),
    ("tid", "TID", lambda process: str(process.thread or process.pid), None),
    ("spid", "SPID", lambda process: str(process.thread or process.pid), None),
    ("nlwp", "NLWP", _number(20), None),
    ("thcount", "THCNT", _number(20), None),
    ("psr", "PSR", _number(39), None),
    ("cls class", "CLS", lambda process: _POLICIES.get(process.field(41), "?"), None),
    ("policy", "POL", lambda process: _POLICIES.get(process.field(41), "?"), None),
    ("rtprio", "RTPRIO", lambda process: str(process.field(40) or "-"), None),
    ("f flag flags", "F", _flags, None),
    ("addr", "ADDR", lambda _: "-", None),
    ("wchan", "WCHAN", lambda process: proc.wait_channel(process.pid), None),
    ("cgroup", "CGROUP", _control_groups, None),
    ("min_flt minflt", "MINFL", _number(10), None),
    ("maj_flt majflt", "MAJFL", _number(12), None),
    ("pending", "PENDING", lambda process: process.status.get("SigPnd", "-"), None),
    ("blocked", "BLOCKED", lambda process: process.status.get("SigBlk", "-"), None),
    ("ignored", "IGNORED", lambda process: process.status.get("SigIgn", "-"), None),
    ("caught", "CAUGHT", lambda process: process.status.get("SigCgt", "-"), None),
    *(
        (f"{kind}ns", f"{kind.upper()}NS", _namespace(kind), None)
        for kind in ("ipc", "mnt", "net", "pid", "user", "uts")
    ),
)


def _by_name() -> Iterator[tuple[str, Column]]:
    for names, title, text, order in _COLUMNS:
        for name in names.split():
            yield name, Column(title, text, order)


COLUMNS: Mapping[str, Column] = dict(_by_name())
"""By the names that ``ps -o`` and ``--sort`` take."""
