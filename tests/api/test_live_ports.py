"""Publishing and unpublishing of ports of a running container, and the effect on open connections."""

import socket
import threading
from contextlib import contextmanager, suppress

import pytest

from tests.api.conftest import OUTSIDE, UPLINK
from tests.lab import SILENCE, reach, unreachable


def binding(port="", address="", **more):
    return {"HostIp": address, "HostPort": port, **more}


def change(place, method, box, status=200, **bindings):
    """``t80=…`` is 80/tcp, ``u80=…`` 80/udp; the values are host ports or bindings."""
    ports = {}
    for key, value in bindings.items():
        ports[f"{key[1:]}/{'tcp' if key[0] == 't' else 'udp'}"] = [binding(value) if isinstance(value, str) else value]
    path = f"/netd/v1/sandboxes/{box.id}/ports"
    return place.ask(status, method, path, {"PortBindings": ports, "ExposedPorts": []})


def add(place, box, **bindings):
    return change(place, "POST", box, **bindings)["NetworkSettings"]["Ports"]


def remove(place, box, **bindings):
    return change(place, "DELETE", box, **bindings)["NetworkSettings"]["Ports"]


@contextmanager
def repeating(node, port):
    """A server that echoes data until the connection ends."""
    server = node.run(lambda: socket.create_server(("0.0.0.0", port)))
    clients = []

    def serve():
        client, _ = server.accept()
        clients.append(client)
        with client, suppress(ConnectionError):
            while data := client.recv(64):
                client.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with server:
        yield
    for client in clients:  # The firewall drops the packets of the connection without an error.
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def said_back(client, words=b"still there?"):
    client.sendall(words)
    return client.recv(64) == words


def test_a_port_is_added_and_taken_away_and_an_open_connection_to_another_never_notices(place):
    web = place.sandbox("web", PortBindings={"70/tcp": [binding("7070")], "71/tcp": [binding("7071")]})
    place.lab.echo(web.node, 80)
    place.lab.echo(web.node, 71)
    with repeating(web.node, 70):
        with place.outside.run(lambda: socket.create_connection((UPLINK, 7070), 5)) as client:
            assert said_back(client)
            assert add(place, web, t80="8080")["80/tcp"] == [{"HostIp": "0.0.0.0", "HostPort": "8080"}]
            assert reach(place.outside, UPLINK, 8080) == OUTSIDE and said_back(client)
            assert "80/tcp" not in remove(place, web, t80="8080")
            assert unreachable(place.outside, UPLINK, 8080) and said_back(client)
            remove(place, web, t71="7071")
            assert unreachable(place.outside, UPLINK, 7071) and said_back(client), (
                "the port was published in one range with 70"
            )
            assert said_back(client)
    assert unreachable(place.outside, UPLINK, 7071)


def test_the_connections_of_a_port_that_is_taken_away_end(place):
    web = place.sandbox("web", PortBindings={"70/tcp": [binding("7070")]})
    with repeating(web.node, 70):
        with place.outside.run(lambda: socket.create_connection((UPLINK, 7070), 5)) as client:
            assert said_back(client)
            remove(place, web, t70="")
            client.settimeout(3)
            with pytest.raises((ConnectionError, TimeoutError)):
                while said_back(client):
                    pass
        change(place, "POST", web, t70="7070")


def test_what_was_added_outlives_netd_and_its_port_is_held(place):
    web = place.sandbox("web")
    place.lab.echo(web.node, 80)
    add(place, web, t80="8080", t81="")
    before = web.settings["Ports"]
    place.kill()
    place.start()
    assert web.settings["Ports"] == before and reach(place.outside, UPLINK, 8080) == OUTSIDE
    with place.machine.run(socket.socket) as program, pytest.raises(OSError, match="already in use"):
        program.bind(("0.0.0.0", 8080))
    remove(place, web, t80="8080")
    with place.machine.run(socket.socket) as program:
        program.bind(("0.0.0.0", 8080))


def test_a_port_is_cut_out_of_a_long_run_and_given_to_another(place):
    web = place.sandbox("web", PortBindings={"9000-9199/udp": [binding("9000-9199")]})
    for port in (9099, 9100, 9101):
        place.lab.echo(web.node, port, "udp")
    left = remove(place, web, u9100="9100")
    assert "9100/udp" not in left and len(left) == 199
    assert reach(place.outside, UPLINK, 9099, "udp") and reach(place.outside, UPLINK, 9101, "udp")
    assert reach(place.outside, UPLINK, 9100, "udp", SILENCE) is None
    other = place.sandbox("other", PortBindings={"53/udp": [binding("9100")]})
    place.lab.echo(other.node, 53, "udp")
    assert reach(place.outside, UPLINK, 9100, "udp")


def test_what_cannot_be_changed_is_refused_and_changes_nothing(place):
    web = place.sandbox("web", PortBindings={"80/tcp": [binding("8080")]})
    place.sandbox("other", PortBindings={"80/tcp": [binding("8081")]})
    path = f"/netd/v1/sandboxes/{web.id}/ports"
    before = web.settings["Ports"], place.ruleset()
    for method, status, ports, words in (
        ("POST", 500, {"81/tcp": [binding("8081")]}, "port is already allocated to container other"),
        ("POST", 400, {"81/tcp": [binding("8082", "::1")]}, "none of its networks publishes IPv6 ports"),
        ("POST", 400, {"81/tcp": [binding("8082", Allow=["zork"])]}, 'invalid allow "zork" of port 81/tcp'),
        ("POST", 400, {}, "no port is specified"),
        ("DELETE", 404, {"81/tcp": [binding()]}, "container web publishes no port 81/tcp"),
        ("DELETE", 404, {"80/tcp": [binding("8083")]}, "publishes no port 80/tcp at port 8083 of the host"),
    ):
        assert words in place.refusal(status, method, path, {"PortBindings": ports})
    assert (web.settings["Ports"], place.ruleset()) == before
    on_host = place.sandbox("here", "host")
    said = place.refusal(
        400, "POST", f"/netd/v1/sandboxes/{on_host.id}/ports", {"PortBindings": {"80": [binding("1")]}}
    )
    assert "container here shares the host's network" in said


def test_only_those_who_may_come_get_there(place):
    """The neighbour is allowed, then others are, then the neighbour again, by the published port."""
    web = place.sandbox("web")
    place.lab.echo(web.node, 80)
    add(place, web, t80=binding("8080", Allow=[f"{OUTSIDE}/32"]))
    assert reach(place.outside, UPLINK, 8080) == OUTSIDE
    remove(place, web, t80="8080")
    add(place, web, t80=binding("8080", Allow=["203.0.113.0/24"]))
    assert unreachable(place.outside, UPLINK, 8080)
