"""Makes single calls of the C library fail in the daemons while a fixed script runs.

The calls are recorded by running each step once.  ``fault_shim.c`` is the preloaded library.  README.md describes how
to run all points.
"""

from __future__ import annotations

import errno
import http.client
import io
import json
import mmap
import os
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.installation import IMAGE, Installation

DAEMONS = ("netd", "runtime", "netd.dns")
_HEADER = struct.Struct("6i160s")
_SIZE = _HEADER.size + (1 << 20)
_OFF, _TRACE, _FAIL = 0, 1, 2
_DISK = (errno.ENOSPC, errno.EROFS)
_ERRORS = {
    "open": (errno.EMFILE, errno.ENOMEM),
    "open-to-write": (errno.EMFILE, errno.ENOSPC, errno.EROFS),
    "write": (errno.ENOSPC, errno.EROFS, errno.ENOMEM),
    "thread": (errno.EAGAIN,),
    "spawn": (errno.EAGAIN, errno.ENOMEM),
    "mount": (errno.ENOMEM, errno.ENOSPC),
    "unshare": (errno.ENOMEM, errno.ENOSPC),
    "setns": (errno.ENOMEM,),
    "epoll_ctl": (errno.ENOMEM, errno.ENOSPC),
    "send": (errno.ENOMEM, errno.EAGAIN),
    "accept": (errno.EMFILE,),
    "receive": (errno.ENOMEM,),
    "read": (errno.ENOMEM,),
    "connect": (errno.EAGAIN, errno.ENOMEM),
    "bind": (errno.ENOMEM,),
    **dict.fromkeys(("socket", "socketpair", "pipe"), (errno.EMFILE, errno.ENOMEM)),
    **dict.fromkeys(("sync", "truncate", "mkdir", "rename", "unlink"), _DISK),
}


