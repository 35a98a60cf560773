"""One measured engine: its client, its host, and its figures."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
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
    """A client of Docker's API at ``url``; ``address`` and ``netns`` belong to the engine's host."""

    name: str
    url: str
    address: str = ""
    netns: str = ""
    outside: str = ""
    """A network namespace from which ``address`` is reached; empty if there is none."""
    figures: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    api: Any = None

    def open(self) -> None:
        self.api = docker.DockerClient(base_url=self.url, timeout=600)
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

    def inside(self, container: Container, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program of this machine in the container's network."""
        container.reload()
        target = f"--net=/proc/{container.attrs['State']['Pid']}/ns/net"
        return subprocess.run(["nsenter", target, *command], check=False, capture_output=True, text=True)

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
        host, total = Path("/run/netns", self.netns).stat().st_ino, 0
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "ns/net").stat().st_ino == host:
                    lines = (process / "smaps_rollup").read_text().splitlines()
                    total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            except (OSError, IndexError):
                continue
        return total / 1024
