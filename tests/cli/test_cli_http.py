"""The HTTP client: bodies of every framing, lost connections, missing sockets."""

import ctypes
import socket
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.cli.errors import ApiFault, Fault, Unreachable
from netd.cli.transport.http import Client, quote, target


@pytest.fixture
def client(peer):
    return Client("netd-runtime", str(peer.path))


def raw(*pieces):
    def answer(request):
        for piece in pieces:
            request.connection.send(piece)
        request.connection.close()
        return request

    return answer


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD + b"Content-Length: 11\r\n\r\nhello world"],
        [HEAD[:5], HEAD[5:] + b"content-length: 11\r", b"\n\r", b"\nhel", b"lo world"],
        [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n6;x=y\r\n", b" world\r", b"\n0\r\n\r\n"],
        [HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\n"],
        [HEAD + b"\r\nhello", b" world"],
    ],
)
def test_bodies_of_every_framing_are_read(peer, client, pieces):
    peer.on("GET", "/x", raw(*pieces))
    assert client.call("GET", "/x").read() == b"hello world"


def test_no_content_has_no_body(peer, client):
    peer.on("POST", "/x", (204, None))
    peer.on("POST", "/y", (304, None))
    assert client.post("/x") is None and client.post("/y") is None


def test_lines_come_whole_however_they_are_cut(peer, client):
    peer.on(
        "GET",
        "/x",
        raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\n{1}\r\n", b"3\r\n\r\n{\r\n4\r\n2}\n3\r\n0\r\n\r\n"),
    )
    assert list(client.call("GET", "/x").lines()) == [b"{1}\r", b"{2}", b"3"]


@pytest.mark.parametrize(
    "piece",
    [
        b"",
        HEAD[:9],
        HEAD + b"Content-Length: 11\r\n\r\nhello",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nb\r\nhello",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzork\r\n",
        HEAD + b"Content-Length: 2\r\n\r\n{]",
    ],
)
def test_an_answer_that_breaks_off_is_an_error(peer, client, piece):
    peer.on("GET", "/x", raw(piece))
    with pytest.raises(Fault, match="the daemon"):
        client.get("/x")


def test_the_daemons_message_is_the_error(peer, client):
    peer.on("GET", "/json", (409, {"message": "the name x is taken"}))
    peer.on("GET", "/text", (404, b"no such container\r\n"))
    peer.on("GET", "/empty", (500, None))
    for path, status, message in (
        ("/json", 409, "the name x is taken"),
        ("/text", 404, "no such container"),
        ("/empty", 500, "the daemon answered 500"),
    ):
        with pytest.raises(ApiFault) as caught:
            client.get(path)
        assert (caught.value.status, caught.value.message) == (status, message)


def test_a_request_says_what_it_carries(peer, client):
    peer.on("POST", "/a b/c", {"ok": True})
    assert client.post("/a b/c", {"ä": 1}, query=(("q", "x&y=z"), ("none", ""))) == {"ok": True}
    (request,) = peer.asked
    assert (request.query, request.json) == ({"q": "x&y=z"}, {"ä": 1})
    assert request.headers["content-type"] == "application/json" and request.headers["connection"] == "close"


def test_an_upload_is_chunked(peer, client):
    peer.on("POST", "/images/create", {"status": "sha256:1"})
    assert client.upload("/images/create", (), [b"a" * 70000, b"", b"b"]).json() == {"status": "sha256:1"}
    assert peer.asked[0].body == b"a" * 70000 + b"b"


def test_an_upload_that_is_refused_early_tells_why(run_dir, client_of_refuser):
    with pytest.raises(ApiFault, match="the disk is full"):
        client_of_refuser.upload("/images/create", (), (b"x" * 65536 for _ in range(2000)))


