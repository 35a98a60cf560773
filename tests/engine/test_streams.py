"""Attach, exec and logs: complete streams in correct frames, with correct ends."""

import json
import socket
import struct
import threading
from urllib.parse import quote

import pytest
from docker.errors import APIError

from tests.installation import wait_until

STREAM = "/containers/{}/attach?stream=1&stdout=1&stderr=1"


def frames(sock) -> list[tuple[int, bytes]]:
    """Read framed output until the connection ends; consecutive frames of one stream are joined."""
    data, found = b"", []
    while piece := sock.recv(65536):
        data += piece
    while data:
        stream, size = struct.unpack(">BxxxL", data[:8])
        piece, data = data[8 : 8 + size], data[8 + size :]
        if found and found[-1][0] == stream:
            found[-1] = (stream, found[-1][1] + piece)
        else:
            found.append((stream, piece))
    return found


def everything(sock) -> bytes:
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def read_until(sock, words: bytes) -> bytes:
    data = b""
    while words not in data:
        piece = sock.recv(65536)
        assert piece, data
        data += piece
    return data


def test_attach_before_start_misses_nothing_though_the_client_shuts_its_side_at_once(api, raw, make):
    made = make("sh", "-c", "echo out; echo err >&2; sleep 0.1; echo more")
    first, headers, sock = raw.upgrade(STREAM.format(made))
    assert first == "HTTP/1.1 101 UPGRADED" and headers["Upgrade"] == "tcp"
    assert headers["Content-Type"] == "application/vnd.docker.multiplexed-stream"
    sock.shutdown(socket.SHUT_WR)
    api.start(made)
    found = frames(sock)
    assert b"".join(data for stream, data in found if stream == 1) == b"out\nmore\n"
    assert b"".join(data for stream, data in found if stream == 2) == b"err\n"


def test_without_an_upgrade_the_answer_is_200_and_the_bytes_are_the_same(api, raw, make):
    made = make("echo", "hi")
    raw.connect()
    raw.sock.sendall(f"POST {STREAM.format(made)} HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n".encode())
    head = read_until(raw.sock, b"\r\n\r\n").decode()
    assert head.startswith("HTTP/1.1 200 OK\r\n") and "application/vnd.docker.raw-stream" in head
    api.start(made)
    assert frames(raw.sock) == [(1, b"hi\n")]


def test_stdin_reaches_the_program_and_its_end_ends_it(api, raw, make):
    made = make("cat", OpenStdin=True, StdinOnce=True)
    _, _, sock = raw.upgrade(STREAM.format(made) + "&stdin=1")
    api.start(made)
    sent = b"".join(b"line %d\n" % number for number in range(50_000))
    thread = threading.Thread(target=lambda: (sock.sendall(sent), sock.shutdown(socket.SHUT_WR)))
    thread.start()
    assert b"".join(data for _, data in frames(sock)) == sent
    thread.join()
    assert api.wait(made)["StatusCode"] == 0


def test_without_stdin_once_a_leaving_client_leaves_the_program_its_input(api, raw, make):
    made = make("cat", OpenStdin=True)
    _, _, sock = raw.upgrade(STREAM.format(made) + "&stdin=1")
    api.start(made)
    sock.sendall(b"one\n")
    assert read_until(sock, b"one\n")
    sock.close()
    _, _, sock = raw.upgrade(STREAM.format(made) + "&stdin=1")
    sock.sendall(b"two\n")
    assert b"two\n" in read_until(sock, b"two\n") and api.inspect_container(made)["State"]["Running"]


def test_a_terminal_is_raw_has_a_size_and_detaches(api, raw, make):
    made = make("sh", Tty=True, OpenStdin=True, host={"ConsoleSize": [30, 100]})
    _, headers, sock = raw.upgrade(STREAM.format(made) + "&stdin=1")
    assert headers["Content-Type"] == "application/vnd.docker.raw-stream"
    api.start(made)
    sock.sendall(b"stty size; tty\n")
    assert b"30 100\r\n" in read_until(sock, b"/dev/pts/0\r\n")
    api.resize(made, 40, 120)
    sock.sendall(b"stty size; echo do''ne\n")
    assert b"40 120\r\n" in read_until(sock, b"done\r\n")
    sock.sendall(b"\x10\x11")
    everything(sock)
    assert api.inspect_container(made)["State"]["Running"]


