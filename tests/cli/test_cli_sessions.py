"""``run``, ``start``, ``attach`` and ``exec``: streams, signals and exit codes, without a terminal."""

import signal
import subprocess
import sys
import threading

import pytest
from cli_terminal import ROOT
from container_peer import PATH, Container
from engine_peer import Peer
from recorded import ID, inspected


def frames(*pieces):
    def program(connection):
        for stream, data in pieces:
            connection.frame(stream, data)
        return 0

    return program


def test_run_shows_output_and_error_apart_and_returns_the_code(peer, netctl):
    def program(connection):
        connection.frame(1, b"out\n")
        connection.frame(2, b"err\n")
        connection.frame(1, b"more\n")
        return 7

    Container(peer, program)
    said = netctl("run", "--name", "web", "busybox", "sh", "-c", "x")
    assert (said.code, said.out, said.err) == (7, "out\nmore\n", "err\n")
    assert [(r.method, r.path, r.query) for r in peer.asked] == [
        ("POST", "/containers/create", {"name": "web"}),
        ("POST", f"{PATH}/attach", {"stderr": "1", "stdout": "1", "stream": "1"}),
        ("POST", f"{PATH}/wait", {"condition": "next-exit"}),
        ("POST", f"{PATH}/start", {}),
    ]


def test_run_that_is_to_be_removed_waits_for_the_removal(peer, netctl):
    Container(peer, frames())
    assert netctl("run", "--rm", "busybox").code == 0
    assert peer.seen("POST", f"{PATH}/wait")[0].query == {"condition": "removed"}
    assert peer.seen("POST", "/containers/create")[0].json["HostConfig"]["AutoRemove"] is True


def test_run_without_input_ends_its_side_at_once(peer, netctl):
    got = []
    Container(peer, lambda connection: got.append(connection.read_to_end()) or 0)
    assert netctl("run", "busybox", "cat").code == 0 and got == [b""]


def test_piped_input_reaches_the_program_and_ends_there(peer, start):
    def program(connection):
        data = connection.read_to_end()
        connection.frame(1, data.upper())
        return 0

    Container(peer, program)
    process = start("run", "-i", "busybox", "cat")
    assert process.communicate(b"typed\n", timeout=10) == (b"TYPED\n", b"")
    assert peer.seen("POST", f"{PATH}/attach")[0].query["stdin"] == "1"


def test_much_in_both_directions_at_once_does_not_stick(peer, start):
    """A program that blocks on its output must not deadlock with a netctl that blocks on its input."""
    amount = 8 << 20

    def program(connection):
        left = amount
        while left:
            data = connection.read(min(left, 1 << 16))
            left -= len(data)
            connection.frame(1, data)
        return 0

    Container(peer, program)
    process = start("run", "-i", "busybox", "cat")
    sent = bytes(range(256)) * (amount // 256)
    out, err = process.communicate(sent, timeout=30)
    assert out == sent and err == b""


def test_closed_standard_input_is_no_input(peer, start):
    Container(peer, lambda connection: connection.frame(1, b"[%b]" % connection.read_to_end()) or 0)
    command = 'exec "$0" -m netd.cli.main run -i busybox cat <&-'
    done = subprocess.run(["sh", "-c", command, sys.executable], capture_output=True, timeout=10, cwd=ROOT)
    assert (done.stdout, done.returncode) == (b"[]", 0)


def test_a_reader_that_leaves_ends_netctl_without_a_word(peer, start):
    def program(connection):
        try:
            while True:
                connection.frame(1, b"line\n" * 1000)
        except OSError:
            return 0

    Container(peer, program)
    process = start("run", "busybox", "yes")
    assert process.stdout.readline() == b"line\n"
    process.stdout.close()
    assert process.wait(10) == 141 and process.stderr.read() == b""


def test_a_full_disk_is_told(peer, start):
    peer.on("GET", "/networks", [])
    with open("/dev/full", "wb") as full:
        process = start("network", "ls", stdout=full)
        assert process.wait(10) == 1 and b"No space left on device" in process.stderr.read()


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (404, 'exec: "nosuch": executable file not found in $PATH', 127),
        (400, 'exec: "/etc": is a directory: permission denied', 126),
        (500, "Bind for 0.0.0.0:80 failed: port is already allocated", 125),
    ],
)
@pytest.mark.parametrize("detached", [True, False])
def test_a_start_that_fails_has_dockers_code(peer, netctl, status, message, code, detached):
    container = Container(peer, frames())
    container.start_answer = (status, {"message": message})
    container.waiting.set()
    said = netctl("run", *(["-d"] if detached else []), "busybox")
    container.ended.set()
    container.started.set()
    assert (said.code, said.err) == (code, f"netctl: {message}\n")


