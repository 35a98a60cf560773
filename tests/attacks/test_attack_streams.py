"""Attacks on attach and exec: stalled readers, unread input, children that outlive the program."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from tests.engine.conftest import Raw
from tests.engine.test_streams import STREAM, everything, frames, read_until
from tests.installation import wait_until

SIZE = 20_000_000


def start_exec(api, raw, container, *command, stdin=False, tty=False):
    """Start an exec and return (its id, the raw socket)."""
    made = api.exec_create(container, list(command), stdin=stdin, tty=tty)["Id"]
    return made, raw.upgrade(f"/exec/{made}/start", b'{"Tty":true}' if tty else b"{}")[2]


def descriptors(process: subprocess.Popen) -> int:
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def test_a_reader_that_stalls_gets_all_output_and_only_then_the_exit_code(api, raw, run, place):
    made = run()
    name, sock = start_exec(api, raw, made, "sh", "-c", f"head -c {SIZE} /dev/zero; exit 3")
    read_until(sock, b"\0")
    time.sleep(1)  # No event signals that the reader stalls.
    assert api.exec_inspect(name)["Running"]
    other, second = start_exec(api, Raw(place.run / "docker.sock"), made, "echo", "meanwhile")
    assert frames(second) == [(1, b"meanwhile\n")] and api.exec_inspect(other)["ExitCode"] == 0
    received = 0
    while piece := sock.recv(1 << 20):
        received += len(piece)
    assert received > SIZE - 70000
    assert api.exec_inspect(name)["ExitCode"] == 3


def test_output_that_is_cut_off_is_an_error_of_the_stream(api, raw, run, place):
    made = run()
    name, sock = start_exec(api, raw, made, "sh", "-c", "echo up; exec sleep 1000")
    read_until(sock, b"up\n")
    os.kill(parent(api.exec_inspect(name)["Pid"]), signal.SIGKILL)
    found = frames(sock)
    assert found and found[-1][0] == 3 and b"cut off" in found[-1][1]


def test_netctl_says_that_output_was_cut_off(api, run, place):
    made = run()
    words = ["-m", "netd.cli.main", "exec", made, "sh", "-c", "echo up; exec sleep 1000"]
    environment = {**os.environ, "NETD_RUN_DIR": str(place.run)}
    client = subprocess.Popen([sys.executable, *words], stdout=-1, stderr=-1, env=environment)
    assert client.stdout.readline() == b"up\n"
    name = api.inspect_container(made)["ExecIDs"][0]
    os.kill(parent(api.exec_inspect(name)["Pid"]), signal.SIGKILL)
    assert b"cut off" in client.communicate(timeout=20)[1] and client.returncode == 1


def parent(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def test_input_that_nobody_reads_does_not_reset_the_connection(api, raw, make):
    made = make("sh", "-c", "echo said; exit 4", OpenStdin=True, StdinOnce=True)
    _, _, sock = raw.upgrade(STREAM.format(made) + "&stdin=1")
    api.start(made)
    writer = threading.Thread(target=send_all, args=(sock, b"x" * 3_000_000))
    writer.start()
    assert frames(sock) == [(1, b"said\n")]  # The end of the stream, not an error.
    sock.close()
    writer.join()
    assert api.wait(made)["StatusCode"] == 4


def send_all(sock, data):
    try:
        sock.sendall(data)
    except OSError:
        return


def test_netctl_run_keeps_the_exit_code_when_its_input_is_not_read(place, api):
    for _ in range(3):
        words = ("run", "--rm", "-i", "busybox", "sh", "-c", "exit 4")
        assert place.netctl(*words, check=False, input="x" * 3_000_000).returncode == 4


def test_what_a_child_writes_after_its_parent_is_shown(api, raw, run):
    made = run()
    script = "(sleep 0.3; echo child) & echo parent; exit 5"
    name, sock = start_exec(api, raw, made, "sh", "-c", script)
    assert frames(sock) == [(1, b"parent\nchild\n")]
    assert api.exec_inspect(name)["ExitCode"] == 5


def test_a_child_of_a_terminal_session_is_shown_until_the_terminal_is_closed(api, raw, run):
    made = run()
    name, sock = start_exec(api, raw, made, "sh", "-c", "trap '' HUP; (sleep 0.3; echo child) & echo up", tty=True)
    assert everything(sock) == b"up\r\nchild\r\n"
    assert api.exec_inspect(name)["ExitCode"] == 0


@pytest.mark.parametrize("reads", [True, False])
def test_a_child_that_floods_the_output_does_not_hold_back_the_end(api, raw, make, run, reads):
    host = run()
    made = make("sh", "-c", "yes & sleep 0.2; exit 6", host={"PidMode": f"container:{host}"})
    if reads:
        _, _, sock = raw.upgrade(STREAM.format(made))
        reader = threading.Thread(target=everything, args=(sock,))
        reader.start()
    api.start(made)
    began = time.monotonic()
    assert api.wait(made, timeout=20)["StatusCode"] == 6
    assert time.monotonic() - began < 8
    if reads:
        reader.join()


def test_clients_that_vanish_free_everything_at_once(api, run, place):
    made = run("sh", "-c", "sleep 1000", OpenStdin=True)
    execs = [api.exec_create(made, ["sleep", "1000"], stdin=True)["Id"] for _ in range(4)]
    before = descriptors(place.processes["runtime"])
    paths = [*(f"/exec/{name}/start" for name in execs), *[STREAM.format(made) + "&stdin=1"] * 4]
    socks = [Raw(place.run / "docker.sock").upgrade(path, b"{}")[2] for path in paths]
    for number, sock in enumerate(socks):
        if number % 2:
            sock.shutdown(socket.SHUT_WR)  # Clients without input do this at once.
    for path in (f"/containers/{made}/logs?follow=1&stdout=1", "/events", f"/containers/{made}/wait"):
        raw = Raw(place.run / "docker.sock")
        raw.request("POST" if path.endswith("wait") else "GET", path)
        socks.append(raw.sock)
    for sock in socks:
        sock.close()
    # For each running exec the daemon keeps descriptors of its process, its input and its shim.
    wait_until(lambda: descriptors(place.processes["runtime"]) <= before + 3 * len(execs), 4)


def test_the_input_of_an_exec_ends_when_its_client_dies(api, run, place):
    made = run()
    name = api.exec_create(made, ["sh", "-c", "cat > /got; echo end >> /got"], stdin=True)["Id"]
    sock = Raw(place.run / "docker.sock").upgrade(f"/exec/{name}/start", b"{}")[2]
    sock.sendall(b"typed ")
    sock.close()
    wait_until(lambda: api.exec_inspect(name)["ExitCode"] == 0, 4)
    assert api.exec_start(api.exec_create(made, ["cat", "/got"])["Id"]) == b"typed end\n"


def test_a_client_that_waits_for_a_container_that_never_starts_is_forgotten_when_it_leaves(api, make, place):
    made = make()
    before = descriptors(place.processes["runtime"])
    socks = [Raw(place.run / "docker.sock").upgrade(STREAM.format(made))[2] for _ in range(30)]
    for sock in socks:
        sock.close()
    wait_until(lambda: descriptors(place.processes["runtime"]) <= before + 3, 4)  # Some connections to netd may be new.
