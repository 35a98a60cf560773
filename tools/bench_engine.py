"""One measured engine: its client, its host, and its figures."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import docker
from daemons import ROOT
from docker.models.containers import Container

T = TypeVar("T")
IMAGE = "netd-bench:latest"
MARK = {"netd.bench": "1"}


@dataclass(slots=True)
class Engine:
    """A client of Docker's API at ``url``, or a program that only does a part of an engine's work (no ``url``)."""

    name: str
    url: str = ""
    netns: str = ""
    """The path of the network namespace of its host; empty if it is the machine's own."""
    address: str = ""
    """The host's address for ``outside``."""
    gateway: str = ""
    """The address of ``outside`` for the host."""
    outside: str = ""
    """The path of a network namespace that stands for another host; empty if there is none."""
    restart: Callable[[str], float] | None = None
    """Restarts a daemon by its name and returns the seconds from its start until it answers."""
    figures: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    api: Any = None

    def open(self) -> None:
        self.api = docker.DockerClient(base_url=self.url, timeout=600, max_pool_size=16)
        self.clean()
        if not self.api.images.list(name=IMAGE):
            tar = subprocess.run([ROOT / "tools/busybox-image"], check=True, stdout=subprocess.PIPE).stdout
            self.api.api.import_image_from_data(tar, repository=IMAGE.split(":")[0], tag="latest")

    def clean(self) -> None:
        """Remove the objects of earlier measurements."""
        for container in self.api.containers.list(all=True, filters={"label": "netd.bench"}):
            self.drop(container)
        for network in self.api.networks.list(filters={"label": "netd.bench"}):
            network.remove()

    def version(self) -> str:
        return str(self.api.version().get("Version", "")) if self.api else ""

    def run(self, *command: str, **options: Any) -> Container:
        words = list(command) or ["sleep", "1000000"]
        return self.api.containers.run(IMAGE, words, detach=True, labels=MARK, **options)

    def network(self, name: str) -> Any:
        return self.api.networks.create(name, driver="bridge", labels=MARK)

    def drop(self, container: Container) -> None:
        """Kill and remove the container; without the kill some engines wait for the program to exit."""
        container.reload()
        if container.status == "running":
            container.kill()
        container.remove(force=True)

    def namespace(self, container: Container) -> str:
        container.reload()
        return f"/proc/{container.attrs['State']['Pid']}/ns/net"

    def timed(self, figure: str, call: Callable[..., T], *args: Any, **options: Any) -> T:
        """Return the result of *call*, and record its duration in milliseconds."""
        begin = time.perf_counter()
        result = call(*args, **options)
        self.figures[figure].append((time.perf_counter() - begin) * 1000)
        return result

    def median(self, figure: str) -> float:
        return statistics.median(self.figures[figure]) if self.figures.get(figure) else float("nan")

    def memory(self) -> float:
        """Return the proportional memory, in MB, of all processes on the engine's host that are in no container."""
        if not self.netns:
            return float("nan")
        host, total = os.stat(self.netns).st_ino, 0
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "ns/net").stat().st_ino == host:
                    lines = (process / "smaps_rollup").read_text().splitlines()
                    total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            except (OSError, IndexError):
                continue
        return total / 1024


def inside(netns: str, *command: str) -> str:
    """Run a program of this machine in a network namespace and return its output."""
    done = subprocess.run(["nsenter", f"--net={netns}", *command], check=False, capture_output=True, text=True)
    if done.returncode:
        print(f"{command[0]}: {done.stderr.strip()[-300:]}", file=sys.stderr)
    return done.stdout


def python_inside(netns: str, program: str, *words: str) -> list[float]:
    """Run a program of ``programs`` and return the numbers that it prints."""
    return [float(word) for word in inside(netns, sys.executable, "-c", program, *words).split()]


@contextmanager
def serving(netns: str, *command: str) -> Iterator[None]:
    """Run a server in a namespace, which prints a line when it is ready."""
    with subprocess.Popen(["nsenter", f"--net={netns}", *command], stdout=subprocess.PIPE) as server:
        assert server.stdout
        server.stdout.readline()
        try:
            yield
        finally:
            server.kill()


def asked(netns: str, server: str, names: list[str], seconds: float) -> float:
    """Return the answers per second that dnsperf gets; NaN without dnsperf."""
    if not shutil.which("dnsperf"):
        return float("nan")
    with tempfile.NamedTemporaryFile("w") as queries:
        queries.writelines(f"{name} A\n" for name in names)
        queries.flush()
        command = ["dnsperf", "-s", server, "-d", queries.name, "-c", "4", "-q", "100", "-l", f"{seconds:g}"]
        rate = re.search(r"Queries per second:\s+([\d.]+)", inside(netns, *command))
    return float(rate[1]) if rate else float("nan")
