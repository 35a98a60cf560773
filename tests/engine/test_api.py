"""Conventions of Docker's HTTP API that apply to all calls, and Docker's messages of refusals."""

import json
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from urllib.parse import quote

import pytest

from netd.version import VERSION
from tests.installation import IMAGE

ID = "0" * 64


def test_ping_names_the_daemon(raw):
    status, headers, body = raw.ask("GET", "/_ping")
    assert (status, body, headers["Api-Version"], headers["Ostype"]) == (200, b"OK", "1.56", "linux")
    assert (headers["Builder-Version"], headers["Swarm"]) == ("1", "inactive")
    assert raw.ask("HEAD", "/_ping")[0] == 200


def test_version_and_info_have_what_clients_read(raw, api, run):
    shown = raw.ask("GET", "/version")[2]
    assert (shown["ApiVersion"], shown["MinAPIVersion"], shown["Os"]) == ("1.56", "1.24", "linux")
    assert shown["Components"][0]["Name"] == "Engine" and shown["KernelVersion"]
    run()
    info = api.info()
    assert (info["Containers"], info["ContainersRunning"], info["Driver"], info["OSType"]) == (
        1,
        1,
        "overlay2",
        "linux",
    )
    assert info["NCPU"] > 0 and info["MemTotal"] > 0 and info["Swarm"]["LocalNodeState"] == "inactive"
    assert {"Volume", "Network", "Log"} <= set(info["Plugins"])


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/v1.99/info", 400, "client version 1.99 is too new. Maximum supported API version is 1.56"),
        ("/v1.20/info", 400, "client version 1.20 is too old. Minimum supported API version is 1.24"),
        ("/nosuch", 404, "page not found"),
        ("/containers/x/nosuch", 404, "page not found"),
        ("/containers/x/start", 404, "page not found"),
        ("/plugins/x/json", 404, 'plugin "x" not found'),
    ],
)
def test_paths_that_lead_nowhere(raw, path, status, words):
    code, _, answer = raw.ask("GET", path)
    assert code == status and words in answer["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/plugins/create"), ("POST", "/v1.45/plugins/pull"), ("POST", "/session"), ("POST", "/v1.51/grpc")],
)
def test_calls_that_are_not_there_yet_name_themselves(raw, method, path):
    code, _, answer = raw.ask(method, path)
    assert code == 501 and answer["message"].startswith(f"{method} {path} is not implemented by netd-runtime: ")


def test_swarm_is_refused_in_words(raw):
    for method, path in (
        ("GET", "/services"),
        ("GET", "/nodes/x"),
        ("POST", "/secrets/create"),
        ("GET", "/swarm/unlockkey"),
    ):
        code, _, answer = raw.ask(method, path)
        assert code == 503 and answer["message"].startswith("This node is not a swarm manager")
    assert raw.ask("GET", "/plugins")[2] == []


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("GET", "/containers/absent/json", "No such container: absent"),
        ("GET", "/images/absent/json", "No such image: absent:latest"),
        ("GET", "/images/host:5000/a/b:c/json", "No such image: host:5000/a/b:c"),
        ("GET", "/volumes/absent", "get absent: no such volume"),
        ("GET", "/exec/absent/json", "No such exec instance: absent"),
        ("POST", "/containers/absent/start", "No such container: absent"),
        ("DELETE", "/containers/absent", "No such container: absent"),
        ("POST", "/containers/absent/wait", "No such container: absent"),
    ],
)
def test_what_is_missing_is_told_in_dockers_words(raw, method, path, words):
    code, _, answer = raw.ask(method, path)
    assert (code, answer) == (404, {"message": words})


@pytest.mark.parametrize(
    ("body", "headers", "words"),
    [
        (b"", {}, "config cannot be empty in order to create a container"),
        (b"{", {}, "invalid JSON: "),
        (b"{}{}", {}, "unexpected content after JSON"),
        (b"[" * 100_000, {}, "invalid JSON: "),
        (b'{"Image": 5}', {}, "invalid JSON: Expected `str`, got `int` - at `$.Image`"),
        (b'{"Image":"busybox","Cmd":["true"],"HostConfig":{"Memory":1e999}}', {}, "invalid JSON: "),
        (
            b"{}",
            {"Content-Type": "text/plain"},
            "unsupported Content-Type header (text/plain): must be 'application/json'",
        ),
        (b'{"Image":"Bad Name","Cmd":["x"]}', {}, "invalid reference format"),
    ],
    ids=["empty", "cut", "two", "deep", "type", "infinite", "text", "reference"],
)
def test_bodies_that_cannot_be_read(raw, body, headers, words):
    code, _, answer = raw.ask("POST", "/containers/create", body, headers)
    assert code == 400 and words in answer["message"]


