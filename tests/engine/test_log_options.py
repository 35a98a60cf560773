"""Logging options as in Docker, and the details of lines."""

from __future__ import annotations

import pytest

from netd.common.errors import BadRequest
from runtime.container_config import HostConfig, LogConfig
from runtime.engine.options import log_options


def host(driver="", **options):
    return HostConfig(log_config=LogConfig(driver, {name.replace("_", "-"): text for name, text in options.items()}))


@pytest.mark.parametrize(
    ("made", "limits"),
    [
        (host(), (-1, 1)),
        (host(max_file="3"), (-1, 1)),
        (host("json-file", max_size="1m", max_file="3", compress="true"), (1 << 20, 3)),
        (host("local"), (20 << 20, 5)),
        (host("local", max_size="1m", compress="false", mode="non-blocking", max_buffer_size="4m"), (1 << 20, 5)),
        (host("none", max_size="nonsense"), None),
    ],
)
def test_what_docker_takes_is_taken(made, limits):
    log_options.check(made)
    if limits:
        assert log_options.limits(made) == limits


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (host("syslog"), "no log driver named 'syslog'"),
        (host(foo="1"), "unknown log opt 'foo' for json-file log driver"),
        (host("local", labels="a"), "unknown log opt 'labels' for log driver local"),
        (host(max_file="0"), "max-file cannot be less than 1"),
        (host(max_size="1x"), "max-size"),
        (host(compress="true", max_size="1m"), "compress cannot be true"),
        (host(mode="x"), "logging mode not supported: x"),
        (host(max_buffer_size="1m"), "only supported with 'mode=non-blocking'"),
        (host(labels_regex="["), "error parsing regexp"),
        (host(tag="{{.Bad"), "invalid tag"),
    ],
)
def test_what_docker_refuses_at_start_is_refused_at_create(made, words):
    with pytest.raises(BadRequest, match=words.replace("(", "\\(")):
        log_options.check(made)


def test_details_are_the_labels_and_variables_that_were_chosen(api, make):
    config = {"labels": "a,nosuch", "labels-regex": "^b", "env": "PW", "tag": "t {{.Name}}"}
    made = make(
        "sh",
        "-c",
        "echo one",
        name="detailed",
        Labels={"a": "1 x", "b": "=,", "c": "3"},
        Env=["PW=se cret", "X=1"],
        host={"LogConfig": {"Type": "json-file", "Config": config}},
    )
    api.start(made)
    api.wait(made)
    url = f"{api.base_url}/v1.47/containers/{made}/logs"
    read = api.get(url, params={"stdout": 1, "details": 1})
    assert read.content[8:] == b"PW=se+cret,a=1+x,b=%3D%2C,tag=t+detailed one\n"
    read = api.get(url, params={"stdout": 1, "details": 1, "timestamps": 1})
    assert read.content[8 + 30 :] == b" PW=se+cret,a=1+x,b=%3D%2C,tag=t+detailed one\n"


def test_the_local_driver_keeps_a_log_and_none_keeps_none(api, make, raw):
    made = make("echo", "x", host={"LogConfig": {"Type": "local"}})
    api.start(made)
    api.wait(made)
    assert api.logs(made) == b"x\n" and api.inspect_container(made)["HostConfig"]["LogConfig"]["Type"] == "local"
    other = make("echo", "x", host={"LogConfig": {"Type": "none"}})
    assert raw.ask("GET", f"/v1.47/containers/{other}/logs?stdout=1")[0] == 501


def test_lists_show_annotations_and_find_binds_and_filters_are_checked(api, make, raw, tmp_path):
    made = make(host={"Annotations": {"k": "v"}, "Binds": [f"{tmp_path}:/m"]})
    found = api.containers(all=True, filters={"volume": str(tmp_path)})
    assert [row["Id"] for row in found] == [made] and found[0]["HostConfig"]["Annotations"] == {"k": "v"}
    for key, value in (("health", "foo"), ("is-task", "foo"), ("status", "foo"), ("nosuch", "x")):
        status, _, body = raw.ask("GET", f'/v1.47/containers/json?filters={{"{key}":["{value}"]}}')
        assert status == 400 and key in body["message"]


def test_a_container_without_ipc_has_no_shared_memory(api, make, output, raw):
    code, text = output("sh", "-c", "test -e /dev/shm || echo none", host={"IpcMode": "none"})
    assert (code, text) == (0, "none\n")
    donor = make(name="donor", host={"IpcMode": "none"})
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"IpcMode": f"container:{donor}"}}
    assert raw.ask("POST", "/v1.47/containers/create", body)[0] == 400
