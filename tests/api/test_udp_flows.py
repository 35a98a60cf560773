"""A UDP client that sends continuously keeps one flow: it follows changes of publishing; other flows are kept."""

from __future__ import annotations

import socket
from contextlib import closing

from tests.api.conftest import OUTSIDE, UPLINK
from tests.lab import PATIENCE, SILENCE, Node

PORT = 5353


class Talker:
    """One UDP socket with one source port, and the replies."""

    def __init__(self, node: Node, address: str, port: int = PORT) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = node.run(lambda: socket.socket(family, socket.SOCK_DGRAM))
        self.to = (address, port)

    def close(self) -> None:
        self.socket.close()

    def hears(self, within: float = SILENCE) -> bool:
        """Send a datagram, and return whether its reply came *within* these seconds."""
        self.socket.settimeout(within)
        self.socket.sendto(b"x", self.to)
        try:
            return bool(self.socket.recv(64))
        except OSError:
            return False

    def hears_after_some(self) -> bool:
        """Return whether a datagram is answered soon: those sent before the flow's old entry is deleted are lost."""
        return any(self.hears() for _ in range(int(PATIENCE / SILENCE)))


def binding():
    return {"53/udp": [{"HostIp": "", "HostPort": str(PORT)}]}


def serve(place, box):
    place.lab.echo(box.node, 53, "udp")
    return box


def test_a_flow_follows_publish_unpublish_and_recreate_and_a_bystanders_lives_on(place):
    beyond = place.lab.make_host("beyond")
    place.lab.wire(place.machine, beyond, "203.0.113.0/24")
    beyond.ip("route add default via 203.0.113.1")
    place.outside.ip("route replace 203.0.113.0/24 via 198.51.100.1")
    place.lab.echo(beyond, PORT, "udp")
    client, passing = Talker(place.outside, UPLINK), Talker(place.outside, "203.0.113.2")
    with closing(client), closing(passing):
        assert passing.hears(PATIENCE) and not client.hears(), (
            "the kernel knows the flow from before anything is published"
        )
        passing_entry = entry(place, "203.0.113.2")
        web = serve(place, place.sandbox("web"))
        changes = f"/netd/v1/sandboxes/{web.id}/ports"
        place.ask(200, "POST", changes, {"PortBindings": binding()})
        assert client.hears(PATIENCE), "the flow's old entry was not deleted before the answer to the request"
        place.ask(200, "DELETE", changes, {"PortBindings": binding()})
        assert not any(client.hears() for _ in range(3)), "an unpublished port still answered"
        place.ask(200, "POST", changes, {"PortBindings": binding()})
        assert client.hears(PATIENCE), "the flow's old entry was not deleted before the answer to the request"
        web.remove()
        assert not client.hears()
        hold = place.sandbox("hold")
        again = serve(place, place.sandbox("web", PortBindings=binding()))
        assert client.hears_after_some() and again.address() != hold.address()
        assert entry(place, "203.0.113.2") == passing_entry and passing.hears(PATIENCE)


def test_a_flow_to_a_server_of_the_hosts_own_moves_to_the_container_and_back(place):
    """The server uses another port; its client's flow must not change."""
    place.lab.echo(place.machine, PORT + 1, "udp")
    client, other = Talker(place.outside, UPLINK), Talker(place.outside, UPLINK, PORT + 1)
    with closing(client), closing(other):
        assert other.hears(PATIENCE) and not client.hears()
        before = entry(place, UPLINK, PORT + 1)
        web = serve(place, place.sandbox("web", PortBindings=binding()))
        assert client.hears_after_some() and entry(place, UPLINK, PORT + 1) == before
        web.remove()
        assert other.hears(PATIENCE) and entry(place, UPLINK, PORT + 1) == before


def entry(place, address: str, port: int = PORT) -> str:
    """Return the id of the conntrack entry of a neighbour's flow."""
    words = ("conntrack", "-L", "-o", "id", "-p", "udp", "-s", OUTSIDE, "-d", address, "--dport", str(port))
    found = place.machine.command(*words).split()
    return next(word for word in found if word.startswith("id="))