@pytest.fixture
def client_of_refuser(run_dir):
    """A server that responds at once and reads nothing."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(run_dir / "refuser.sock"))
    listener.listen()

    def serve():
        sock, _ = listener.accept()
        body = b'{"message":"the disk is full"}'
        sock.sendall(b"HTTP/1.1 507 Full\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        sock.shutdown(socket.SHUT_RD)
        closing.wait(10)
        sock.close()

    closing = threading.Event()
    thread = threading.Thread(target=serve)
    thread.start()
    yield Client("netd-runtime", str(run_dir / "refuser.sock"))
    closing.set()
    thread.join()
    listener.close()


def test_a_connection_is_taken_over_with_what_has_arrived(peer, client):
    def answer(request):
        request.connection.upgrade()
        request.connection.send(b"early")
        request.connection.send(request.connection.read_to_end())
        return request

    peer.on("POST", "/x", answer)
    sock, early = client.hijack("/x").take()
    sock.sendall(b"back")
    sock.shutdown(socket.SHUT_WR)
    while data := sock.recv(100):
        early += data
    sock.close()
    assert early == b"earlyback"
    assert peer.asked[0].headers["upgrade"] == "tcp" and peer.asked[0].headers["connection"] == "Upgrade"


def test_an_answer_that_does_not_upgrade_is_an_error(peer, client):
    peer.on("POST", "/x", {})
    with pytest.raises(Fault, match="answered 200 instead of opening a stream"):
        client.hijack("/x")


def test_a_missing_daemon_is_named_with_the_remedy(run_dir):
    path = f"{run_dir}/docker.sock"
    with pytest.raises(Unreachable) as caught:
        Client("netd-runtime", path).get("/x")
    assert (
        caught.value.message == f"cannot reach netd-runtime at {path}: start it with 'netd-runtime --run-dir {run_dir}'"
    )


def test_a_stale_socket_counts_as_missing(run_dir):
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(f"{run_dir}/docker.sock")
    stale.close()
    with pytest.raises(Unreachable, match="cannot reach netd-runtime"):
        Client("netd-runtime", f"{run_dir}/docker.sock").get("/x")


def test_the_second_socket_serves_where_the_first_is_missing(peer, run_dir):
    peer.on("GET", "/networks", [])
    assert Client("netd-runtime", f"{run_dir}/none.sock", str(peer.path)).get("/networks") == []


def mind_modes():
    """Drop CAP_DAC_OVERRIDE for the program that is executed next."""
    bounding_set_drop, dac_override = 24, 1
    assert ctypes.CDLL(None).prctl(bounding_set_drop, dac_override, 0, 0, 0) == 0


def test_lacking_permission_is_named(start):
    with tempfile.TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as listener:
        path = Path(place) / "docker.sock"
        listener.bind(str(path))
        path.chmod(0)
        process = start("--run-dir", place, "ps", preexec_fn=mind_modes)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (1, b"")
    assert err.decode() == f"netctl: permission denied at {path}: run netctl as root or as a member of the group netd\n"


@given(st.text())
def test_quoted_text_is_plain_ascii_and_comes_back(text):
    from urllib.parse import unquote_to_bytes

    quoted = quote(text)
    assert quoted.isascii() and not set(quoted) & set(" ?&#=+\r\n")
    assert unquote_to_bytes(quoted) == text.encode("utf-8", "surrogateescape")


def test_image_names_stay_readable_in_a_target():
    assert target("/images/host:5000/a/b/json", (("x", ""), ("y", "1"))) == "/images/host:5000/a/b/json?y=1"


def test_texts_that_are_not_utf_8_are_named_before_anything_is_sent(client):
    for body in ({"Cmd": ["echo", "\udcfe"]}, {"Labels": {"\udcfe": "x"}}):
        with pytest.raises(Fault) as fault:
            client.send("POST", "/containers/create", body=body)
        assert str(fault.value).startswith(r"'\udcfe' is not valid UTF-8, which the daemon requires")


def test_texts_beyond_the_basic_plane_are_sent(peer, client):
    peer.on("POST", "/x", (200, {}))
    assert client.post("/x", {"Cmd": ["\U0001f600"]}) == {}
