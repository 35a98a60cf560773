"""Sends a thousand queries per second to 127.0.0.11 until its standard input ends, then prints the result as JSON.

Half of the queries are for ``web``, whose address is the first argument, the others for c0, c1, … c499.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

from dnslib import DNSRecord

PERIOD = 0.001
GRACE = 3.0
"""Seconds to wait for the last replies."""


def questions() -> list[bytes]:
    names = [name for n in range(500) for name in ("web", f"c{n}")]
    return [bytes(DNSRecord.question(name).pack()[2:]) for name in names]


def main(address: str) -> dict[str, object]:
    every, right = questions(), socket.inet_aton(address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.connect(("127.0.0.11", 53))
        waiting: dict[int, float] = {}
        sent = wrong = 0
        slowest = 0.0
        due, asking, end = time.monotonic(), True, float("inf")
        while time.monotonic() < end and (asking or waiting):
            pause = max(0.0, due - time.monotonic()) if asking else 0.1
            ready, _, _ = select.select([sock, sys.stdin] if asking else [sock], [], [], pause)
            if sock in ready:
                reply = sock.recv(4096)
                number = int.from_bytes(reply[:2])
                slowest = max(slowest, time.monotonic() - waiting.pop(number))
                wrong += number % 2 == 0 and not reply.endswith(right)
            if sys.stdin in ready:
                asking, end = False, time.monotonic() + GRACE
            if asking and time.monotonic() >= due:
                number = sent & 0xFFFF
                waiting[number] = time.monotonic()
                sock.send(number.to_bytes(2) + every[sent % len(every)])
                sent, due = sent + 1, due + PERIOD
        return {"sent": sent, "lost": len(waiting), "wrong": wrong, "slowest": slowest}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