def test_a_failed_start_of_a_container_to_be_removed_waits_for_the_removal(peer, netctl):
    container = Container(peer, frames())
    removed = []

    def start(request):
        container.start_answer = (500, {"message": "no"})
        threading.Timer(0.05, lambda: (removed.append(1), container.ended.set())).start()
        return container.start_answer

    peer.on("POST", f"{PATH}/start", start)
    assert netctl("run", "--rm", "busybox").code == 125 and removed == [1]
    container.started.set()


def test_a_missing_image_is_told_with_the_remedy(peer, netctl):
    peer.on("POST", "/containers/create", (404, {"message": "No such image: nosuch:latest"}))
    said = netctl("run", "--pull", "never", "nosuch")
    assert said.code == 125
    assert said.err == (
        "netctl: No such image: nosuch:latest; pull it with 'netctl pull nosuch'; 'netctl image ls' lists the images\n"
    )
    assert [request.path for request in peer.asked if request.method == "POST"] == ["/containers/create"]


def test_run_without_a_daemon_is_125(netctl, run_dir):
    assert netctl("run", "busybox").code == 125
    assert netctl("run", "--zork", "busybox").code == 125


def test_run_detached_prints_the_id_and_warnings(peer, netctl):
    Container(peer, frames())
    peer.on("POST", f"{PATH}/start", (204, None))
    peer.on("POST", "/containers/create", (201, {"Id": ID, "Warnings": ["mind the gap"]}))
    said = netctl("run", "-d", "busybox")
    assert (said.code, said.out, said.err) == (0, f"{ID}\n", "netctl: warning: mind the gap\n")
    assert [r.path for r in peer.asked] == ["/containers/create", f"{PATH}/start"]


def test_create_prints_the_id_and_starts_nothing(peer, netctl):
    Container(peer, frames())
    assert netctl("create", "--name", "x", "busybox").out == f"{ID}\n"
    assert [r.path for r in peer.asked] == ["/containers/create"]


def test_signals_are_handed_on(peer, start):
    def program(connection):
        connection.frame(1, b"ready\n")
        for count in (1, 2):
            peer.wait_for("POST", f"{PATH}/kill", count)
        return 143

    Container(peer, program)
    process = start("run", "busybox")
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    peer.wait_for("POST", f"{PATH}/kill")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 143
    assert [r.query["signal"] for r in peer.seen("POST", f"{PATH}/kill")] == ["INT", "TERM"]


def test_a_program_that_ignores_three_signals_is_left(peer, start):
    container = Container(peer, lambda connection: connection.frame(1, b"ready\n") or container.ended.wait(10))
    process = start("run", "busybox")
    assert process.stdout.readline() == b"ready\n"
    for count in (1, 2):
        process.send_signal(signal.SIGINT)
        peer.wait_for("POST", f"{PATH}/kill", count)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    container.ended.set()


def test_signals_may_be_kept(peer, start):
    container = Container(peer, lambda connection: connection.frame(1, b"ready\n") or container.ended.wait(10))
    process = start("run", "--sig-proxy=false", "busybox")
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    container.ended.set()
    assert not peer.seen("POST", f"{PATH}/kill")


def test_a_daemon_that_goes_away_is_told(peer, netctl):
    Container(peer, frames((1, b"out\n")))

    def wait(request):
        container_waiting.set()
        request.connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        request.connection.close()
        return request

    container = Container(peer, frames((1, b"out\n")))
    container_waiting = container.waiting
    peer.on("POST", f"{PATH}/wait", wait)
    said = netctl("run", "busybox")
    assert (said.code, said.out) == (125, "out\n")
    assert "lost the connection to the daemon; the container keeps running" in said.err


