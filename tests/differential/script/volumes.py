"""Volumes: create, inspect, remove and use."""

from __future__ import annotations

from typing import Any

from tests.differential.recorder import Recorder

_CREATE: dict[str, dict[str, Any]] = {
    "plain": {"Name": "dx-v"},
    "labels": {"Name": "dx-v", "Labels": {"a": "b"}},
    "driver local": {"Name": "dx-v", "Driver": "local"},
    "unknown driver": {"Name": "dx-v", "Driver": "nosuch"},
    "name of one letter": {"Name": "v"},
    "name with a blank": {"Name": "dx- v"},
    "name with a slash": {"Name": "dx-/v"},
    "name with a leading hyphen": {"Name": "-v"},
    "name of 256 letters": {"Name": "dx-" + "v" * 253},
    "option unknown": {"Name": "dx-v", "DriverOpts": {"nosuch": "x"}},
    "option tmpfs": {"Name": "dx-v", "DriverOpts": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}},
    "option bind": {"Name": "dx-v", "DriverOpts": {"type": "none", "device": "/tmp", "o": "bind"}},
    "option device alone": {"Name": "dx-v", "DriverOpts": {"device": "/tmp"}},
    "option type alone": {"Name": "dx-v", "DriverOpts": {"type": "tmpfs"}},
    "labels a list": {"Name": "dx-v", "Labels": []},
    "cluster volume": {"Name": "dx-v", "ClusterVolumeSpec": {}},
}


def volumes(recorder: Recorder) -> None:
    for name, body in _CREATE.items():
        answer = recorder.call(name, "POST", "/volumes/create", body)
        if answer.status == 201:
            recorder.send("DELETE", f"/volumes/{answer.body['Name']}")
    answer = recorder.call("without a name", "POST", "/volumes/create", {})
    recorder.send("DELETE", f"/volumes/{answer.body['Name']}")
    recorder.prepare("POST", "/volumes/create", {"Name": "dx-v", "Labels": {"a": "b"}})
    recorder.call("create again", "POST", "/volumes/create", {"Name": "dx-v"})
    recorder.call(
        "create again with another option", "POST", "/volumes/create", {"Name": "dx-v", "DriverOpts": {"type": "x"}}
    )
    recorder.call("create again with another label", "POST", "/volumes/create", {"Name": "dx-v", "Labels": {"c": "d"}})
    recorder.call("inspect", "GET", "/volumes/dx-v")
    recorder.create("c", HostConfig={"Binds": ["dx-v:/data"]})
    recorder.call("remove in use", "DELETE", "/volumes/dx-v")
    recorder.call("remove in use by force", "DELETE", "/volumes/dx-v?force=1")
    recorder.remove("c")
    recorder.call("update outside a swarm", "PUT", "/volumes/dx-v?version=1", {"Spec": {}})
    recorder.call("remove", "DELETE", "/volumes/dx-v")
    recorder.call("remove again", "DELETE", "/volumes/dx-v")
    recorder.call("remove again by force", "DELETE", "/volumes/dx-v?force=1")
    recorder.call("inspect no volume", "GET", "/volumes/dx-v")
    recorder.call("inspect an invalid name", "GET", "/volumes/-v")
    recorder.through_sdk("sdk create", "create_volume", "dx-sdk", labels={"a": "b"})
    recorder.through_sdk("sdk inspect", "inspect_volume", "dx-sdk")
    recorder.through_sdk("sdk remove", "remove_volume", "dx-sdk")
    recorder.through_sdk("sdk inspect no volume", "inspect_volume", "dx-sdk")
