"""Twenty containers that write 1,000 lines a second each, with followers, rotating log files and hostile clients."""

from __future__ import annotations

import contextlib
import gc
import http.client
import socket
import threading
import time
from pathlib import Path

CONTAINERS, LINES, BATCH = 20, 3000, 100
PROGRAM = (
    f"read start; i=0; while [ $i -lt {LINES} ]; do echo line $i; i=$((i+1));"
    f" [ $((i % {BATCH})) = 0 ] && sleep 0.1; done; echo end"
)
LOG = {"Type": "json-file", "Config": {"max-size": "64k", "max-file": "3"}}


class Follower(threading.Thread):
    """Reads a stream of the daemon to its end; ``data`` has the payload of all frames."""

    def __init__(self, path: Path, target: str) -> None:
        super().__init__(daemon=True)
        self.data = b""
        self.response = opened(path, target)
        self.start()

    def run(self) -> None:
        pieces = []
        while head := self.response.read(8):
            pieces.append(self.response.read(int.from_bytes(head[4:], "big")))
        self.data = b"".join(pieces)


def opened(path: Path, target: str) -> http.client.HTTPResponse:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(60)
    sock.connect(str(path))
    sock.sendall(f"GET {target} HTTP/1.1\r\nHost: d\r\n\r\n".encode())
    response = http.client.HTTPResponse(sock)
    response.begin()
    sock.close()
    return response


def begin(path: Path, identifier: str) -> None:
    """Let the program of a container start, which waits for a line of input."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.connect(str(path))
        head = f"POST /containers/{identifier}/attach?stream=1&stdin=1 HTTP/1.1\r\nHost: d\r\nUpgrade: tcp\r\n"
        sock.sendall(f"{head}Connection: Upgrade\r\nContent-Length: 0\r\n\r\n".encode())
        assert sock.recv(4096).startswith(b"HTTP/1.1 101")
        sock.sendall(b"go\n")


def connections(place) -> int:
    """Return how many clients are connected to the daemon."""
    gc.collect()
    lines = Path(f"/proc/{place.processes['runtime'].pid}/net/unix").read_text().splitlines()
    return sum(f"{place.run}/" in line and ".docker.sock" in line and line.split()[5] == "03" for line in lines)


def test_no_line_is_lost_or_reordered_and_no_client_stops_others(place, api, raw, make):
    """Each container has two followers; meanwhile clients stall, leave, and send halves of requests."""
    path = place.run / "docker.sock"
    assert raw.ask("GET", "/_ping")[0] == 200 and api.containers() == []
    api.close()
    before = connections(place)
    writers = [make("sh", "-c", PROGRAM, OpenStdin=True, host={"LogConfig": LOG}) for _ in range(CONTAINERS)]
    assert {raw.ask("POST", f"/containers/{identifier}/start")[0] for identifier in writers} == {204}
    target = "/containers/{}/logs?follow=1&stdout=1"
    followers = [Follower(path, target.format(identifier)) for identifier in writers for _ in range(2)]
    stalled = [opened(path, target.format(identifier)) for identifier in writers[:5]]
    half = socket.socket(socket.AF_UNIX)
    half.connect(str(path))
    half.sendall(b"POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: 100\r\n\r\n{")
    for identifier in writers:
        begin(path, identifier)
    slowest = 0.0
    for response in [opened(path, target.format(identifier)) for identifier in writers[5:10]]:
        asked = time.monotonic()
        assert raw.ask("GET", "/_ping")[0] == 200 and len(api.containers()) == CONTAINERS
        slowest = max(slowest, time.monotonic() - asked)
        response.close()
    for follower in followers:
        follower.join(60)
        assert not follower.is_alive()
    expected = b"".join(b"line %d\n" % number for number in range(LINES)) + b"end\n"
    assert [follower.data == expected for follower in followers] == [True] * len(followers)
    assert slowest < 30
    assert all(Path(api.inspect_container(writer)["LogPath"] + ".2").exists() for writer in writers)
    for response in stalled:
        response.close()
    half.close()
    followers.clear()
    api.close()
    deadline = time.monotonic() + 30
    while connections(place) > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert connections(place) <= before
