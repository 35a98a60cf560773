"""``-it`` on a pseudo-terminal: raw mode, sizes, detaching, and restoring the terminal."""

import signal

import pytest
from container_peer import PATH, Container
from recorded import STATS, listed


@pytest.fixture
def shell(peer):
    """A program that prints its input in brackets until it reads ``q``."""

    def program(connection):
        connection.send(b"ready\r\n")
        while key := connection.read(1):
            connection.send(b"[%02x]" % key[0])
            if key == b"q":
                return 5
        return 0

    return Container(peer, program, tty=True, stdin=True)


def test_keys_go_to_the_program_as_they_are_typed(peer, shell, terminal):
    at = terminal("run", "-it", "busybox", "sh", rows=33, columns=99)
    at.read_until(b"ready\r\n")
    assert at.is_raw
    at.type(b"a\x03\x04\x1a\r")
    assert at.read_until(b"[0d]") == b"[61][03][04][1a][0d]"
    at.type(b"q")
    assert at.wait() == 5 and at.is_restored
    asked = peer.seen("POST", "/containers/create")[0].json
    assert asked["HostConfig"]["ConsoleSize"] == [33, 99] and asked["Tty"] is True and asked["OpenStdin"] is True


def test_the_program_has_the_size_of_the_terminal_and_follows_it(peer, shell, terminal):
    at = terminal("run", "-it", "busybox", "sh", rows=33, columns=99)
    at.read_until(b"ready")
    assert peer.wait_for("POST", f"{PATH}/resize").query == {"h": "33", "w": "99"}
    at.resize(40, 120)
    assert peer.wait_for("POST", f"{PATH}/resize", 2).query == {"h": "40", "w": "120"}
    at.type(b"q")
    assert at.wait() == 5


def test_the_detach_keys_leave_the_program_running(peer, shell, terminal):
    at = terminal("run", "-it", "busybox", "sh")
    at.read_until(b"ready\r\n")
    at.type(b"a\x10b")
    assert at.read_until(b"[62]") == b"[61][10][62]"
    at.type(b"\x10\x11")
    at.read_until(b"detached; 8285dcf41249 keeps running")
    assert at.wait() == 0 and at.is_restored
    shell.ended.set()


def test_other_detach_keys_may_be_chosen(peer, shell, terminal):
    at = terminal("run", "-it", "--detach-keys", "ctrl-x,x", "busybox", "sh")
    at.read_until(b"ready\r\n")
    at.type(b"\x10\x11")
    assert at.read_until(b"[11]") == b"[10][11]"
    at.type(b"\x18x")
    assert at.wait() == 0 and at.is_restored
    shell.ended.set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_from_outside_is_handed_on_and_the_session_continues(peer, shell, terminal, number):
    at = terminal("run", "-it", "busybox", "sh")
    at.read_until(b"ready\r\n")
    at.process.send_signal(number)
    assert peer.wait_for("POST", f"{PATH}/kill").query == {"signal": number.name.removeprefix("SIG")}
    at.type(b"q")
    assert at.wait() == 5 and at.is_restored


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_is_not_handed_on_ends_netctl_and_restores_the_terminal(peer, shell, terminal, number):
    at = terminal("run", "-it", "--sig-proxy=false", "busybox", "sh")
    at.read_until(b"ready\r\n")
    at.process.send_signal(number)
    assert at.wait() == 128 + number and at.is_restored
    assert not peer.seen("POST", f"{PATH}/kill")
    shell.ended.set()


def test_a_start_that_fails_restores_the_terminal(peer, shell, terminal):
    shell.start_answer = (500, {"message": "no such thing"})
    at = terminal("run", "-it", "busybox", "sh")
    at.read_until(b"netctl: no such thing")
    assert at.wait() == 125 and at.is_restored
    shell.started.set()
    shell.ended.set()


def test_a_daemon_that_dies_restores_the_terminal(peer, shell, terminal):
    shell.program = lambda connection: connection.send(b"ready") or 0

    def wait(request):
        shell.waiting.set()
        request.connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        request.connection.close()
        return request

    peer.on("POST", f"{PATH}/wait", wait)
    at = terminal("run", "-it", "busybox", "sh")
    at.read_until(b"lost the connection to the daemon")
    assert at.wait() == 125 and at.is_restored


def test_without_input_ctrl_c_is_a_signal_to_hand_on(peer, terminal):
    def program(connection):
        connection.send(b"ready")
        peer.wait_for("POST", f"{PATH}/kill")
        return 130

    Container(peer, program, tty=True)
    at = terminal("run", "-t", "busybox", "sleep")
    at.read_until(b"ready")
    assert not at.is_raw
    at.type(b"\x03")
    assert at.wait() == 130
    assert peer.seen("POST", f"{PATH}/kill")[0].query == {"signal": "INT"}