def test_an_error_that_wait_brings_is_told(peer, netctl):
    container = Container(peer, frames())

    def wait(request):
        container.waiting.set()
        return {"StatusCode": -1, "Error": {"Message": "removal failed"}}

    peer.on("POST", f"{PATH}/wait", wait)
    said = netctl("run", "--rm", "busybox")
    assert (said.code, said.err) == (125, "netctl: removal failed\n")


def test_start_attached_shows_the_output_and_returns_the_code(peer, netctl):
    Container(peer, lambda connection: connection.frame(1, b"again\n") or 4)
    peer.on("GET", "/containers/web/json", inspected(running=False))
    said = netctl("start", "-a", "web")
    assert (said.code, said.out) == (4, "again\n")
    assert peer.seen("POST", f"{PATH}/wait")[0].query == {"condition": "next-exit"}


def test_attach_joins_a_running_container(peer, start):
    container = Container(peer, lambda connection: connection.frame(2, b"here\n") or 3, stdin=True)
    container.started.set()
    process = start("attach", "--no-stdin", "web")
    assert process.communicate(timeout=10) == (b"", b"here\n") and process.returncode == 3
    assert "stdin" not in peer.seen("POST", f"{PATH}/attach")[0].query


@pytest.mark.parametrize(
    ("state", "part"),
    [({"Running": False, "Paused": False}, "it is not running"), ({"Running": True, "Paused": True}, "it is paused")],
)
def test_attach_to_what_does_not_run_is_refused(peer, netctl, state, part):
    peer.on("GET", "/containers/web/json", {**inspected(), "State": state})
    said = netctl("attach", "web")
    assert said.code == 1 and f"cannot attach to web: {part}" in said.err


class Exec:
    def __init__(self, peer: Peer, program, code: int) -> None:
        def begin(request):
            if request.json["Detach"]:
                return 200, None
            request.connection.upgrade()
            program(request.connection)
            request.connection.close()
            return request

        peer.on("POST", "/containers/web/exec", (201, {"Id": "e1"}))
        peer.on("POST", "/exec/e1/start", begin)
        peer.on("POST", "/exec/e1/resize", (200, None))
        peer.on("GET", "/exec/e1/json", {"ExitCode": code, "Running": False})


def test_exec_runs_a_program_and_returns_its_code(peer, netctl):
    Exec(peer, frames((1, b"out\n"), (2, b"err\n")), 3)
    said = netctl("exec", "-e", "A=1", "-w", "/tmp", "-u", "0:0", "web", "sh", "-c", "x", "-v")
    assert (said.code, said.out, said.err) == (3, "out\n", "err\n")
    asked = peer.asked[0].json
    assert asked["Cmd"] == ["sh", "-c", "x", "-v"] and asked["Env"] == ["A=1"]
    assert (asked["User"], asked["WorkingDir"], asked["AttachStdin"], asked["Tty"]) == ("0:0", "/tmp", False, False)


def test_exec_takes_piped_input(peer, start):
    Exec(peer, lambda connection: connection.frame(1, connection.read_to_end()[::-1]), 0)
    process = start("exec", "-i", "web", "rev")
    assert process.communicate(b"abc", timeout=10) == (b"cba", b"")


def test_exec_detached_returns_at_once(peer, netctl):
    Exec(peer, frames(), 9)
    assert netctl("exec", "-d", "web", "true").code == 0
    assert peer.asked[-1].path == "/exec/e1/start" and peer.asked[-1].json["Detach"] is True


def test_exec_in_what_does_not_run_is_1(peer, netctl):
    peer.on("POST", "/containers/web/exec", (409, {"message": "container web is not running"}))
    said = netctl("exec", "web", "true")
    assert (said.code, said.err) == (1, "netctl: container web is not running\n")


def test_a_terminal_is_refused_where_there_is_none(peer, start):
    for words in (["run", "-it", "busybox"], ["exec", "-it", "web", "sh"]):
        process = start(*words)
        _, err = process.communicate(timeout=10)
        assert process.returncode in (1, 125) and b"standard input is not a terminal" in err
    assert not peer.asked


@pytest.mark.parametrize("label", ["", "=x", "a b=c", " =x"])
def test_a_label_without_a_proper_name_is_refused(netctl, label):
    done = netctl("create", "--label", label, "busybox")
    assert done.code == 125 and "the label's name is empty or has white space" in done.err
