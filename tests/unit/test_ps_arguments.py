"""The arguments of ps that clients of ``top`` send."""

import os
import subprocess
import threading

import pytest

from netd.common.errors import BadRequest
from runtime.engine.views import ps_arguments, top

FULL = "UID PID PPID C STIME TTY TIME CMD"
AUX = "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"


def titles(arguments):
    return " ".join(title for title, _ in ps_arguments.parse(arguments).columns)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", "PID TTY TIME CMD"),
        ("-ef", FULL),
        ("-efH", FULL),
        ("-e -f", FULL),
        ("aux", AUX),
        ("-aux", AUX),
        ("aux --sort -pcpu", AUX),
        ("auxww --sort=-rss,pid", AUX),
        ("-eo pid,comm", "PID COMMAND"),
        ("-o pid -o comm", "PID COMMAND"),
        ("-eo pid,user:20,comm=NAME", "PID USER NAME"),
        ("axo pid,args", "PID COMMAND"),
        ("--format pid,cmd --forest", "PID CMD"),
        ("ax", "PID TTY STAT TIME COMMAND"),
        ("-x", "PID TTY STAT TIME COMMAND"),
        ("-A", "PID TTY TIME CMD"),
        ("-el", "F S UID PID PPID C PRI NI ADDR SZ WCHAN TTY TIME CMD"),
        ("-elf", "F S UID PID PPID C PRI NI ADDR SZ WCHAN STIME TTY TIME CMD"),
        ("-F", "UID PID PPID C SZ RSS PSR STIME TTY TIME CMD"),
        ("axjf", "PPID PID PGID SID TTY TPGID STAT UID TIME COMMAND"),
        ("-L", "PID LWP TTY TIME CMD"),
        ("-eLf", "UID PID PPID LWP C NLWP STIME TTY TIME CMD"),
        ("-eLl", "F S UID PID PPID LWP C PRI NI ADDR SZ WCHAN TTY TIME CMD"),
        ("-T", "PID SPID TTY TIME CMD"),
        ("-Lo pid,lwp", "PID LWP"),
        ("-o pid,nlwp,psr,etime,lstart,wchan,netns,label", None),
        ("-eo nosuch", None),
        ("-eo", None),
        ("-o pid --no-headers", None),
        ("; ls", None),
        ("$(ls)", None),
        ("-p x", None),
        ("-", None),
        ("-o \u0661", None),
    ],
)
def test_columns_are_those_of_ps(arguments, expected):
    """Titles as procps prints them; None: refused by name."""
    if expected is None:
        with pytest.raises(BadRequest, match="ps: "):
            ps_arguments.parse(arguments)
    else:
        assert titles(arguments) == expected


def test_processes_are_sorted_selected_and_indented():
    child = subprocess.Popen(["sleep", "1000"])
    pids = [os.getpid(), child.pid]
    try:
        _, rows = top.table(pids, "-eo pid,args --sort -pid")
        assert [row[0] for row in rows] == sorted(map(str, pids), key=int, reverse=True)
        _, rows = top.table(pids, "-efH")
        assert rows[1][1:3] == [str(child.pid), str(os.getpid())] and rows[1][-1] == "  sleep 1000"
        _, rows = top.table(pids, f"-p {child.pid} -o comm,ppid,stat")
        assert rows == [["sleep", str(os.getpid()), rows[0][2]]] and rows[0][2][0] in "SR"
        assert top.table(pids, "-C sleep -o pid")[1] == [[str(child.pid)]]
        assert len(top.table(pids, f"-u {os.getuid()} -o pid")[1]) == 2
    finally:
        child.kill()
        child.wait()


def test_each_thread_has_a_row():
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        head, rows = top.table([os.getpid()], "-eLf")
        lwp, count = head.index("LWP"), head.index("NLWP")
        assert {str(os.getpid()), str(thread.native_id)} <= {row[lwp] for row in rows}
        assert {row[1] for row in rows} == {str(os.getpid())} and {row[count] for row in rows} == {str(len(rows))}
        assert len(top.table([os.getpid()], "-T -o spid")[1]) == len(rows)
        assert len(top.table([os.getpid()], "-ef")[1]) == 1
    finally:
        stop.set()
        thread.join()


def test_every_column_has_a_value():
    names = sorted(ps_arguments.COLUMNS)
    head, rows = top.table([os.getpid()], f"-o {','.join(names)}")
    assert len(head) == len(names) and all(isinstance(cell, str) and cell for cell in rows[0])
