"""The service manager's protocols: readiness, watchdog, reload, and a socket that it passes."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from tests.installation import Installation


@pytest.fixture
def host():
    made = Installation()
    try:
        yield made
    finally:
        made.destroy()


@pytest.fixture
def manager(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(tmp_path / "notify"))
        found.settimeout(20)
        yield found


def expect(manager, word):
    while not (said := manager.recv(200).decode()).startswith(word):
        assert said.startswith("WATCHDOG=1"), said
    return said


@pytest.mark.parametrize("program", ["netd", "runtime"])
def test_a_daemon_reports_readiness_its_watchdog_reloads_and_its_end(host, manager, monkeypatch, program):
    if program == "runtime":
        host.start("netd")
    monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    host.start(program)
    assert expect(manager, "READY=1") == "READY=1"
    expect(manager, "WATCHDOG=1")
    host.processes[program].send_signal(signal.SIGHUP)
    assert "MONOTONIC_USEC=" in expect(manager, "RELOADING=1")
    expect(manager, "READY=1")
    expect(manager, "WATCHDOG=1")
    host.processes[program].send_signal(signal.SIGTERM)
    expect(manager, "STOPPING=1")
    assert host.processes[program].wait(20) == 0


def test_a_passed_socket_is_served_and_left_to_the_service_manager(host):
    host.start("netd")
    path = host.run / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        script = 'exec 3<&"$0"; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=docker.sock; exec "$@"'
        flags = ["--state-dir", host.state, "--run-dir", host.run, "--config", host.config]
        with (host.root / "runtime.log").open("ab") as log:
            host.processes["runtime"] = subprocess.Popen(
                [*host.within, "bash", "-c", script, str(listener.fileno()), sys.executable, "-m", "runtime", *flags],
                pass_fds=[listener.fileno()],
                stderr=log,
                env=dict(os.environ),
            )
        inode = path.stat().st_ino
        # The request waits in the socket until the daemon accepts it.
        assert host.docker.ping()
        host.processes["runtime"].send_signal(signal.SIGTERM)
        assert host.processes["runtime"].wait(20) == 0
        assert path.stat().st_ino == inode
    path.unlink()
