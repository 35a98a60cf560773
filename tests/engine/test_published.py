"""Published ports of containers: stored, shown, filtered, and changed while the container runs."""

import json

import pytest

from tests.engine.test_lifecycle import refused
from tests.installation import needs_host_namespaces


def bound(port="", address=""):
    return {"HostIp": address, "HostPort": port}


def on_bridge(**bindings):
    ports = {f"{key[1:]}/{'tcp' if key[0] == 't' else 'udp'}": value for key, value in bindings.items()}
    return {"host": {"NetworkMode": "bridge", "PortBindings": ports}}


def shown(api, made):
    return api.inspect_container(made)["NetworkSettings"]["Ports"]


def stored(api, made):
    return api.inspect_container(made)["HostConfig"]["PortBindings"]


def test_ports_are_added_and_removed_while_it_runs_and_stay_so_over_every_restart(place, api, run):
    made = run(name="web", **on_bridge(t80=[bound("8080")]))
    started = api.inspect_container(made)["State"]["StartedAt"]
    assert place.netctl("port", "add", "web", "8081:81", "127.0.0.1:5353:53/udp").stdout == (
        "53/udp -> 127.0.0.1:5353\n81/tcp -> 0.0.0.0:8081\n"
    )
    place.netctl("port", "rm", "web", "8080:80")
    now = {"81/tcp": [bound("8081", "0.0.0.0")], "53/udp": [bound("5353", "127.0.0.1")]}
    asked = {"81/tcp": [bound("8081")], "53/udp": [bound("5353", "127.0.0.1")]}
    assert (shown(api, made), stored(api, made)) == (now, asked)
    assert api.inspect_container(made)["State"]["StartedAt"] == started
    place.kill("runtime")
    place.start("runtime")
    assert (shown(api, made), stored(api, made)) == (now, asked)
    api.restart(made, timeout=0)
    assert (shown(api, made), stored(api, made)) == (now, asked)
    assert place.netctl("port", "ls", "web").stdout == place.netctl("port", "web").stdout


def test_a_container_that_does_not_run_is_changed_for_its_next_start(place, api, make):
    made = make(name="web", **on_bridge(t80=[bound("8080")]))
    assert place.netctl("port", "add", "web", "8081:81", "--allow", "192.0.2.0/24").stdout == ""
    place.netctl("port", "rm", "web", "80")
    assert stored(api, made) == {"81/tcp": [{**bound("8081"), "Allow": ["192.0.2.0/24"]}]}
    said = place.netctl("port", "rm", "web", "80", check=False)
    assert said.returncode == 1 and "container web publishes no port 80/tcp" in said.stderr
    api.start(made)
    assert shown(api, made) == {"81/tcp": [{**bound("8081", "0.0.0.0"), "Allow": ["192.0.2.0/24"]}]}
    assert place.netctl("port", "web").stdout == "81/tcp -> 0.0.0.0:8081 for 192.0.2.0/24\n"


def test_one_of_all_exposed_ports_can_go_for_good(place, api, run):
    made = run(
        name="web", ExposedPorts={"80/tcp": {}, "81/tcp": {}}, host={"NetworkMode": "bridge", "PublishAllPorts": True}
    )
    [chosen] = shown(api, made)["80/tcp"]
    place.netctl("port", "rm", "web", f"{chosen['HostPort']}:80")
    for _ in range(2):
        ports = shown(api, made)
        assert ports["80/tcp"] is None and len(ports["81/tcp"]) == 1
        api.restart(made, timeout=0)
    assert (
        stored(api, made) == {"81/tcp": [bound()]} and not api.inspect_container(made)["HostConfig"]["PublishAllPorts"]
    )


def test_an_empty_list_of_bindings_is_filled_in_as_docker_does(api, run):
    made = run(**on_bridge(t80=[]))
    assert stored(api, made) == {"80/tcp": [bound()]} and int(shown(api, made)["80/tcp"][0]["HostPort"]) > 1023