def test_two_clients_see_the_same(api, place, make):
    from tests.engine.conftest import Raw

    made = make("sh", "-c", "sleep 0.2; echo hello")
    socks = [Raw(place.run / "docker.sock").upgrade(STREAM.format(made))[2] for _ in range(2)]
    api.start(made)
    assert [frames(sock) for sock in socks] == [[(1, b"hello\n")]] * 2


def test_attach_can_replay_what_was_written(api, raw, run):
    made = run("sh", "-c", "echo early; sleep 1000")
    wait_until(lambda: api.logs(made) == b"early\n")
    _, _, sock = raw.upgrade(f"/containers/{made}/attach?logs=1&stdout=1")
    assert frames(sock) == [(1, b"early\n")]


def test_attach_that_cannot_be(raw, make):
    assert raw.ask("POST", "/containers/absent/attach?stream=1")[0] == 404
    assert raw.ask("POST", f"/containers/{make()}/attach?stream=1&detachKeys=wrong")[0] == 400


def test_a_waiting_client_is_let_go_when_the_container_is_removed(api, raw, make):
    made = make()
    _, _, sock = raw.upgrade(STREAM.format(made))
    api.remove_container(made)
    assert everything(sock) == b""


# Exec


def test_exec_runs_in_the_container_and_tells_its_code(api, run):
    made = run(Env=["A=b"])
    created = api.exec_create(
        made, ["sh", "-c", "echo $A $N; echo err >&2; cat /proc/1/cmdline; exit 4"], environment=["N=1"]
    )
    out, err = api.exec_start(created["Id"], demux=True)
    assert out.startswith(b"b 1\nsleep") and err == b"err\n"
    wait_until(lambda: not api.exec_inspect(created["Id"])["Running"])
    shown = api.exec_inspect(created["Id"])
    assert (shown["ExitCode"], shown["ContainerID"], shown["ProcessConfig"]["entrypoint"]) == (4, made, "sh")


def test_exec_takes_input_until_its_end(api, raw, run):
    exec_id = api.exec_create(run(), ["cat"], stdin=True)["Id"]
    _, headers, sock = raw.upgrade(f"/exec/{exec_id}/start", b"{}")
    assert headers["Content-Type"] == "application/vnd.docker.multiplexed-stream"
    sock.sendall(b"typed")
    sock.shutdown(socket.SHUT_WR)
    assert frames(sock) == [(1, b"typed")]


def test_exec_with_a_terminal(api, raw, run):
    exec_id = api.exec_create(run(), ["sh"], stdin=True, tty=True)["Id"]
    api.exec_resize(exec_id, 33, 99)
    _, _, sock = raw.upgrade(f"/exec/{exec_id}/start", b'{"Tty":true}')
    sock.sendall(b"stty size; exit 6\n")
    assert b"33 99\r\n" in everything(sock)
    wait_until(lambda: api.exec_inspect(exec_id)["ExitCode"] == 6)


def test_a_detached_exec_runs_on(api, run):
    made = run()
    exec_id = api.exec_create(made, ["sh", "-c", "echo x > /f; exec sleep 1000"])["Id"]
    api.exec_start(exec_id, detach=True)
    wait_until(lambda: api.exec_start(api.exec_create(made, ["cat", "/f"])["Id"]) == b"x\n")
    assert api.exec_inspect(exec_id)["Running"] and exec_id in api.inspect_container(made)["ExecIDs"]
    api.kill(made)
    wait_until(lambda: api.exec_inspect(exec_id)["ExitCode"] == 137)


