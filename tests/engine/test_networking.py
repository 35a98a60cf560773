"""A container's networking through netd: requests, inspection, and messages of refusals."""

import json
from urllib.parse import quote

import pytest
from docker.errors import APIError

from tests.engine.test_lifecycle import read_line, refused
from tests.installation import needs_host_namespaces


@pytest.fixture
def network(api):
    """Create networks; they and their containers are removed after the test."""
    made = []

    def create(name, **kwargs):
        made.append(api.create_network(name, **kwargs)["Id"])
        return made[-1]

    yield create
    for container in api.containers(all=True):
        api.remove_container(container["Id"], force=True)
    for network in made:
        api.remove_network(network)


def settings(api, made):
    return api.inspect_container(made)["NetworkSettings"]


def hosts(api, made):
    return api.exec_start(api.exec_create(made, ["cat", "/etc/hosts"])["Id"]).decode()


def on(*names, **fields):
    """Return the create body's fields for a container on *networks*."""
    endpoints = {name: fields.get(name, {}) for name in names}
    return {"host": {"NetworkMode": names[0]}, "NetworkingConfig": {"EndpointsConfig": endpoints}}


def test_what_netd_answers_is_shown_while_running_and_the_wishes_stay(api, run, network):
    identifier = network("shop")
    made = run(name="web", **on("shop", shop={"Aliases": ["www"], "IPAMConfig": None}))
    entry = settings(api, made)["Networks"]["shop"]
    assert entry["IPAddress"] and entry["NetworkID"] == identifier and entry["Aliases"] == ["www"]
    assert entry["DNSNames"] == ["web", "www", made[:12]] and settings(api, made)["SandboxKey"].endswith(made[:12])
    assert hosts(api, made).endswith(f"{entry['IPAddress']}\t{made[:12]}\n")
    api.stop(made, timeout=0)
    stopped = settings(api, made)
    assert (stopped["SandboxKey"], stopped["Ports"]) == ("", {})
    entry = stopped["Networks"]["shop"]
    assert (entry["IPAddress"], entry["MacAddress"]) == ("", "")
    assert (entry["NetworkID"], entry["Aliases"]) == (identifier, ["www"])
    api.start(made)
    assert settings(api, made)["Networks"]["shop"]["IPAddress"]


def test_connecting_a_running_container_adds_to_its_files_and_disconnecting_takes_away(api, run, network):
    network("one")
    network("two")
    made = run(**on("one"))
    before = hosts(api, made)
    api.connect_container_to_network(made, "two", aliases=["api"])
    shown = settings(api, made)["Networks"]
    assert sorted(shown) == ["one", "two"] and shown["two"]["Aliases"] == ["api"]
    assert hosts(api, made) == before + f"{shown['two']['IPAddress']}\t{made[:12]}\n"
    assert refused(api.connect_container_to_network, made, "two")[0] == 403
    api.restart(made, timeout=0)
    assert sorted(settings(api, made)["Networks"]) == ["one", "two"]
    api.disconnect_container_from_network(made, "two")
    assert list(settings(api, made)["Networks"]) == ["one"] and hosts(api, made) == before
    assert refused(api.disconnect_container_from_network, made, "two")[0] == 500


def test_what_its_owner_wrote_into_a_hosts_file_stays(api, run, network):
    network("one")
    network("two")
    made = run(**on("one"))
    api.exec_start(api.exec_create(made, ["sh", "-c", "echo 10.0.0.1 mine >> /etc/hosts"])["Id"])
    edited = hosts(api, made)
    api.connect_container_to_network(made, "two")
    assert hosts(api, made).startswith(edited) and "mine" in edited


def test_a_stopped_container_keeps_wishes_until_it_starts(api, make, network):
    network("one")
    network("two", ipam={"Driver": "default", "Config": [{"Subnet": "10.98.0.0/24"}]})
    made = make(**on("one"))
    api.connect_container_to_network(made, "two", ipv4_address="10.98.0.77")
    api.connect_container_to_network(made, "two", ipv4_address="10.98.0.78")
    api.disconnect_container_from_network(made, "one")
    assert list(settings(api, made)["Networks"]) == ["two"]
    api.start(made)
    assert settings(api, made)["Networks"]["two"]["IPAddress"] == "10.98.0.77"
    api.stop(made, timeout=0)
    assert refused(api.disconnect_container_from_network, made, "absent")[0] == 500
    api.connect_container_to_network(made, "absent")
    code, words = refused(api.start, made)
    assert code == 404 and words == "failed to set up container networking: network absent not found"
    state = api.inspect_container(made)["State"]
    assert (state["Status"], state["ExitCode"], state["Error"]) == ("exited", 128, words)


@needs_host_namespaces
def test_what_modes_exclude_is_refused(api, run, network):
    network("one")
    alone, shared = run(), run(host={"NetworkMode": "host"})
    for made, name in ((alone, "one"), (shared, "one"), (run(**on("one")), "host"), (run(**on("one")), "none")):
        assert refused(api.connect_container_to_network, made, name)[0] == 400
    assert refused(api.disconnect_container_from_network, shared, "host")[0] == 400
    assert refused(api.connect_container_to_network, "absent", "one") == (404, "No such container: absent")
    guest = run(host={"NetworkMode": f"container:{alone}"})
    assert refused(api.connect_container_to_network, guest, "one")[0] == 400


