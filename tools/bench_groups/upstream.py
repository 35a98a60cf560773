"""An upstream DNS server that answers each query with one address: ``python upstream.py ADDRESS``.

It receives and sends in batches, with netd-dns's own buffers, to be faster than all servers that forward to it.
"""

from __future__ import annotations

import select
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from netd.dns.server.batch import SLOTS, Batch

_ANSWER = bytes.fromhex("c00c 0001 0001 0000003c 0004 c6336401")
_OPT = 11


class Answers(dict[bytes, object]):
    """Replies without ids, by queries without ids."""

    def get(self, query: bytes, default: object = None) -> bytes:  # type: ignore[override]
        end = len(query) - _OPT * query[9]
        return b"\x81\x80" + query[2:4] + b"\0\1" + query[6:end] + _ANSWER + query[end:]


def main() -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)  # SO_RCVBUFFORCE
    sock.bind((sys.argv[1], 53))
    batch, answers = Batch(), Answers()
    print("ready", flush=True)
    while True:
        select.select([sock], [], [])
        batch.serve(sock.fileno(), SLOTS, answers, lambda packet, sender: None)


main()
