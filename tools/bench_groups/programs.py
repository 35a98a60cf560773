"""Programs that the measurements run inside containers' network namespaces, with this machine's Python."""

from __future__ import annotations

LOAD_SECONDS = 2

ASK = """
import socket, sys, time
server, name, count, is_new = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:] == ["new"]
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asker.settimeout(2)
asker.connect((server, 53))
taken = []
for number in range(count):
    asked = f"p{number}-{time.time_ns()}.{name}" if is_new else name
    labels = b"".join(bytes([len(label)]) + label.encode() for label in asked.split("."))
    query = number.to_bytes(2, "big") + b"\\1\\0\\0\\1" + bytes(6) + labels + b"\\0\\0\\1\\0\\1"
    begin = time.perf_counter()
    asker.send(query)
    reply = asker.recv(4096)
    taken.append((time.perf_counter() - begin) * 1e6)
    if reply[:2] != query[:2] or reply[3] & 15 or reply[6:8] == b"\\0\\0":
        sys.exit(f"wrong answer: {reply.hex()}")
taken.sort()
print(taken[len(taken) // 2], taken[len(taken) * 99 // 100])
"""
ECHO = """
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
server = socket.socket(socket.AF_INET, kind)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("", int(sys.argv[2])))
if kind == socket.SOCK_STREAM:
    server.listen()
print("ready", flush=True)
if kind == socket.SOCK_STREAM:
    connection, _ = server.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := connection.recv(64):
        connection.send(data)
    sys.exit()
while True:
    server.sendto(*server.recvfrom(64))
"""
TURN = f"""
import socket, sys, time
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
client = socket.socket(socket.AF_INET, kind)
client.settimeout(5)
client.connect((sys.argv[2], int(sys.argv[3])))
if kind == socket.SOCK_STREAM:
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
taken, end = [], time.perf_counter() + {LOAD_SECONDS / 2}
while (begin := time.perf_counter()) < end:
    client.send(b"x")
    client.recv(64)
    taken.append((time.perf_counter() - begin) * 1e6)
print(sorted(taken)[len(taken) // 2])
"""
ACCEPT = """
import socket, sys
server = socket.create_server(("", int(sys.argv[1])), backlog=4096)
print("ready", flush=True)
while True:
    server.accept()[0].close()
"""
# The server closes first: the side that closes first keeps the port in TIME_WAIT, and the client's ports are limited.
CONNECT = f"""
import socket, sys, time
target, made, begin = (sys.argv[1], int(sys.argv[2])), 0, time.monotonic()
while time.monotonic() < begin + {LOAD_SECONDS}:
    try:
        with socket.create_connection(target, 1) as connection:
            connection.recv(1)
        made += 1
    except OSError:
        pass
print(made / (time.monotonic() - begin))
"""
