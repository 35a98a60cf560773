"""Docker's behaviours of containers and their networks, as listed in docs/docker-behaviours.md."""

import json

import pytest

from tests.engine.test_lifecycle import refused
from tests.engine.test_networking import network, on, settings  # noqa: F401 (a fixture)


def addresses(api, made):
    return api.exec_start(api.exec_create(made, ["ip", "-o", "addr"])["Id"]).decode()


@pytest.mark.parametrize("path", ["/networks/create", "/networks/bridge/connect", "/networks/bridge/disconnect"])
def test_bodies_that_are_no_json_are_told_why(raw, path):
    status, _, said = raw.ask("POST", path, "{}", {"Content-Type": "text/plain"})
    assert status == 400
    assert said["message"] == "unsupported Content-Type header (text/plain): must be 'application/json'"
    status, _, said = raw.ask("POST", path, "{} x")
    assert (status, said["message"]) == (400, "unexpected content after JSON")
    status, _, _ = raw.ask("POST", path)
    assert 400 <= status < 500


def test_keys_of_bodies_are_read_whatever_their_case(raw, api, make, network):  # noqa: F811
    network("n")
    made = make(**on("n"))
    body = {"container": made, "endpointconfig": {"aliases": ["www"]}}
    assert raw.ask("POST", "/networks/bridge/disconnect", {"CONTAINER": made})[0] == 500
    assert raw.ask("POST", "/networks/n/disconnect", {"container": made})[0] == 200
    assert raw.ask("POST", "/networks/n/connect", body)[0] == 200
    assert settings(api, made)["Networks"]["n"]["Aliases"] == ["www"]


def test_a_stopped_container_joins_with_its_aliases_when_it_starts(api, make, network):  # noqa: F811
    network("one")
    network("two")
    made = make(name="web", **on("one"))
    api.connect_container_to_network(made, "two", aliases=["www"])
    api.start(made)
    shown = settings(api, made)["Networks"]
    assert shown["one"]["IPAddress"] and shown["two"]["IPAddress"]
    assert shown["two"]["DNSNames"] == ["web", "www", made[:12]]
    assert "eth0" in addresses(api, made) and "eth1" in addresses(api, made)


def test_a_network_that_is_not_there_is_stored_fails_the_start_and_can_be_taken_off(api, make, network):  # noqa: F811
    network("one")
    made = make(**on("one"))
    api.connect_container_to_network(made, "absent")
    assert refused(api.start, made) == (404, "failed to set up container networking: network absent not found")
    api.disconnect_container_from_network(made, "absent")
    api.start(made)
    assert list(settings(api, made)["Networks"]) == ["one"]


def test_a_running_container_is_connected_once(api, run, network):  # noqa: F811
    network("n")
    made = run(name="web", **on("n"))
    before = settings(api, made)
    code, words = refused(api.connect_container_to_network, made, "n")
    assert (code, words) == (403, "endpoint with name web already exists in network n")
    assert settings(api, made) == before


def test_the_last_network_may_be_left_and_joined_again(api, run, network):  # noqa: F811
    network("n")
    made = run(**on("n"))
    api.disconnect_container_from_network(made, "n")
    assert settings(api, made)["Networks"] == {} and settings(api, made)["Ports"] == {}
    assert "eth0" not in addresses(api, made) and api.inspect_container(made)["State"]["Running"]
    api.connect_container_to_network(made, "n")
    assert f"inet {settings(api, made)['Networks']['n']['IPAddress']}" in addresses(api, made)


def test_none_excludes_others_until_it_is_left(api, run):
    made = run(host={"NetworkMode": "none"})
    code, words = refused(api.connect_container_to_network, made, "bridge")
    assert code == 400 and words.endswith("with one of the networks in private (none) mode")
    api.disconnect_container_from_network(made, "none")
    api.connect_container_to_network(made, "bridge")
    assert settings(api, made)["Networks"]["bridge"]["IPAddress"]


def test_a_network_that_only_stopped_containers_have_is_pruned(api, make, network):  # noqa: F811
    made_network = api.create_network("idle")["Id"]
    make(**on("idle"))
    assert "idle" in (api.prune_networks()["NetworksDeleted"] or ())
    assert made_network not in {network["Id"] for network in api.networks()}


def test_a_container_starts_on_whatever_network_has_the_name_that_it_was_given(api, run, network):  # noqa: F811
    """Docker keeps the id of the removed network, and refuses the start until the container is reconnected."""
    api.create_network("n")
    made = run(**on("n"))
    api.stop(made, timeout=0)
    api.remove_network("n")
    assert refused(api.start, made) == (404, "failed to set up container networking: network n not found")
    second = network("n")
    api.start(made)
    assert settings(api, made)["Networks"]["n"]["NetworkID"] == second


def test_a_network_named_by_the_start_of_its_id_is_shown_whole(api, run, network):  # noqa: F811
    identifier = network("n")
    made = run(**on(identifier[:10]))
    assert settings(api, made)["Networks"]["n"]["NetworkID"] == identifier


def test_a_donor_that_stopped_or_went_ends_sharing(api, run, make):
    donor = run(name="donor", host={"NetworkMode": "bridge"})
    guest = make(host={"NetworkMode": "container:donor"})
    api.stop(donor, timeout=0)
    assert refused(api.start, guest)[0] == 409
    api.remove_container(donor)
    code, words = refused(api.start, guest)
    assert code == 500 and "No such container" in words


def test_after_a_forced_removal_nothing_is_left_when_the_call_returns(place, api, run, network):  # noqa: F811
    network("n", ipam={"Driver": "default", "Config": [{"Subnet": "10.97.0.0/24"}]})
    fields = on("n", n={"IPAMConfig": {"IPv4Address": "10.97.0.9"}})
    fields["host"]["PortBindings"] = {"80/tcp": [{"HostPort": "8098"}]}
    asker = run(**on("n"))

    def looked_up():
        asked = api.exec_create(asker, ["nslookup", "-type=a", "web.", "127.0.0.11"])["Id"]
        api.exec_start(asked)
        return api.exec_inspect(asked)["ExitCode"] == 0

    for _ in range(3):
        made = run(name="web", **fields)
        assert looked_up() and "8098" in place.on_host("nft", "list", "ruleset").stdout
        api.remove_container(made, force=True)
        assert not looked_up() and "8098" not in place.on_host("nft", "list", "ruleset").stdout
        links = json.loads(place.on_host("ip", "-j", "link").stdout)
        standing = [link["ifname"] for link in links if link["ifname"].startswith("ndp")]
        assert len(standing) == 1, "the asker's"


def test_host_ports_in_host_mode_are_not_published(api, run):
    made = run(host={"NetworkMode": "host", "PortBindings": {"80/tcp": [{"HostPort": "8096"}]}})
    assert settings(api, made)["Ports"] == {}
