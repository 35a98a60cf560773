"""Ctrl-C while netctl waits, also if the signal arrives between Python's check for signals and the system call.

In the subprocess another thread receives SIGINT, so that no system call of the main thread is interrupted: as for a
signal just before the call, only the interpreter's mark and its byte on the wake-up descriptor are there.
"""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cli_terminal import ROOT
from container_peer import PATH, Container
from recorded import inspected, listed

from tests.installation import wait_until

ELSEWHERE = """
import signal, socket, sys, threading
from queue import SimpleQueue
threading.Thread(target=signal.pause, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
"""
NETCTL = """
from netd.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
EACH = """
import os
from netd.cli import signal_waits
try:
    print("waits", flush=True)
    {call}
except KeyboardInterrupt:
    os._exit(130)
"""
WAITS = ("poll_schedule", "unix_stream", "sock_alloc", "anon_pipe", "pipe_", "futex")
"""Where the kernel waits in poll, recv, send, read of a pipe, and locks."""


@pytest.fixture
def begin(run_dir):
    """Start Python code in a subprocess whose main thread is not interrupted by signals."""
    started = []

    def call(code, *words):
        words = [sys.executable, "-c", ELSEWHERE + code, *words]
        started.append(subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        return started[-1]

    yield call
    for process in started:
        process.kill()
        process.communicate()


def interrupt(process):
    """Send SIGINT when the main thread waits for data, and return the exit code."""
    wchan = Path(f"/proc/{process.pid}/wchan")
    wait_until(lambda: wchan.read_text().startswith(WAITS))
    process.send_signal(signal.SIGINT)
    return process.wait(30)


def answer_and_wait(request):
    """Send the head of the response, and nothing more until the client disconnects."""
    request.connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    request.connection.read(1)
    return request


@pytest.mark.parametrize(
    ("words", "method", "path"),
    [
        (["logs", "-f", "web"], "GET", "/containers/web/logs"),
        (["events"], "GET", "/events"),
        (["stats", "web"], "GET", "/containers/web/stats"),
        (["wait", "web"], "POST", "/containers/web/wait"),
        (["pull", "busybox"], "POST", "/images/create"),
        (["stop", "web"], "POST", "/containers/web/stop"),
    ],
)
def test_a_verb_that_waits_for_a_response_ends(peer, begin, words, method, path):
    peer.on("GET", "/containers/web/json", inspected())
    peer.on("GET", "/containers/json", [listed("web")])
    peer.on(method, path, answer_and_wait)
    process = begin(NETCTL, *words)
    peer.wait_for(method, path)
    assert interrupt(process) == 130


def test_an_attached_session_ends(peer, begin):
    end = threading.Event()
    Container(peer, lambda connection: int(end.wait(30))).started.set()
    process = begin(NETCTL, "attach", "--sig-proxy=false", "web")
    peer.wait_for("POST", f"{PATH}/attach")
    assert interrupt(process) == 130
    end.set()


def test_a_run_ends_while_it_waits_for_the_start(peer, begin):
    Container(peer, lambda connection: len(connection.read(1)))
    peer.on("POST", f"{PATH}/start", answer_and_wait)
    process = begin(NETCTL, "run", "-d", "busybox")
    peer.wait_for("POST", f"{PATH}/start")
    assert interrupt(process) == 130


@pytest.mark.parametrize(
    "call",
    [
        "signal_waits.read(0, 1)",
        "signal_waits.take(SimpleQueue())",
        "signal_waits.send_all((pair := socket.socketpair())[0], bytes(1 << 24))",
    ],
)
def test_each_wait_ends(begin, call):
    process = begin(EACH.format(call=call))
    assert process.stdout.readline() == b"waits\n"
    assert interrupt(process) == 130