def test_a_port_that_is_taken_leaves_the_container_created(api, run, make, network):
    ports = {"PortBindings": {"80/tcp": [{"HostPort": "8099"}]}, "NetworkMode": "bridge"}
    run(name="first", host=ports)
    made = make(host=ports)
    code, words = refused(api.start, made)
    assert code == 500 and words.startswith("failed to set up container networking: ") and "8099" in words
    state = api.inspect_container(made)["State"]
    assert (state["Status"], state["ExitCode"]) == ("created", 128)
    assert [row["PublicPort"] for row in api.containers()[0]["Ports"] if row.get("PublicPort")] == [8099]
    assert [c["Names"] for c in api.containers(filters={"publish": "8099"})] == [["/first"]]
    api.remove_container("first", force=True)
    api.start(made)


@needs_host_namespaces
def test_sysctls_of_a_shared_network_are_set_in_it_unless_it_is_the_hosts(api, run, make):
    name = "net.core.somaxconn"
    donor = run(name="tuned")
    sharing = {"NetworkMode": "container:tuned", "Sysctls": {name: "77"}}
    guest = run(host=sharing)
    for container in (donor, guest):
        read = api.exec_create(container, ["cat", "/proc/sys/net/core/somaxconn"])
        assert api.exec_start(read["Id"]) == b"77\n"
    run(name="onhost", host={"NetworkMode": "host"})
    refusal = refused(api.start, make(host={"NetworkMode": "container:onhost", "Sysctls": {name: "78"}}))
    assert refusal == (
        400,
        f"sysctl '{name}' is not allowed in the host's network namespace, which container onhost shares",
    )


def test_a_container_shares_the_network_of_another(api, run, make):
    donor = run(name="donor", Hostname="box", host={"NetworkMode": "bridge"})
    guest = run(host={"NetworkMode": "container:donor"})
    address = settings(api, donor)["Networks"]["bridge"]["IPAddress"]
    seen = api.exec_start(api.exec_create(guest, ["sh", "-c", "ip -o addr; hostname; cat /etc/hosts"])["Id"]).decode()
    assert f"inet {address}/16" in seen and "\nbox\n" in seen and f"{address}\tbox" in seen
    assert settings(api, guest)["Networks"] == {}
    assert api.inspect_container(guest)["HostConfig"]["NetworkMode"] == f"container:{donor}"
    api.stop(donor, timeout=0)
    code, words = refused(api.start, make(host={"NetworkMode": "container:donor"}))
    assert code == 409 and "cannot join network namespace of a non running container" in words
    with pytest.raises(APIError, match="No such container: nobody"):
        make(host={"NetworkMode": "container:nobody"})


def test_names_follow_a_rename(api, run, network):
    network("one")
    made = run(name="old", **on("one"))
    api.rename(made, "new")
    assert settings(api, made)["Networks"]["one"]["DNSNames"][0] == "new"
    other = run(**on("one"))
    asked = api.exec_create(other, ["nslookup", "new", "127.0.0.11"])["Id"]
    assert settings(api, made)["Networks"]["one"]["IPAddress"] in api.exec_start(asked).decode()


def test_the_network_is_free_as_soon_as_the_end_is_told(api, run):
    """After ``wait`` returns, the network can be removed, and port and address are free."""
    for number in range(10):
        name = f"brief{number}"
        api.create_network(name, ipam={"Driver": "default", "Config": [{"Subnet": "10.99.0.0/24"}]})
        fields = on(name, **{name: {"IPAMConfig": {"IPv4Address": "10.99.0.9"}}})
        fields["host"]["PortBindings"] = {"80/tcp": [{"HostPort": "8097"}]}
        first = run("true", **fields)
        api.wait(first)
        second = run("true", **{**on(name), "host": fields["host"]})
        api.wait(second)
        api.start(first)
        api.wait(first)
        api.remove_network(name)


def test_events_of_networks_come_among_ours(raw, api, run, network):
    raw.request("GET", "/events?filters=" + quote(json.dumps({"type": ["network", "container"]})))
    stream = raw.getresponse()
    network("told")
    made = run("true", **on("told"))
    seen = []
    while "container destroy" not in seen:
        event = json.loads(read_line(stream))
        seen.append(f"{event['Type']} {event['Action']}")
        if seen[-1] == "container die":
            api.remove_container(made)
    assert seen.index("network create") < seen.index("container create") < seen.index("network connect")
    assert seen.index("container start") < seen.index("container die") and "network disconnect" in seen


def at(address):
    return on("kept", kept={"IPAMConfig": {"IPv4Address": address}})


def test_an_address_given_by_hand_is_kept_while_the_container_does_not_run(api, make, run, network):
    """Other containers get it neither automatically nor on request until its container is removed."""
    network("kept", ipam={"Config": [{"Subnet": "10.77.0.0/29"}]})
    owner = make(name="owner", **at("10.77.0.2"))
    found = [settings(api, run(**on("kept")))["Networks"]["kept"]["IPAddress"] for _ in range(2)]
    assert found == ["10.77.0.3", "10.77.0.4"]
    thief = make(**at("10.77.0.2"))
    status, words = refused(api.start, thief)
    assert status == 403
    assert "Address already in use: 10.77.0.2 is kept for container owner, which declared it" in words
    api.start(owner)
    assert settings(api, owner)["Networks"]["kept"]["IPAddress"] == "10.77.0.2"
    api.remove_container(owner, force=True)
    api.start(thief)


def test_connecting_and_disconnecting_a_stopped_container_declares_and_gives_up(api, make, network):
    network("kept", ipam={"Config": [{"Subnet": "10.77.0.0/29"}]})
    owner = make(**on("bridge"))
    api.connect_container_to_network(owner, "kept", ipv4_address="10.77.0.2")
    thief = make(**at("10.77.0.2"))
    assert refused(api.start, thief)[0] == 403
    api.disconnect_container_from_network(owner, "kept")
    api.start(thief)
