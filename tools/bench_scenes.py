"""The measurements.  A scene prepares an engine, yields the function of one round, and cleans up at the end."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from bench_engine import IMAGE, MARK, Engine
from daemons import BIN
from docker.models.containers import Container

Round = Callable[[], None]
MANY_PORTS = 500
CROWD = 40
LOAD_SECONDS = 3

ASK = """
import socket, sys, time
server, name = sys.argv[1:]
labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
tail = b"\\1\\0\\0\\1" + bytes(6) + labels + b"\\0\\0\\1\\0\\1"
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asker.settimeout(2)
asker.connect((server, 53))
taken = []
for number in range(2000):
    id, begin = number.to_bytes(2, "big"), time.perf_counter()
    asker.send(id + tail)
    reply = asker.recv(4096)
    taken.append((time.perf_counter() - begin) * 1e6)
    if reply[:2] != id or reply[3] & 15 or reply[6:8] == b"\\0\\0":
        sys.exit(f"wrong answer: {reply.hex()}")
taken.sort()
print(taken[len(taken) // 2], taken[len(taken) * 99 // 100])
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


@contextmanager
def networks(engine: Engine) -> Iterator[Round]:
    def once() -> None:
        made = engine.timed("network create, ms", engine.network, "bench-made")
        engine.timed("network remove, ms", made.remove)

    yield once


@contextmanager
def connecting(engine: Engine) -> Iterator[Round]:
    network, container = engine.network("bench-connect"), engine.run()

    def once() -> None:
        engine.timed("connect, ms", network.connect, container)
        engine.timed("disconnect, ms", network.disconnect, container)

    yield once


@contextmanager
def running(engine: Engine) -> Iterator[Round]:
    def whole(mode: str) -> None:
        container = engine.api.containers.create(IMAGE, ["true"], labels=MARK, network_mode=mode)
        container.start()
        container.wait()
        gone.append(container)

    def once() -> None:
        for mode in ("none", "bridge"):
            engine.timed(f"create + start + exit ({mode}), ms", whole, mode)
            engine.timed(f"remove ({mode}), ms", gone.pop().remove)

    gone: list[Container] = []
    yield once


@contextmanager
def names(engine: Engine) -> Iterator[Round]:
    engine.network("bench-names")
    engine.run(name="bench-target", network="bench-names")
    asker = engine.run(name="bench-asker", network="bench-names")
    found = re.search(r"^nameserver (\S+)", asker.exec_run("cat /etc/resolv.conf").output.decode(), re.M)
    server = found[1] if found else "127.0.0.11"

    def once() -> None:
        done = engine.inside(asker, sys.executable, "-c", ASK, server, "bench-target")
        half, nearly_all = map(float, done.stdout.split())
        engine.figures["name found, p50, us"].append(half)
        engine.figures["name found, p99, us"].append(nearly_all)
        if shutil.which("dnsperf"):
            engine.figures["names found a second"].append(load(server))

    def load(server: str) -> float:
        with tempfile.NamedTemporaryFile("w") as questions:
            questions.write("bench-target A\n")
            questions.flush()
            command = ["dnsperf", "-s", server, "-d", questions.name, "-c", "4", "-q", "100", "-l", str(LOAD_SECONDS)]
            text = engine.inside(asker, *command).stdout
        rate = re.search(r"Queries per second:\s+([\d.]+)", text)
        return float(rate[1]) if rate else float("nan")

    yield once


@contextmanager
def publishing(engine: Engine) -> Iterator[Round]:
    ports = {f"{7000 + number}/tcp": 20000 + number for number in range(MANY_PORTS)}

    def once() -> None:
        before = engine.memory()
        container = engine.timed(f"start with {MANY_PORTS} ports, ms", engine.run, ports=ports)
        engine.figures[f"memory for {MANY_PORTS} ports, MB"].append(engine.memory() - before)
        container.kill()
        engine.timed(f"remove with {MANY_PORTS} ports, ms", container.remove)

    yield once


@contextmanager
def reaching(engine: Engine) -> Iterator[Round]:
    """Measure new connections from another host to a published port, when it is the only one and the last of 300."""

    def once() -> None:
        for count in (1, 300):
            ports = {f"{7000 + number}/tcp": 20000 + number for number in range(count)}
            container = engine.run(ports=ports)
            container.reload()
            target = f"--net=/proc/{container.attrs['State']['Pid']}/ns/net"
            command = ["nsenter", target, sys.executable, "-c", ACCEPT, str(7000 + count - 1)]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
                assert server.stdout
                server.stdout.readline()
                engine.figures[f"connections a second, {count} published"].append(dial(20000 + count - 1))
                server.kill()
            engine.drop(container)

    def dial(port: int) -> float:
        command = ["nsenter", f"--net=/run/netns/{engine.outside}", sys.executable, "-c", CONNECT]
        return float(subprocess.check_output([*command, engine.address, str(port)]))

    yield once if engine.address and engine.outside else lambda: None


@contextmanager
def crowd(engine: Engine) -> Iterator[Round]:
    def once() -> None:
        before, begin = engine.memory(), time.perf_counter()
        engine.network("bench-crowd")
        for number in range(CROWD):
            engine.run(name=f"bench-crowd-{number}", network="bench-crowd")
        engine.figures[f"{CROWD} containers on one network, s"].append(time.perf_counter() - begin)
        engine.figures[f"memory for {CROWD} containers, MB"].append(engine.memory() - before)
        engine.clean()

    yield once


@contextmanager
def command_line(engine: Engine) -> Iterator[Round]:
    """Measure a call of ``netctl network ls`` from start to exit; only for netd, because netctl needs its sockets."""
    directory = engine.url.removeprefix("unix://").removesuffix("/docker.sock")
    command = [str(BIN / "netctl"), "--run-dir", directory, "network", "ls"]

    def once() -> None:
        engine.timed("netctl network ls, ms", subprocess.run, command, check=True, stdout=subprocess.DEVNULL)

    yield once if engine.name == "netd" else lambda: None


SCENES: dict[str, tuple[Callable[[Engine], AbstractContextManager[Round]], int]] = {
    "networks": (networks, 15),
    "connecting": (connecting, 15),
    "running": (running, 15),
    "names": (names, 3),
    "publishing": (publishing, 3),
    "reaching": (reaching, 3),
    "crowd": (crowd, 1),
    "command-line": (command_line, 15),
}
"""Name, scene, and the default number of rounds."""
