"""Responses by version of Docker's API: what older clients still get, and what newer ones no longer do."""

from __future__ import annotations

import time

import pytest

from runtime.api import versions

LEGACY = {"IPAddress", "Gateway", "MacAddress", "Bridge", "HairpinMode", "SecondaryIPAddresses", "EndpointID"}


@pytest.mark.parametrize("version", ["1.24", "1.40", "1.44", "1.51"])
def test_older_versions_have_the_address_of_the_default_network_in_network_settings(raw, make, version):
    identifier = make(host={"NetworkMode": "bridge"})
    code, _, shown = raw.ask("GET", f"/v{version}/containers/{identifier}/json")
    assert code == 200 and shown["NetworkSettings"].keys() >= LEGACY and "OnBuild" in shown["Config"]


def test_newer_versions_have_it_in_the_networks_alone(raw, make):
    identifier = make(host={"NetworkMode": "bridge"}, Hostname="box")
    for version in ("1.52", "1.56"):
        _, _, shown = raw.ask("GET", f"/v{version}/containers/{identifier}/json")
        assert shown["NetworkSettings"].keys() == {"SandboxID", "SandboxKey", "Ports", "Networks"}
        assert "OnBuild" not in shown["Config"]
    _, _, shown = raw.ask("GET", f"/v1.44/containers/{identifier}/json")
    assert identifier[:12] in shown["NetworkSettings"]["Networks"]["bridge"]["Aliases"]


def test_several_endpoints_and_the_container_wide_mac_address_by_version(raw):
    endpoints = {"NetworkingConfig": {"EndpointsConfig": {"bridge": {}, "other": {}}}}
    body = {"Image": "busybox", "Cmd": ["true"]}
    code, _, answer = raw.ask("POST", "/v1.43/containers/create", {**body, **endpoints})
    assert code == 400 and answer["message"] == "Container cannot be connected to network endpoints: bridge, other"
    code, _, answer = raw.ask("POST", "/v1.52/containers/create", {**body, "MacAddress": "02:42:ac:11:00:99"})
    assert code == 400 and "MacAddress" in answer["message"]


def test_keys_of_the_create_body_are_case_insensitive(raw, api):
    code, _, answer = raw.ask("POST", "/containers/create", {"image": "busybox", "cmd": ["true"], "hostname": "low"})
    assert code == 201
    assert api.inspect_container(answer["Id"])["Config"]["Hostname"] == "low"


def test_images_by_version(raw):
    old = raw.ask("GET", "/v1.24/images/busybox/json")[2]
    assert old["VirtualSize"] == old["Size"] and old["ContainerConfig"]["Tty"] is False and "Hostname" in old["Config"]
    assert "ContainerConfig" not in raw.ask("GET", "/v1.45/images/busybox/json")[2]
    assert "Hostname" not in raw.ask("GET", "/v1.50/images/busybox/json")[2]["Config"]
    new = raw.ask("GET", "/v1.52/images/busybox/json")[2]
    assert "Entrypoint" not in new["Config"] and "Author" not in new
    assert {row["Containers"] for row in raw.ask("GET", "/v1.50/images/json")[2]} == {-1}


def test_disk_usage_by_version(raw, make):
    make()
    assert raw.ask("GET", "/v1.51/system/df")[2].keys() == {
        "LayersSize", "Images", "Containers", "Volumes", "BuildCache",
    }  # fmt: skip
    both = raw.ask("GET", "/v1.52/system/df")[2]
    assert both.keys() >= {"Images", "ImageUsage", "ContainerUsage", "VolumeUsage", "BuildCacheUsage"}
    brief = raw.ask("GET", "/v1.53/system/df")[2]
    assert brief.keys() == {"ImageUsage", "ContainerUsage", "VolumeUsage", "BuildCacheUsage"}
    assert brief["ContainerUsage"]["TotalCount"] == 1 and brief["ContainerUsage"]["ActiveCount"] == 0
    verbose = raw.ask("GET", "/v1.53/system/df?verbose=1&type=container")[2]
    assert verbose.keys() == {"ContainerUsage"} and len(verbose["ContainerUsage"]["Items"]) == 1


@pytest.mark.parametrize(
    ("version", "accept", "kind", "first"),
    [
        ("1.51", "application/jsonl", "application/json", b"{"),
        ("1.52", "application/x-ndjson", "application/x-ndjson", b"{"),
        ("1.52", "application/json-seq", "application/json-seq", b"\x1e"),
        ("1.53", "text/plain, application/jsonl", "application/jsonl", b"{"),
    ],
)
def test_events_have_the_format_that_the_client_accepts(raw, make, version, accept, kind, first):
    make()
    raw.request("GET", f"/v{version}/events?since=1&until={time.time()}", headers={"Accept": accept})
    response = raw.getresponse()
    data = response.read()
    assert response.headers.get_content_type() == kind and data.startswith(first)
    assert (b'"status"' in data) == (version < "1.52")


def test_info_by_version():
    shape = {"FirewallBackend": {}, "KernelMemoryTCP": True}
    assert versions.info(shape, (1, 48)) == {
        "KernelMemoryTCP": True, "BridgeNfIptables": False, "BridgeNfIp6tables": False,
    }  # fmt: skip
    assert versions.info(shape, (1, 51)) == shape
    assert versions.info(shape, (1, 52)) == {"FirewallBackend": {}}


def test_containers_are_listed_by_annotation(raw, make):
    made = make(host={"Annotations": {"team": "a"}})
    make()
    for wanted in ("team", "team=a"):
        code, _, rows = raw.ask("GET", f'/v1.56/containers/json?all=1&filters={{"annotation":["{wanted}"]}}')
        assert code == 200 and [row["Id"] for row in rows] == [made]
        assert rows[0]["HostConfig"]["Annotations"] == {"team": "a"}
    assert raw.ask("GET", '/containers/json?all=1&filters={"annotation":["team=b"]}')[2] == []
    row = raw.ask("GET", '/v1.45/containers/json?all=1&filters={"annotation":["team"]}')[2][0]
    assert "Annotations" not in row["HostConfig"]


def test_the_umask_of_a_containers_processes_since_version_1_56(raw, api):
    body = {"Image": "busybox", "Cmd": ["sh", "-c", "umask; exec sleep 1000"]}
    body["HostConfig"] = {"NetworkMode": "none", "Umask": 0o077}
    shown = {}
    for version in ("1.55", "1.56"):
        code, _, answer = raw.ask("POST", f"/v{version}/containers/create", body)
        assert code == 201 and raw.ask("POST", f"/containers/{answer['Id']}/start")[0] == 204
        executed = api.exec_create(answer["Id"], ["sh", "-c", "umask"])["Id"]
        shown[version] = (api.exec_start(executed), api.logs(answer["Id"]))
    assert shown == {"1.55": (b"0022\n", b"0022\n"), "1.56": (b"0077\n", b"0077\n")}
    assert api.inspect_container(answer["Id"])["HostConfig"]["Umask"] == 63
    body["HostConfig"]["Umask"] = 512
    code, _, answer = raw.ask("POST", "/containers/create", body)
    assert code == 400 and answer["message"] == "invalid Umask 512: use 0 to 511, in decimal; 18 is 0022 in octal"
