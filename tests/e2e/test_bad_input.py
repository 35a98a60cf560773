"""Invalid input: Docker's status, a one-sentence message with the name, and no change."""

import subprocess

import pytest
import requests

from tests.installation import IMAGE, wait_until


def docker_error(call):
    try:
        call()
    except Exception as error:
        response = getattr(error, "response", None)
        if isinstance(response, requests.Response):
            return response.status_code, response.json()["message"]
        raise
    raise AssertionError("it was accepted")


def create(installation, name, **kwargs):
    return installation.docker.api.create_network(name, **kwargs)


def pool(**kwargs):
    return {"Driver": "default", "Config": [kwargs]}


def state(installation):
    api = installation.docker.api
    ports = installation.on_host("nft", "list", "table", "inet", "netd").stdout
    return sorted(n["Name"] for n in api.networks()), sorted(c["Names"][0] for c in api.containers(all=True)), ports


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", " ", "x" * 5000])
def test_bad_network_names(installation, name):
    before = state(installation)
    code, words = docker_error(lambda: create(installation, name))
    assert code == 400 and "\n" not in words and "name" in words
    assert state(installation) == before


@pytest.mark.parametrize(
    ("config", "code", "words"),
    [
        ({"Subnet": "zork"}, 400, "zork"),
        ({"Subnet": "10.91.0.1/24"}, 400, "10.91.0.0/24"),
        ({"Subnet": "10.91.0.0/24", "Gateway": "10.92.0.1"}, 400, "10.92.0.1"),
        ({"Subnet": "10.91.0.0/24", "IPRange": "10.92.0.0/25"}, 400, "10.92.0.0/25"),
        ({"Subnet": "172.17.0.0/24"}, 403, "overlaps"),
        ({"Subnet": "10.91.0.0/24", "Gateway": "10.91.0.0"}, 500, "10.91.0.0"),
    ],
)
def test_bad_subnets(installation, config, code, words):
    before = state(installation)
    found, message = docker_error(lambda: create(installation, "bad", ipam=pool(**config)))
    assert (found, words in message) == (code, True), message
    assert state(installation) == before


def test_networks_that_cannot_be_made_or_removed(installation):
    create(installation, "mine")
    assert docker_error(lambda: create(installation, "mine"))[0] == 409
    status, words = docker_error(lambda: create(installation, "d", driver="brige"))
    assert (status, words) == (
        404,
        'plugin "brige" not found: did you mean bridge? the drivers are bridge, host, macvlan, null',
    )
    for name in ("bridge", "host", "none"):
        assert docker_error(lambda n=name: create(installation, n))[0] == 403
        assert docker_error(lambda n=name: installation.docker.api.remove_network(n))[0] == 403
    code, words = docker_error(lambda: create(installation, "o", options={"com.docker.network.driver.mtu": "many"}))
    assert code == 400 and "many" in words
    code, words = docker_error(lambda: create(installation, "o", options={"com.docker.network.bridge.nosuch": "1"}))
    assert code == 400 and "com.docker.network.bridge.nosuch" in words
    assert docker_error(lambda: installation.docker.api.remove_network("absent")) == (404, "network absent not found")
    installation.docker.containers.run(IMAGE, "sleep 100", detach=True, name="user", network="mine")
    code, words = docker_error(lambda: installation.docker.api.remove_network("mine"))
    assert code == 403 and "user" in words


def test_addresses_and_ports_that_cannot_be_had(installation):
    client = installation.docker
    create(installation, "n", ipam=pool(Subnet="10.91.0.0/24"))

    def run(name, address="", **kwargs):
        config = client.api.create_networking_config(
            {"n": client.api.create_endpoint_config(ipv4_address=address or None)}
        )
        settings = client.api.create_host_config(network_mode="n", **kwargs)
        made = client.api.create_container(
            IMAGE, "sleep 100", name=name, networking_config=config, host_config=settings
        )
        client.api.start(made["Id"])

    run("first", "10.91.0.9", port_bindings={"80/tcp": 8088})
    before = state(installation)[2]
    for address, code in (
        ("10.92.0.1", 400),
        ("10.91.0.9", 403),
        ("10.91.0.1", 403),
        ("10.91.0.0", 403),
        ("10.91.0.255", 403),
        ("zork", 400),
    ):
        found, words = docker_error(lambda a=address: run("second", a))
        assert found == code and (address in words or "in use" in words), words
        remove(client, "second")
    code, words = docker_error(lambda: run("second", port_bindings={"80/tcp": 8088}))
    assert code == 500 and "port is already allocated" in words and "8088" in words and "first" in words
    assert client.containers.get("second").status == "created"
    remove(client, "second")
    for port in (70000, -1):
        assert docker_error(lambda p=port: run("second", port_bindings={"80/tcp": p}))[0] == 400
        remove(client, "second")
    assert state(installation)[2] == before


def remove(client, name):
    try:
        client.api.remove_container(name, force=True)
    except Exception as error:
        assert "No such container" in str(error)


def test_containers_that_cannot_be_made(installation):
    client = installation.docker
    assert docker_error(lambda: client.api.create_container("nosuch", "true"))[0] == 404
    for name in ("a/b", "a b", "", "-x", "a'b"):
        if name:
            assert docker_error(lambda n=name: client.api.create_container(IMAGE, "true", name=n))[0] == 400
    client.api.create_container(IMAGE, "true", name="one")
    code, words = docker_error(lambda: client.api.create_container(IMAGE, "true", name="one"))
    assert code == 409 and '"/one"' in words
    made = client.api.create_container(IMAGE, "true", host_config=client.api.create_host_config(network_mode="absent"))
    assert docker_error(lambda: client.api.start(made["Id"]))[0] == 404
    assert docker_error(lambda: client.api.start("absent")) == (404, "No such container: absent")
    isolation = client.api.create_host_config(isolation="hyperv")
    code, words = docker_error(lambda: client.api.create_container(IMAGE, "true", host_config=isolation))
    assert code == 400 and "hyperv" in words


def test_a_port_that_a_program_of_the_host_uses_is_refused(installation):
    listener = subprocess.Popen(
        [*installation.within, "busybox", "nc", "-ll", "-p", "9099", "-e", "cat"], stdin=subprocess.PIPE
    )
    try:
        wait_until(lambda: ":9099 " in installation.on_host("ss", "-Hltn").stdout)
        code, words = docker_error(
            lambda: installation.docker.containers.run(IMAGE, "sleep 9", detach=True, ports={"80/tcp": 9099})
        )
        assert code == 500 and "9099" in words and "in use" in words
    finally:
        listener.kill()
        listener.wait()
