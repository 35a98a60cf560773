"""Programs of Debian that do a part of an engine's work, and the floors: columns without an engine's API.

``crun`` starts a container without a network, the CNI plugin ``bridge`` connects a namespace to a bridge, ``dnsmasq``
answers and forwards names.  The packages are downloaded and unpacked, not installed; without them, the columns stay
empty.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench_engine import Engine, asked, python_inside, serving
from bench_groups.names import DIFFERENT, UPSTREAM, note
from bench_groups.programs import ASK, LOAD_SECONDS
from bench_groups.traffic import measure
from bench_hosts import link, namespace
from daemons import ROOT

PACKAGES = ("crun", "libyajl2", "containernetworking-plugins", "dnsmasq-base")
ROUNDS = 10
_SERVER = "127.0.0.11"
_REPEAT = """
import subprocess, sys, time
for number in range(int(sys.argv[1])):
    begin = time.perf_counter()
    subprocess.run([*sys.argv[2:], "run", f"netd-bench-{number}"], check=True, stdout=subprocess.DEVNULL)
    print((time.perf_counter() - begin) * 1000)
"""


def unpacked(folder: Path) -> bool:
    """Unpack the packages into *folder*; return False if they cannot be had."""
    for package in PACKAGES:
        command = ["apt-get", "download", "-qq", package]
        if subprocess.run(command, check=False, cwd=folder, capture_output=True).returncode:
            return False
    for archive in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", archive, folder], check=True)
    return True


def columns() -> list[Engine]:
    """Measure all of them."""
    floor = Engine("floor")
    found = [floor]
    for measured in (control_floor, traffic_floor):
        attempt(measured, floor)
    with tempfile.TemporaryDirectory(prefix="netd-bench-") as text:
        folder = Path(text)
        if unpacked(folder):
            for name, measured_in in (("crun", crun), ("CNI bridge", cni), ("dnsmasq", dnsmasq)):
                engine = Engine(name)
                found.append(engine)
                attempt(partial(measured_in, folder=folder), engine)
        else:
            print("bench: crun, the CNI plugins and dnsmasq are not measured: no packages", file=sys.stderr)
    return found


def attempt(call: Callable[[Engine], None], engine: Engine) -> None:
    """Measure a column; if that fails, say so and leave it empty."""
    try:
        call(engine)
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as problem:
        print(f"bench: {engine.name} is not measured: {problem}", file=sys.stderr)


def control_floor(engine: Engine) -> None:
    with namespace("netd-bench-floor") as netns:
        command = ["nsenter", f"--net={netns}", sys.executable, str(ROOT / "tools/bench_floors.py")]
        for figure, value in json.loads(subprocess.check_output(command)).items():
            engine.figures[figure].append(value)


def traffic_floor(engine: Engine) -> None:
    """Measure over a bare veth pair; and a server that is asked over it without a forwarder."""
    with namespace("netd-bench-floor") as client, namespace("netd-bench-floor2") as server:
        with link(client, server) as (_, address):
            for _ in range(2):
                measure(engine, client, server, address)
            with serving(server, *UPSTREAM, address):
                note(engine, "forwarded name", python_inside(client, ASK, address, "bench.example", "1000", "new"))
                engine.figures["forwarded names, answers/s"].append(asked(client, address, DIFFERENT, LOAD_SECONDS))


def crun(engine: Engine, folder: Path) -> None:
    """Run ``true`` in a container without a network, from a root file system that exists already."""
    bundle = folder / "bundle"
    (bundle / "rootfs").mkdir(parents=True)
    image = subprocess.Popen([ROOT / "tools/busybox-image"], stdout=subprocess.PIPE)
    subprocess.run(["tar", "-xf", "-", "-C", bundle / "rootfs"], stdin=image.stdout, check=True)
    image.wait()
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, folder.glob("usr/lib/*-linux-gnu")))}
    program = [str(folder / "usr/bin/crun"), "--root", str(folder / "state"), "--cgroup-manager=disabled"]
    subprocess.run([*program, "spec"], cwd=bundle, env=environment, check=True)
    spec = json.loads((bundle / "config.json").read_text())
    spec["process"].update(args=["true"], terminal=False)
    (bundle / "config.json").write_text(json.dumps(spec))
    # crun refuses a machine with both versions of control groups.
    shell = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", shell, "sh", sys.executable, "-c", _REPEAT, str(ROUNDS), *program]
    output = subprocess.check_output(command, cwd=bundle, env=environment, text=True)
    engine.figures["create + start + exit (none), ms"] += map(float, output.split())


def cni(engine: Engine, folder: Path) -> None:
    """Connect a namespace to a bridge and disconnect it, with addresses by ``host-local``."""
    ipam = {"type": "host-local", "subnet": "10.99.0.0/16", "dataDir": str(folder / "ipam")}
    network = {"cniVersion": "1.0.0", "name": "bench", "type": "bridge", "bridge": "cni-bench", "isGateway": True}
    configuration = json.dumps({**network, "ipam": ipam}).encode()
    with namespace("netd-bench-cni") as host, namespace("netd-bench-cni2") as container:
        parameters = {"CNI_CONTAINERID": "bench", "CNI_NETNS": container, "CNI_IFNAME": "eth0"}
        environment = {**os.environ, **parameters, "CNI_PATH": str(folder / "usr/lib/cni")}
        command = ["nsenter", f"--net={host}", str(folder / "usr/lib/cni/bridge")]
        for _ in range(ROUNDS):
            for action, figure in (("ADD", "connect, ms"), ("DEL", "disconnect, ms")):
                variables = {**environment, "CNI_COMMAND": action}
                options = {"input": configuration, "env": variables, "check": True, "capture_output": True}
                engine.timed(figure, subprocess.run, command, **options)


def dnsmasq(engine: Engine, folder: Path) -> None:
    """Ask dnsmasq at loopback, without the way out of a container; its server is at loopback too."""
    flags = [
        "--keep-in-foreground",
        "--no-resolv",
        "--no-hosts",
        "--bind-interfaces",
        "--user=root",
        "--conf-file=/dev/null",
    ]
    flags += [f"--listen-address={_SERVER}", "--host-record=bench-target,10.0.0.1", "--server=127.0.0.53"]
    flags += ["--dns-forward-max=4000", "--pid-file=", "--conf-file=/dev/null"]
    with namespace("netd-bench-dnsmasq") as netns, serving(netns, *UPSTREAM, "127.0.0.53"):
        command = ["nsenter", f"--net={netns}", str(folder / "usr/sbin/dnsmasq"), *flags]
        with subprocess.Popen(command) as server:
            try:
                time.sleep(0.5)  # It says nothing when it is ready.
                for _ in range(3):
                    note(engine, "container name", python_inside(netns, ASK, _SERVER, "bench-target", "2000"))
                    rate = asked(netns, _SERVER, ["bench-target"], LOAD_SECONDS)
                    engine.figures["container name, answers/s"].append(rate)
                    note(engine, "forwarded name", python_inside(netns, ASK, _SERVER, "bench.example", "1000", "new"))
                    rate = asked(netns, _SERVER, DIFFERENT, LOAD_SECONDS)
                    engine.figures["forwarded names, answers/s"].append(rate)
            finally:
                server.kill()
