"""netd on a temporary host with a neighbour, used through its socket."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import dns.message
import dns.query
import pytest

from tests.lab import Lab, Node

UPLINK, OUTSIDE = "198.51.100.1", "198.51.100.2"


class Site:
    """A host, its neighbour ``outside``, and a netd that can be killed and restarted."""

    def __init__(self, lab: Lab, root: Path, firewall: str = "auto") -> None:
        self.lab = lab
        self.root = root
        self.firewall = firewall
        self.host_firewall = "ignore"
        self.run, self.state = root / "run", root / "state"
        self.machine = lab.make_host("machine")
        self.outside = lab.make_host("outside")
        lab.wire(self.machine, self.outside, "198.51.100.0/24")
        self.environment: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)

    # The daemon

    def spawn(self, *flags: str) -> subprocess.Popen[bytes]:
        self.root.mkdir(exist_ok=True)
        config = self.root / "netd.toml"
        config.write_text(f'firewall = "{self.firewall}"\nhost_firewall = "{self.host_firewall}"\n')
        flags = ("--state-dir", str(self.state), "--run-dir", str(self.run), "--config", str(config), *flags)
        words = [sys.executable, "-m", "netd", *flags]
        with (self.root / "log").open("ab") as log:
            return subprocess.Popen(
                self.machine.argv(*words),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[self.machine.fd],
                env={**os.environ, **self.environment},
                start_new_session=True,
            )

    def start(self) -> None:
        """Start netd and return when it has sent READY=1 to NOTIFY_SOCKET."""
        path = self.root / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            path.unlink(missing_ok=True)
            ready.bind(str(path))
            ready.settimeout(30)
            self.environment["NOTIFY_SOCKET"] = str(path)
            self.process = self.spawn()
            assert ready.recv(100) == b"READY=1", self.log()

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(20)
        self.process = None
        return code

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def stop(self) -> int:
        return self.end(signal.SIGTERM)

    def log(self) -> str:
        return (self.root / "log").read_text()

    def close(self) -> None:
        if self.process is None:
            self.start()
        for sandbox in self.get("/netd/v1/sandboxes"):
            self.remove(sandbox["Id"])
        self.stop()

    # Clients

    def call(self, method: str, path: str, body: object = None) -> tuple[int, object]:
        """Return the status and the decoded body."""
        status, text = self.exchange(method, path, body)
        return status, json.loads(text) if text.startswith(("{", "[")) else text

    def exchange(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """Return the status and the body."""
        connection = http.client.HTTPConnection("netd")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.run / "netd.sock"))
        with connection.sock:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def ask(self, status: int, method: str, path: str, body: object = None) -> object:
        """Send a request, assert its status, and return the decoded body."""
        found, said = self.call(method, path, body)
        assert found == status, f"{method} {path}: {found} {said}\n{self.log()[-2000:]}"
        return said

    def get(self, path: str) -> object:
        return self.ask(200, "GET", path)

    def refusal(self, status: int, method: str, path: str, body: object = None) -> str:
        """Assert a refusal with one sentence or Docker's list of faults, and return the message."""
        words = self.ask(status, method, path, body)["message"]
        assert words and "\n" not in words.replace(":\n", ": ", 1).replace("\n* ", " ")
        return words

    def network(self, name: str, subnet: str | None = None, **fields: object) -> dict:
        """Create a network and return its inspection."""
        if subnet:
            fields["IPAM"] = {"Config": [{"Subnet": subnet}]}
        made = self.ask(201, "POST", "/networks/create", {"Name": name, **fields})
        return self.get(f"/networks/{made['Id']}")

    def networks(self) -> list[str]:
        return [network["Name"] for network in self.get("/networks")]

    def request(self, name: str, networks: object = None, **fields: object) -> dict:
        """Return the body of a sandbox request; *networks* are names, or settings by name."""
        if isinstance(networks, str):
            networks = {networks: {}}
        return {"Id": secrets.token_hex(32), "Name": name, "Networks": networks, **fields}

    def sandbox(self, name: str, networks: object = None, **fields: object) -> Box:
        body = self.request(name, networks, **fields)
        return Box(self, self.ask(201, "POST", "/netd/v1/sandboxes", body))

    def view(self, identifier: str) -> dict:
        return self.get(f"/netd/v1/sandboxes/{identifier}")

    def remove(self, identifier: str) -> None:
        self.ask(204, "DELETE", f"/netd/v1/sandboxes/{identifier}")

    def connect(self, network: str, container: str, **settings: object) -> None:
        body = {"Container": container, "EndpointConfig": settings}
        self.ask(200, "POST", f"/networks/{quote(network)}/connect", body)

    def disconnect(self, network: str, container: str) -> None:
        self.ask(200, "POST", f"/networks/{quote(network)}/disconnect", {"Container": container})

    # The host

    def ruleset(self) -> str:
        """Return the nftables ruleset and the legacy tables of the host."""
        return self.machine.command("nft", "list", "ruleset") + "\n".join(self.machine.legacy())

    def links(self) -> list[str]:
        """Return the host's links without retired ones."""
        names = (link["ifname"] for link in json.loads(self.machine.ip("-j link")))
        return sorted(name for name in names if not name.startswith("ndx"))


class Box:
    """A sandbox, as a runtime uses it."""

    def __init__(self, site: Site, view: dict) -> None:
        self.site = site
        self.view = view
        self.id: str = view["Id"]
        self.node: Node | None = site.lab.host_at(Path(view["Netns"]), view["Name"]) if view["Netns"] else None

    @property
    def settings(self) -> dict:
        return self.site.view(self.id)["NetworkSettings"]

    def address(self, network: str = "bridge") -> str:
        return self.settings["Networks"][network]["IPAddress"]

    def resolve(self, name: str, kind: str = "A") -> list[str] | None:
        """Resolve a name in the container; return None if it does not exist."""
        query = dns.message.make_query(name, kind)
        assert self.node is not None
        answer = self.node.run(lambda: dns.query.udp(query, "127.0.0.11", timeout=5))
        return sorted(str(item) for rrset in answer.answer for item in rrset) if answer.rcode() == 0 else None

    def gateway(self) -> str | None:
        assert self.node is not None
        routes = json.loads(self.node.ip("-j route show default"))
        return routes[0]["gateway"] if routes else None

    def remove(self) -> None:
        self.site.remove(self.id)


BOTH_FIREWALLS = pytest.mark.parametrize("shared", ["nftables", "iptables"], indirect=True)
"""Run a module's firewall tests with both backends."""


@pytest.fixture
def site(request: pytest.FixtureRequest, lab: Lab, tmp_path: Path) -> Iterator[Site]:
    """A site for one test, with the firewall backend of the test's parameter."""
    made = Site(lab, tmp_path, getattr(request, "param", "auto"))
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site shared by a module's tests, with the firewall backend of the module's parameter."""
    laboratory = Lab()
    made = Site(laboratory, tmp_path_factory.mktemp("site"), getattr(request, "param", "auto"))
    made.start()
    yield made
    made.close()
    laboratory.close()


@pytest.fixture
def place(shared: Site) -> Iterator[Site]:
    """The shared site, emptied after the test."""
    yield shared
    for sandbox in shared.get("/netd/v1/sandboxes"):
        shared.remove(sandbox["Id"])
    shared.ask(200, "POST", "/networks/prune")
