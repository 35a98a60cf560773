"""Traffic of the upgrade test, run as a program in the network namespace of a container or of the host.

    traffic.py echo PORT                     TCP server that returns what it receives
    traffic.py stream ADDRESS PORT           one connection, a message and its echo at a time
    traffic.py connections ADDRESS PORT      a connection for each message
    traffic.py questions NAME                DNS questions to 127.0.0.11

The clients write a line when the first exchange worked, and on SIGTERM one JSON object: ``exchanges``, ``failures`` and
``longest``, the seconds of the slowest exchange.
"""

import contextlib
import json
import signal
import socket
import socketserver
import struct
import sys
import time

PAUSE = 0.005
SECONDS = 5.0
"""How long an exchange may take.  TCP retransmits a lost packet after a fifth of a second."""


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        with contextlib.suppress(ConnectionError):
            while data := self.request.recv(4096):
                self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128


def stream(address, port):
    connection = socket.create_connection((address, int(port)), SECONDS)

    def exchange(number):
        message = b"%8d" % number
        connection.sendall(message)
        received = b""
        while len(received) < len(message):
            part = connection.recv(64)
            if not part:
                raise ConnectionError("the connection ended")
            received += part
        if received != message:
            raise ConnectionError(f"sent {message!r}, received {received!r}")

    return exchange


def connections(address, port):
    def exchange(number):
        with socket.create_connection((address, int(port)), SECONDS) as connection:
            connection.sendall(b"%8d" % number)
            if len(connection.recv(8, socket.MSG_WAITALL)) != 8:
                raise ConnectionError("no echo")

    return exchange


def questions(name):
    body = (
        b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0" + struct.pack(">HH", 1, 1)
    )

    def exchange(number):
        """Ask once, and once again after a second, as resolvers do."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as question:
            question.settimeout(1)
            message = struct.pack(">HHHHHH", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + body
            for attempt in (1, 2):
                question.sendto(message, ("127.0.0.11", 53))
                try:
                    answer = question.recv(512)
                    break
                except OSError:
                    if attempt == 2:
                        raise
        if struct.unpack_from(">H", answer)[0] != number & 0xFFFF or answer[3] & 0xF or not answer[7]:
            raise OSError(f"bad answer {answer[:12]!r}")

    return exchange


def repeat(exchange):
    """Exchange until SIGTERM, and write the counts."""
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    failures, number, longest = [], 0, 0.0
    while not stopped:
        number += 1
        begin = time.monotonic()
        try:
            exchange(number)
        except OSError as error:
            failures.append(f"{number}: {error}")
        longest = max(longest, time.monotonic() - begin)
        if number == 1:
            print("first", failures, flush=True)
        time.sleep(PAUSE)
    print(json.dumps({"exchanges": number, "failures": failures[:10], "longest": round(longest, 3)}), flush=True)


def main():
    kind, *words = sys.argv[1:]
    if kind == "echo":
        with Server(("", int(words[0])), Echo) as server:
            print("first []", flush=True)
            server.serve_forever()
    repeat({"stream": stream, "connections": connections, "questions": questions}[kind](*words))


if __name__ == "__main__":
    main()