def test_without_a_terminal_inside_ctrl_c_is_handed_on_and_lines_are_edited_here(peer, terminal):
    def program(connection):
        connection.frame(1, b"ready\n")
        connection.frame(1, b"<%b>\n" % connection.read(3))
        peer.wait_for("POST", f"{PATH}/kill")
        return 9

    Container(peer, program)
    at = terminal("run", "-i", "busybox", "cat")
    at.read_until(b"ready")
    at.type(b"ax\x7fb\r")
    at.read_until(b"<ab\r\n>")
    at.type(b"\x03")
    assert at.wait() == 9


def test_attach_has_the_program_draw_anew(peer, shell, terminal):
    shell.started.set()
    at = terminal("attach", "web", rows=24, columns=80)
    at.read_until(b"ready\r\n")
    sizes = [peer.wait_for("POST", f"{PATH}/resize", count).query for count in (1, 2)]
    assert sizes == [{"h": "25", "w": "81"}, {"h": "24", "w": "80"}]
    at.type(b"q")
    assert at.wait() == 5 and at.is_restored


def test_exec_on_a_terminal(peer, shell, terminal):
    peer.on("POST", "/containers/web/exec", (201, {"Id": "e1"}))
    peer.on("POST", "/exec/e1/start", shell._attach)
    peer.on("POST", "/exec/e1/resize", (200, None))
    peer.on("GET", "/exec/e1/json", {"ExitCode": 5})
    at = terminal("exec", "-it", "web", "sh", rows=30, columns=90)
    at.read_until(b"ready\r\n")
    assert at.is_raw and peer.seen("POST", "/exec/e1/start")[0].json["ConsoleSize"] == [30, 90]
    at.resize(31, 91)
    peer.wait_for("POST", "/exec/e1/resize", 2)
    at.type(b"q")
    assert at.wait() == 5 and at.is_restored


@pytest.mark.parametrize("words", [["logs", "-f", "web"], ["events"]])
def test_following_ends_quietly_with_ctrl_c(peer, shell, terminal, words):
    def follow(request):
        request.connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        line = b'{"Type":"x","Action":"here","Actor":{},"timeNano":0}\n' if words == ["events"] else b"here\n"
        request.connection.chunk(line)
        request.connection.read(1)
        return request

    peer.on("GET", "/containers/web/logs", follow)
    peer.on("GET", "/events", follow)
    at = terminal(*words)
    at.read_until(b"here")
    at.read_until(b"\n")
    at.type(b"\x03")
    assert at.wait() == 130 and at.shown in (b"", b"^C")


def test_statistics_are_refreshed_in_place_and_fit_the_terminal(peer, terminal):
    """The second table has the CPU usage since the first, and a container that is created meanwhile."""
    names = ["web"]
    peer.on("GET", "/containers/json", lambda request: [listed(name, Id=name * 8) for name in names])

    def sample(request):
        now = len(peer.seen("GET", request.path)) * 10**9
        cpu = {"cpu_usage": {"total_usage": now // 4}, "system_cpu_usage": now, "online_cpus": 2}
        return {**STATS, "id": request.path.split("/")[2], "cpu_stats": cpu}

    peer.on("GET", "/containers/.*/stats", sample)
    at = terminal("stats", columns=70)
    first = at.read_until(b"\x1b[J")
    assert first.startswith(b"\x1b[HCONTAINER ID") and b"--" in first
    assert all(len(line.replace(b"\x1b[H", b"").replace(b"\x1b[K", b"")) <= 70 for line in first.split(b"\r\n"))
    names.append("new")
    second = at.read_until(b"newnewnewnew")
    assert b"50.00%" in second
    assert peer.seen("GET", "/containers/webwebwebwebwebwebwebweb/stats")[0].query == {
        "stream": "false",
        "one-shot": "1",
    }
    at.type(b"\x03")


def test_a_table_is_cut_to_the_width_of_the_terminal(peer, terminal):
    long = [listed("web", Image="registry.example.org/a/very/long/name/of/an/image:with-a-tag", Command="x" * 40)]
    peer.on("GET", "/containers/json", long)
    at = terminal("ps", columns=100)
    row = at.read_until(b"web\r\n").splitlines()[-1].decode()
    assert len(row) <= 100 and "…" in row and "registry.exa" in row
    at = terminal("ps", "--no-trunc", columns=100)
    assert b"registry.example.org/a/very/long/name/of/an/image:with-a-tag" in at.read_until(b"web\r\n")