def test_execs_that_cannot_be(api, raw, run, make):
    made = run()
    assert raw.ask("POST", f"/containers/{made}/exec", {"Cmd": []})[2] == {"message": "No exec command specified"}
    assert raw.ask("POST", f"/containers/{make()}/exec", {"Cmd": ["true"]})[0] == 409
    assert raw.ask("GET", "/exec/absent/json")[2] == {"message": "No such exec instance: absent"}
    exec_id = api.exec_create(made, ["nosuch"])["Id"]
    assert b"executable file not found" in api.exec_start(exec_id)
    assert api.exec_inspect(exec_id)["ExitCode"] == 127
    assert raw.ask("POST", f"/exec/{exec_id}/start", {"Detach": True})[0] == 409
    with pytest.raises(APIError):
        api.exec_start(api.exec_create(made, ["nosuch"])["Id"], detach=True)


def test_exec_users_and_folders(api, run):
    made = run(WorkingDir="/tmp")

    def exec_(*command, **kwargs):
        return api.exec_start(api.exec_create(made, list(command), **kwargs)["Id"]).decode().strip()

    assert exec_("pwd") == "/tmp" and exec_("pwd", workdir="/etc") == "/etc"
    assert exec_("id", "-u", user="user") == "1000"
    assert int(exec_("grep", "CapEff", "/proc/self/status", privileged=True).split()[1], 16) > 0xA80425FB
    assert int(exec_("grep", "CapEff", "/proc/self/status").split()[1], 16) == 0xA80425FB


# Logs


def test_logs_are_framed_cut_and_stamped(api, raw, run):
    made = run("sh", "-c", "echo err >&2; for i in 1 2 3; do echo out$i; done")
    api.wait(made)
    assert api.logs(made, stderr=False) == b"out1\nout2\nout3\n" and api.logs(made, stdout=False) == b"err\n"
    other = run("seq", "5")
    api.wait(other)
    assert api.logs(other, tail=2) == b"4\n5\n" and api.logs(other, tail=0) == b""
    stamped = api.logs(other, timestamps=True, tail=1).split()
    assert stamped[1] == b"5" and len(stamped[0]) == len("2026-01-01T00:00:00.000000000Z")
    assert raw.ask("GET", f"/containers/{made}/logs")[0] == 400
    assert raw.ask("GET", f"/containers/{made}/logs?stdout=1&since=soon")[0] == 400
    assert api.logs(made, since=4_000_000_000) == b""


def test_following_logs_ends_with_the_program(api, run):
    made = run("sh", "-c", "for i in $(seq 20); do echo $i; sleep 0.01; done; printf end")
    assert b"".join(api.logs(made, follow=True, stream=True)).split() == [b"%d" % n for n in range(1, 21)] + [b"end"]


def test_following_logs_across_rotation(api, run):
    config = {"Type": "json-file", "Config": {"max-size": "2k", "max-file": "2"}}
    made = run("sh", "-c", "for i in $(seq 120); do echo line $i; sleep 0.005; done", host={"LogConfig": config})
    found = b"".join(api.logs(made, follow=True, stream=True)).splitlines()
    assert found == [b"line %d" % number for number in range(1, 121)]
    assert 0 < len(api.logs(made).splitlines()) < 120


def test_no_log_is_kept_when_none_is_wanted(api, raw, run, place):
    made = run("echo", "secret", host={"LogConfig": {"Type": "none"}})
    api.wait(made)
    assert raw.ask("GET", f"/containers/{made}/logs?stdout=1")[0] == 501
    assert not list((place.state / "containers" / made).glob("*.log"))


def test_events_of_execs(api, raw, run):
    made = run()
    raw.request("GET", "/events?filters=" + quote(json.dumps({"container": [made]})))
    stream = raw.getresponse()
    api.exec_start(api.exec_create(made, ["false"])["Id"])
    text = b""
    while b"exec_die" not in text:
        text += stream.read1(65536)
    assert b'"exec_create: false "' in text and b'"exec_start: false "' in text


def test_an_exec_without_streams_is_started_and_its_connection_ends_empty(raw, api, run):
    created = api.exec_create(run(), ["touch", "/done"], stdout=False, stderr=False)["Id"]
    code, _, body = raw.ask("POST", f"/exec/{created}/start", {"Detach": False})
    assert (code, body) == (200, b"")
    wait_until(lambda: api.exec_inspect(created)["ExitCode"] == 0)