def test_filters_in_both_forms(raw, make):
    made = make(Labels={"a": "b"})
    for form in ({"label": {"a=b": True}}, {"label": ["a=b"]}):
        path = "/containers/json?all=1&filters=" + quote(json.dumps(form))
        assert [container["Id"] for container in raw.ask("GET", path)[2]] == [made]
    assert raw.ask("GET", "/containers/json?filters={")[2] == {"message": "invalid filter"}
    assert raw.ask("GET", "/images/json?filters=" + quote('{"x":["y"]}'))[2] == {"message": "invalid filter 'x'"}


def test_inspect_has_every_field_that_clients_read(raw, api, run):
    made = run("sleep", "9", name="web", ExposedPorts={"80/tcp": {}})
    shown = api.inspect_container(made)
    wanted = (
        "Id Created Path Args State Image Name RestartCount Driver Platform HostConfig GraphDriver Mounts Config"
        " NetworkSettings ExecIDs ResolvConfPath HostnamePath HostsPath LogPath MountLabel ProcessLabel"
    )
    assert set(shown) >= set(wanted.split())
    assert (shown["Path"], shown["Args"], shown["Name"]) == ("sleep", ["9"], "/web")
    assert shown["Config"]["Image"] == IMAGE and shown["Config"]["Hostname"] == made[:12]
    assert shown["Config"]["ExposedPorts"] == {"80/tcp": {}} and shown["Image"].startswith("sha256:")
    assert shown["HostConfig"]["NetworkMode"] == "none" and shown["HostConfig"]["RestartPolicy"]["Name"] == "no"
    (row,) = api.containers()
    wanted = "Id Names Image ImageID Command Created Ports Labels State Status HostConfig NetworkSettings Mounts"
    assert set(row) >= set(wanted.split())
    assert (row["Command"], row["Image"], row["Names"]) == ("sleep 9", IMAGE, ["/web"])
    old = raw.ask("GET", f"/v1.44/containers/{made}/json")[2]["NetworkSettings"]["Networks"]["none"]
    assert made[:12] in old["Aliases"]


def test_disk_usage(raw, make):
    make(host={"Binds": ["vol:/v"]})
    shown = raw.ask("GET", "/v1.51/system/df")[2]
    assert shown["LayersSize"] > 1_000_000 and shown["Volumes"][0]["UsageData"]["RefCount"] == 1
    assert len(shown["Containers"]) == 1 and len(shown["Images"]) == 1


def test_events_of_the_past_are_replayed_and_end_in_time(raw, api):
    api.create_volume("told")
    now = int(time.time()) + 1
    _, _, body = raw.ask("GET", f"/events?since=1&until={now}&filters=" + quote('{"volume":["told"]}'))
    first = body if isinstance(body, dict) else json.loads(body.splitlines()[0])
    assert (first["Type"], first["Action"], first["Actor"]["ID"]) == ("volume", "create", "told")


def daemon(place, *words):
    command = [*place.within, sys.executable, "-m", "runtime", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=20)


def test_the_daemon_says_no_to_a_storage_driver_that_it_does_not_have(place, tmp_path):
    config = tmp_path / "netd.toml"
    config.write_text('storage_driver = "btrfs"\n')
    done = daemon(place, "--config", config, "--state-dir", tmp_path / "s", "--run-dir", tmp_path / "r")
    assert done.returncode == 1 and "btrfs" in done.stderr and "overlay2" in done.stderr


def test_only_one_daemon_runs_on_a_folder(place):
    done = daemon(place, "--state-dir", place.state, "--run-dir", place.run)
    assert done.returncode == 1 and "another netd-runtime runs" in done.stderr
    assert place.docker.ping()


def test_the_version_is_that_of_the_package(raw):

    with (Path(__file__).parents[2] / "pyproject.toml").open("rb") as file:
        assert tomllib.load(file)["project"]["version"] == VERSION == raw.ask("GET", "/version")[2]["Version"]
