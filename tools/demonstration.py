"""The demonstration of quickstart: every command is printed with its output, and the output is checked.

Each object is noted by its id when it is made; only noted objects are removed.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path

from daemons import BIN, ROOT, Place
from demonstration_objects import KINDS, DemonstrationObjects

NETWORK, WEB, CLIENT, IMAGE = "quickstart-net", "quickstart-web", "quickstart-client", "busybox"
SUBNETS = [IPv4Network(f"172.{second}.0.0/16") for second in range(18, 32)]
PORTS = range(8080, 8180)
PAGE = "Hello from a container"
SERVE = f'echo "{PAGE}" >/tmp/index.html; exec httpd -f -p 80 -h /tmp'


class StepError(Exception):
    """A step failed."""


class Show:
    """Runs commands, and prints them with their output."""

    def __init__(self, place: Place) -> None:
        self.environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
        if place != Place():
            self.environment["NETD_RUN_DIR"] = str(place.run)
        self.objects = DemonstrationObjects(place.state)
        self.steps = 0

    def title(self, text: str) -> None:
        self.steps += 1
        print(f"\n{self.steps}. {text}", flush=True)

    def run(self, *words: str, expect: str = "") -> str:
        """Print and run a command; its output must contain *expect*."""
        return self.shell(shlex.join(words), expect)

    def shell(self, line: str, expect: str = "") -> str:
        """Print and run a shell command line; its output must contain *expect*."""
        print(f"   $ {line}", flush=True)
        done = self._call(("sh", "-c", line), stderr=subprocess.STDOUT)
        say(done.stdout)
        if done.returncode:
            raise StepError(f"that command ended with {done.returncode}")
        if expect not in done.stdout:
            raise StepError(f"{expect!r} is missing in what it printed")
        return done.stdout

    def make(self, kind: str, line: str) -> None:
        """Print and run a shell command line that makes an object, and note the id that it prints last."""
        self.objects.note(kind, self.shell(line).split()[-1])

    def quietly(self, *words: str) -> str:
        """Return the output of netctl without printing it; empty if it fails."""
        return self._call(("netctl", *words), stderr=subprocess.DEVNULL).stdout.strip()

    def listed(self, *words: str) -> list[str]:
        """Return the words that netctl prints.  Raises StepError."""
        done = self._call(("netctl", *words), stderr=subprocess.STDOUT)
        if done.returncode:
            raise StepError(f"netctl {shlex.join(words)}: {done.stdout.strip()}")
        return done.stdout.split()

    def documents(self, *words: str) -> list[dict[str, str]]:
        """Return the JSON list that netctl prints.  Raises StepError."""
        found: list[dict[str, str]] = json.loads(" ".join(self.listed(*words)))
        return found

    def attempt(self, *words: str) -> str:
        """Run netctl without printing; return its error message, empty if it succeeded."""
        done = self._call(("netctl", *words), stderr=subprocess.STDOUT)
        return done.stdout.strip() if done.returncode else ""

    def _call(self, words: Sequence[str], stderr: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, check=False, stdout=subprocess.PIPE, stderr=stderr, text=True, env=self.environment
        )


def demonstrate(show: Show) -> None:
    clean(show)
    show.title("Make an image from Debian's busybox")
    tool = shlex.quote(str(ROOT / "tools/busybox-image"))
    if show.quietly("image", "ls", "--quiet", IMAGE):
        show.run("netctl", "image", "ls", IMAGE)
    else:
        show.make("image", f"{tool} | netctl image import --change 'CMD [\"sh\"]' - {IMAGE}")

    show.title("Create a network of its own")
    subnet, why = choose_subnet(show)
    say(why)
    show.make("network", f"netctl network create --driver bridge --subnet {subnet} {NETWORK}")

    show.title("Start two containers on it, one of them a web server with a published port")
    port = next(number for number in PORTS if is_free(number))
    run = ["netctl", "run", "-d", "--network", NETWORK]
    show.make("container", shlex.join([*run, "--name", WEB, "-p", f"{port}:80", IMAGE, "sh", "-c", SERVE]))
    show.make("container", shlex.join([*run, "--name", CLIENT, IMAGE, "sleep", "1000000"]))
    show.run("netctl", "ps")

    show.title("Find one from the other by name, and reach it")
    address = settings(show)["Networks"][NETWORK]["IPAddress"]
    show.run("netctl", "exec", CLIENT, "nslookup", WEB, "127.0.0.11", expect=address)
    show.run("netctl", "exec", CLIENT, "ping", "-c", "3", "-i", "0.2", WEB, expect=" 0% packet loss")

    show.title("Fetch the page from this host, through the published port")
    show.run("busybox", "wget", "-q", "-O", "-", f"http://127.0.0.1:{port}/", expect=PAGE)

    show.title("Look at the container's network settings")
    print(f"   $ netctl inspect {WEB}")
    found = settings(show)
    say(json.dumps({"NetworkSettings": {name: found[name] for name in ("Ports", "Networks")}}, indent=2))


def settings(show: Show) -> dict[str, dict[str, dict[str, str]]]:
    """Return the web container's NetworkSettings."""
    found: list[dict[str, dict[str, dict[str, dict[str, str]]]]] = json.loads(show.quietly("inspect", WEB) or "[]")
    if not found:
        raise StepError(f"netctl inspect {WEB} printed nothing")
    return found[0]["NetworkSettings"]


def choose_subnet(show: Show) -> tuple[IPv4Network, str]:
    """Return the first unused subnet of SUBNETS, and the reason for the choice as text to print."""
    names = show.quietly("network", "ls", "--quiet").split()
    networks = json.loads(show.quietly("network", "inspect", *names))
    holders = [
        (IPv4Network(config["Subnet"]), f"the network {network['Name']}")
        for network in networks
        for config in network["IPAM"]["Config"] or ()
        if "." in config["Subnet"]
    ]
    holders += [(route, f"this host's route to {route}") for route in routes()]
    for subnet in SUBNETS:
        taken = [holder for network, holder in holders if network.overlaps(subnet)]
        if not taken:
            reason = "it is free" if subnet == SUBNETS[0] else f"{SUBNETS[0]} is taken"
            return subnet, f"subnet {subnet}: {reason}"
        say(f"{subnet} is taken by {taken[0]}")
    raise StepError(f"no subnet from {SUBNETS[0]} to {SUBNETS[-1]} is free")


def routes() -> list[IPv4Network]:
    """Return the destinations of this host's routes, without the default route."""
    lines = [line.split() for line in Path("/proc/net/route").read_text().splitlines()[1:]]
    found = [IPv4Network((little_endian(words[1]), bin(int(words[7], 16)).count("1"))) for words in lines]
    return [network for network in found if network.prefixlen]


def little_endian(digits: str) -> int:
    return int.from_bytes(bytes.fromhex(digits), "little")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def clean(show: Show) -> None:
    """Remove the noted objects of a demonstration; those that are in use stay and are named."""
    for kind in KINDS:
        words = [kind, "rm", *(["--force"] if kind == "container" else [])]
        for identifier in show.objects.ids(kind):
            fault = show.attempt(*words, identifier)
            if not fault:
                say(f"{kind} {identifier} removed")
            elif "No such" not in fault and "not found" not in fault:
                say(f"{kind} {identifier} stays: {fault}")
                continue
            show.objects.forget(kind, identifier)


def say(text: str) -> None:
    for line in text.splitlines():
        print(f"   {line}", flush=True)