def test_ports_are_found_by_what_is_published_and_exposed(api, run, make):
    run(name="web", ExposedPorts={"7777/tcp": {}}, **on_bridge(t80=[bound("8080")], u53=[bound("5353")]))
    make(name="later", **on_bridge(t80=[bound("9000-9010")]))

    def found(**filters):
        return sorted(container["Names"][0] for container in api.containers(all=True, filters=filters))

    assert found(publish="8080") == found(publish="8000-8100/tcp") == found(publish="5353/udp") == ["/web"]
    assert found(publish="9005") == ["/later"] and found(publish="5353") == found(publish="80") == []
    assert found(expose="7777") == found(expose="53/udp") == ["/web"]
    assert found(expose="80") == found(expose="79-81/tcp") == ["/later", "/web"] and found(expose="8080") == []
    rows = {(row["PrivatePort"], row.get("PublicPort")): row for row in api.containers()[0]["Ports"]}
    assert rows[7777, None] == {"PrivatePort": 7777, "Type": "tcp"}
    assert rows[80, 8080] == {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}


@needs_host_namespaces
def test_what_is_discarded_is_said_when_the_container_is_created(api, make):
    def warnings(**host):
        body = {"Image": "busybox:latest", "Cmd": ["true"], "HostConfig": host}
        return api.create_container_from_config(body, None)["Warnings"]

    six = {"80/tcp": [bound("8080", "::1")]}
    assert warnings(NetworkMode="bridge", PortBindings=six) == [
        "Published ports on ::1 are discarded: no network of the container has IPv6"
    ]
    assert warnings(NetworkMode="bridge", PortBindings={"80/tcp": [bound("8080", "127.0.0.1")]}) == []
    assert warnings(NetworkMode="host", PortBindings=six) == [
        "Published ports are discarded when using host network mode"
    ]


def test_a_long_range_is_shown_port_by_port_and_one_of_it_can_go(place, api):
    made = place.netctl("run", "-d", "-p", "20000-20999:20000-20999/udp", "busybox", "sleep", "1000").stdout.strip()
    place.netctl("port", "rm", made, "20500:20500/udp")
    shown_now, asked = shown(api, made), stored(api, made)
    assert len(asked) == 999 and asked["20000/udp"] == [bound("20000")] and "20500/udp" not in asked
    assert len(api.inspect_container(made)["Config"]["ExposedPorts"]) == 1000
    assert shown_now["20499/udp"] == [bound("20499", "0.0.0.0")] and shown_now["20500/udp"] is None
    api.restart(made, timeout=0)
    assert shown(api, made) == shown_now


@needs_host_namespaces
def test_host_mode_maps_nothing(api, run):
    made = run(host={"NetworkMode": "host", "PortBindings": {"80/tcp": [bound("8080")]}})
    assert shown(api, made) == {}
    code, _ = refused(api._result, api._post(api._url("/netd/v1/containers/{0}/ports", made)))
    assert code == 400


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"Labels": {"netd.allow.8080": "everybody"}}, 'invalid allow "everybody" of label netd.allow.8080'),
        ({"Labels": {"netd.allow.http": "192.0.2.1"}}, "label netd.allow.http cannot be read"),
        ({"host": {"PortBindings": {"80/tcp": [{**bound("1"), "Allow": ["x/8"]}]}}}, 'invalid allow "x/8" of port 80'),
    ],
)
def test_who_may_come_is_judged_when_the_container_is_created(make, fields, words):
    code, said = refused(make, **fields)
    assert code == 400 and words in said


def test_a_label_says_who_may_come_for_clients_that_cannot_say_it_otherwise(place, api, run):
    made = run(Labels={"netd.allow.8080/tcp": "192.0.2.0/24,198.51.100.7"}, **on_bridge(t80=[bound("8080")]))
    allowed = ["192.0.2.0/24", "198.51.100.7/32"]
    assert shown(api, made)["80/tcp"] == [{**bound("8080", "0.0.0.0"), "Allow": allowed}]
    assert json.loads(place.netctl("inspect", made).stdout)[0]["HostConfig"]["PortBindings"] == {
        "80/tcp": [bound("8080")]
    }