def build(folder: Path) -> Path:
    """Compile the preloaded library."""
    library = folder / "fault_shim.so"
    source = Path(__file__).with_name("fault_shim.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


class Faults:
    """The file, mapped by one daemon, that selects the call that fails."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(_SIZE))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SIZE)

    def trace(self) -> None:
        self._set(_TRACE)

    def arm(self, label: str, occurrence: int, error: int) -> None:
        """Make the call with that label fail that follows *occurrence* others with the label."""
        self._set(_OFF, error, occurrence, label)
        self._map[0:4] = struct.pack("i", _FAIL)

    def disarm(self) -> bool:
        """Return whether a call has failed."""
        self._map[0:4] = struct.pack("i", _OFF)
        return bool(_HEADER.unpack_from(self._map)[4])

    def calls(self) -> list[str]:
        """Return the labels of all calls since :meth:`trace`."""
        length = _HEADER.unpack_from(self._map)[5]
        self.disarm()
        return self._map[_HEADER.size : _HEADER.size + length].decode(errors="replace").splitlines()

    def _set(self, mode: int, error: int = 0, occurrence: int = 0, label: str = "") -> None:
        self._map[0 : _HEADER.size] = _HEADER.pack(mode, error, occurrence, 0, 0, 0, label.encode())


@dataclass(frozen=True)
class Point:
    daemon: str
    step: str
    label: str
    occurrence: int
    error: int

    def __str__(self) -> str:
        return f"{self.daemon}: {self.step}: {self.label} ({self.occurrence}): {errno.errorcode[self.error]}"


class Place(Installation):
    """An installation whose daemons have the library preloaded."""

    def __init__(self, library: Path) -> None:
        super().__init__()
        self._library = library
        self._preload: list[str] = []
        self.faults = {name: Faults(self.root / f"faults-{name}") for name in ("netd", "runtime")}
        self.faults["netd.dns"] = Faults(self.root / "faults-netd.dns")

    @property
    def within(self) -> list[str]:
        return [*super().within, *self._preload]

    def start(self, *names: str) -> None:
        for name in names or ("netd", "runtime"):
            self._preload = ["env", f"LD_PRELOAD={self._library}", f"FAULT_FILE={self.root}/faults-{name}"]
            try:
                super().start(name)
            finally:
                self._preload = []

    def prepare(self) -> None:
        """Start the daemons, and create an image and a network for the script."""
        self.start()
        self.load_busybox()
        status, answer = self.ask("POST", "/networks/create", {"Name": "n0"})
        assert status == 201, answer

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Send a request to netd-runtime on a new connection."""
        connection = http.client.HTTPConnection("docker", timeout=40)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(40)
        try:
            connection.sock.connect(str(self.run / "docker.sock"))
            data = body if isinstance(body, bytes) else json.dumps(body) if body is not None else None
            kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
            connection.request(method, path, data, {"Content-Type": kind} if data is not None else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def look(self) -> dict[str, object]:
        """Return all objects that a step can leave behind."""
        links = (line.split(": ")[1].split("@")[0] for line in self.on_host("ip", "-o", "link").stdout.splitlines())
        return {
            "links": sorted(name for name in links if not name.startswith("ndx")),
            "rules": self.on_host("nft", "list", "ruleset").stdout,
            **{name: self._names(folder) for name, folder in self._folders().items()},
            "containers": sorted(
                container["Names"][0] for container in json.loads(self.ask("GET", "/containers/json?all=1")[1])
            ),
            "networks": sorted(network["Name"] for network in json.loads(self.ask("GET", "/networks")[1])),
        }

    def _folders(self) -> dict[str, Path]:
        below = {"sandboxes": self.run / "netns", "shims": self.run / "shims"}
        return below | {name: self.state / name for name in ("containers", "volumes", "layers", "tmp")}

    @staticmethod
    def _names(folder: Path) -> list[str]:
        with suppress(FileNotFoundError):
            return sorted(entry for entry in os.listdir(folder) if not entry.startswith("spare"))
        return []


@dataclass(frozen=True)
class Step:
    name: str
    do: Callable[[Place], tuple[int, bytes]]
    done: tuple[int, ...] = ()
    """Statuses for steps that were done before."""


def _container() -> dict[str, object]:
    host = {"NetworkMode": "n0", "Binds": ["v1:/v"], "PortBindings": {"80/tcp": [{"HostPort": "8080"}]}}
    exposed: dict[str, object] = {"80/tcp": {}}
    return {"Image": IMAGE, "Cmd": ["sleep", "100000"], "ExposedPorts": exposed, "HostConfig": host}


def _execute(place: Place) -> tuple[int, bytes]:
    status, answer = place.ask("POST", "/containers/c1/exec", {"Cmd": ["echo", "hello"], "AttachStdout": True})
    if status != 201:
        return status, answer
    status, answer = place.ask("POST", f"/exec/{json.loads(answer)['Id']}/start", {})
    if b"hello" in answer:
        return status, answer
    # After the streams have begun, an error is reported on them.
    return (status if status >= 400 else 500), answer[8:] if status < 400 else answer


def _look_up(place: Place) -> tuple[int, bytes]:
    status, answer = place.ask("GET", "/containers/c1/json")
    if status != 200:
        return status, answer
    pid = json.loads(answer)["State"]["Pid"]
    command = ["nsenter", "-t", str(pid), "-n", "busybox", "nslookup", "c1", "127.0.0.11"]
    done = subprocess.run(command, capture_output=True, timeout=40)
    return (500 if done.returncode else 200), done.stdout + done.stderr


def _archive() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("only"))
    return out.getvalue()


def _call(method: str, path: str, body: object = None) -> Callable[[Place], tuple[int, bytes]]:
    return lambda place: place.ask(method, path, body)


NETWORK = (
    Step("network create", _call("POST", "/networks/create", {"Name": "n1"}), (409,)),
    Step("network list", _call("GET", "/networks")),
    Step("network rm", _call("DELETE", "/networks/n1"), (404,)),
)
CONTAINER = (
    Step("create", _call("POST", "/containers/create?name=c1", _container()), (409,)),
    Step("start", _call("POST", "/containers/c1/start"), (304,)),
    Step("exec", _execute),
    Step("look up", _look_up),
    Step("connect", _call("POST", "/networks/bridge/connect", {"Container": "c1"}), (403, 409)),
    Step("disconnect", _call("POST", "/networks/bridge/disconnect", {"Container": "c1"}), (403, 404, 500)),
    Step("stop", _call("POST", "/containers/c1/stop?t=0"), (304,)),
    Step("rm", _call("DELETE", "/containers/c1?v=1&force=1"), (404,)),
    Step("volume rm", _call("DELETE", "/volumes/v1"), (404,)),
)
IMAGES = (
    Step("import", _call("POST", "/images/create?fromSrc=-&repo=tiny&tag=1", _archive())),
    Step("rmi", _call("DELETE", "/images/tiny:1"), (404,)),
)
SCRIPTS = (NETWORK, CONTAINER, IMAGES)


def find_points(place: Place) -> dict[tuple[Step, ...], list[Point]]:
    """Run every script twice and return the points of each.

    The points are those of the second time: some calls are made once by a daemon, and would not be made in an attempt.
    """
    found: dict[tuple[Step, ...], list[Point]] = {}
    for script in SCRIPTS:
        for step in script:
            _do(place, step)
    for script in SCRIPTS:
        found[script] = []
        for step in script:
            for faults in place.faults.values():
                faults.trace()
            _do(place, step)
            for daemon, faults in place.faults.items():
                found[script] += _points(daemon, step.name, faults.calls())
    return found


def _do(place: Place, step: Step) -> None:
    status, answer = step.do(place)
    assert status < 400, (step.name, status, answer)


def _points(daemon: str, step: str, labels: list[str]) -> Iterator[Point]:
    for label, count in Counter(labels).items():
        for error in _ERRORS.get(label.split(" ")[0], ()):
            yield from (Point(daemon, step, label, number, error) for number in range(count))


def sample(points: list[Point], every: int) -> list[Point]:
    """Return every *every*-th point, with one error for the first call of each label in each step; all points for 0."""
    if not every:
        return points
    first: dict[tuple[str, str, str], list[Point]] = {}
    for point in points:
        if point.occurrence == 0:
            first.setdefault((point.daemon, point.step, point.label), []).append(point)
    chosen = [alike[number % len(alike)] for number, alike in enumerate(first.values())]
    return chosen[::every]


def attempt(place: Place, script: tuple[Step, ...], point: Point, before: dict[str, object]) -> list[str]:
    """Run the script with one failing call in one step, and return the faults found."""
    wrong: list[str] = []
    for step in script:
        if step.name == point.step:
            place.faults[point.daemon].arm(point.label, point.occurrence, point.error)
            began = time.monotonic()
            status = 0
            with _told(wrong, "the failing try"):
                try:
                    status, answer = step.do(place)
                    wrong += _judge(status, answer)
                except (ConnectionError, http.client.HTTPException):
                    # If a connection cannot be served, the daemon closes it without a response.
                    if not point.label.endswith(" unix") and not point.label.startswith("accept"):
                        raise
            if time.monotonic() - began > 20:
                wrong.append("it took longer than 20 s")
            place.faults[point.daemon].disarm()
            if 0 < status < 400:
                continue
        with _told(wrong, f"{step.name} afterwards"):
            wrong += _insist(place, step)
    dead = [name for name, process in place.processes.items() if process.poll() is not None]
    return wrong + [f"{name} has ended" for name in dead] + ([] if dead else _left(place, before))


@contextmanager
def _told(wrong: list[str], what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        wrong.append(f"{what}: {error!r}")


def find_points_of_start(place: Place, daemon: str) -> list[Point]:
    """Kill and start a daemon, and return the points of its start, without those during imports."""
    place.kill(daemon)
    place.faults[daemon].trace()
    place.start(daemon)
    labels = place.faults[daemon].calls()
    own = ("netlink", " unix", "thread", "spawn", "mount", "unshare", "setns", "ndt-", "/proc/sys")
    chosen = [label for label in labels if any(map(label.count, own)) and ".py" not in label]
    return list(_points(daemon, "start of the daemon", chosen))


def attempt_start(place: Place, point: Point, before: dict[str, object]) -> list[str]:
    """Kill and start a daemon with one failing call: it starts, or fails with a message and starts at the retry."""
    wrong: list[str] = []
    name = point.daemon
    place.kill(name)
    log = place.root / f"{name}.log"
    said_before = log.stat().st_size
    place.faults[name].arm(point.label, point.occurrence, point.error)
    try:
        place.start(name)
    except AssertionError:
        said = log.read_text()[said_before:]
        if "Traceback" in said or not said.splitlines()[-1].startswith("netd"):
            wrong.append(f"it said {said[-600:]}")
        if place.processes[name].poll() is None:
            wrong.append("it neither answers nor ends")
            place.kill(name)
        place.faults[name].disarm()
        place.start(name)
    return wrong + _left(place, before)


def _judge(status: int, answer: bytes) -> list[str]:
    if status < 400:
        return []
    if b"Traceback" in answer or b"the daemon's log has the cause" in answer or len(answer) < 20:
        return [f"answered {status} {answer!r}"]
    return []


def _insist(place: Place, step: Step) -> list[str]:
    """Repeat the step, which may be done already; retry once while a background change is in progress."""
    for pause in (0.3, 2.0, 6.0, 0.0):
        status, answer = step.do(place)
        if status < 400 or status in step.done:
            return []
        time.sleep(pause)
    return [f"{step.name} does not succeed afterwards: {status} {answer!r}"]


def _left(place: Place, before: dict[str, object]) -> list[str]:
    deadline = time.monotonic() + 20
    while (now := place.look()) != before:
        if time.monotonic() > deadline:
            return [f"left over: {key}: {before[key]} became {now[key]}" for key in before if before[key] != now[key]]
        time.sleep(0.05)
    return []


def main(daemon: str, step: str, label: str, error: str) -> None:
    """Run one point, and print the faults and the logs."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place(build(Path(folder)))
        try:
            place.prepare()
            script = next(script for script in SCRIPTS if any(part.name == step for part in script))
            point = Point(daemon, step, label, 0, getattr(errno, error))
            print(attempt(place, script, point, place.look()) or "nothing is wrong")
            print(place.log("netd"), place.log("runtime"), (place.run / "dns.log").read_text(), sep="\n")
        finally:
            place.destroy()


if __name__ == "__main__":
    main(*sys.argv[1:])
