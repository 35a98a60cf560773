"""Filters of lists: known and unknown keys and values, and filters that are not JSON."""

from __future__ import annotations

from typing import Any

from tests.differential.recorder import PREFIX, Recorder, own_names

_CONTAINERS: dict[str, Any] = {
    "all": {},
    "name": {"name": ["dx-a"]},
    "name with a slash": {"name": ["/dx-a"]},
    "name as a pattern": {"name": ["^/dx-[ab]$"]},
    "name invalid pattern": {"name": ["["]},
    "name of nothing": {"name": ["dx-nosuch"]},
    "id of nothing": {"id": ["ffffffffffff"]},
    "label": {"label": ["dx"]},
    "label with a value": {"label": ["dx=1"]},
    "label with another value": {"label": ["dx=2"]},
    "two labels": {"label": ["dx=1", "dy"]},
    "label!": {"label!": ["dx"]},
    "status running": {"status": ["running"]},
    "status exited and created": {"status": ["exited", "created"]},
    "status removing": {"status": ["removing"]},
    "status unknown": {"status": ["nosuch"]},
    "exited 0": {"exited": ["0"]},
    "exited 3": {"exited": ["3"]},
    "exited not a number": {"exited": ["x"]},
    "health none": {"health": ["none"], "name": ["dx-"]},
    "health starting": {"health": ["starting"]},
    "health unknown": {"health": ["nosuch"]},
    "is-task true": {"is-task": ["true"]},
    "is-task false": {"is-task": ["false"], "name": ["dx-"]},
    "is-task unknown": {"is-task": ["nosuch"]},
    "network": {"network": ["dx-net"]},
    "network of nothing": {"network": ["dx-nosuch"]},
    "volume": {"volume": ["dx-vol"]},
    "volume by target": {"volume": ["/data"], "name": ["dx-"]},
    "volume by host path": {"volume": ["/tmp"], "name": ["dx-"]},
    "volume of nothing": {"volume": ["dx-nosuch"]},
    "before": {"before": ["dx-c"], "name": ["dx-"]},
    "since": {"since": ["dx-a"], "name": ["dx-"]},
    "before nothing": {"before": ["dx-nosuch"]},
    "since nothing": {"since": ["dx-nosuch"]},
    "ancestor": {"ancestor": ["differential-busybox"], "name": ["dx-"]},
    "ancestor with a tag": {"ancestor": ["differential-busybox:latest"], "name": ["dx-"]},
    "ancestor of nothing": {"ancestor": ["nosuch"]},
    "publish": {"publish": ["38081"]},
    "publish with a protocol": {"publish": ["38081/tcp"]},
    "publish range": {"publish": ["38080-38090/tcp"]},
    "publish udp": {"publish": ["38081/udp"]},
    "publish invalid": {"publish": ["x"]},
    "expose": {"expose": ["8081"], "name": ["dx-"]},
    "expose with a protocol": {"expose": ["8081/tcp"], "name": ["dx-"]},
    "expose invalid": {"expose": ["x"]},
    "isolation": {"isolation": ["default"], "name": ["dx-"]},
    "unknown key": {"nosuch": ["x"]},
    "as objects": {"name": {"dx-a": True}},
    "object with false": {"name": {"dx-a": False}},
    "value a string": {"name": "dx-a"},
    "value a number": {"exited": [0]},
    "a list": ["name"],
}
_NETWORKS: dict[str, Any] = {
    "name": {"name": ["dx-n1"]},
    "name by a part": {"name": ["dx-n"]},
    "id of nothing": {"id": ["ffff"]},
    "driver bridge": {"driver": ["bridge"], "name": ["dx-"]},
    "driver unknown": {"driver": ["nosuch"]},
    "type custom": {"type": ["custom"], "name": ["dx-"]},
    "type builtin": {"type": ["builtin"]},
    "type unknown": {"type": ["nosuch"]},
    "scope local": {"scope": ["local"], "name": ["dx-"]},
    "scope swarm": {"scope": ["swarm"]},
    "scope unknown": {"scope": ["nosuch"]},
    "label": {"label": ["dx"]},
    "label with a value": {"label": ["dx=2"]},
    "label!": {"label!": ["dx"]},
    "dangling true": {"dangling": ["true"], "name": ["dx-"]},
    "dangling false": {"dangling": ["false"], "name": ["dx-"]},
    "dangling unknown": {"dangling": ["nosuch"]},
    "dangling two values": {"dangling": ["true", "false"]},
    "unknown key": {"nosuch": ["x"]},
    "as objects": {"name": {"dx-n1": True}},
}
_VOLUMES: dict[str, Any] = {
    "name": {"name": ["dx-v1"]},
    "name by a part": {"name": ["dx-v"]},
    "label": {"label": ["dx"]},
    "label with a value": {"label": ["dx=2"]},
    "label!": {"label!": ["dx"]},
    "driver local": {"driver": ["local"], "name": ["dx-"]},
    "driver unknown": {"driver": ["nosuch"]},
    "dangling true": {"dangling": ["true"], "name": ["dx-"]},
    "dangling false": {"dangling": ["false"], "name": ["dx-"]},
    "dangling 1": {"dangling": ["1"], "name": ["dx-"]},
    "dangling unknown": {"dangling": ["nosuch"]},
    "unknown key": {"nosuch": ["x"]},
}
_IMAGES: dict[str, Any] = {
    "reference": {"reference": ["differential-*"]},
    "reference with a tag": {"reference": ["differential-busybox:latest"]},
    "reference of nothing": {"reference": ["nosuch"]},
    "label of nothing": {"label": ["nosuch"]},
    "before nothing": {"before": ["nosuch"]},
    "since nothing": {"since": ["nosuch"]},
    "since itself": {"since": ["differential-busybox"], "reference": ["differential-*"]},
    "dangling unknown": {"dangling": ["nosuch"]},
    "dangling false": {"dangling": ["false"], "reference": ["differential-*"]},
    "until invalid": {"until": ["x"]},
    "until": {"until": ["1s"], "reference": ["nosuch-*"]},
    "unknown key": {"nosuch": ["x"]},
}
_PRUNES: dict[str, tuple[str, dict[str, Any]]] = {
    "containers unknown key": ("/containers/prune", {"nosuch": ["x"]}),
    "containers until invalid": ("/containers/prune", {"until": ["x"]}),
    "containers two untils": ("/containers/prune", {"until": ["1h", "2h"]}),
    "containers label of nothing": ("/containers/prune", {"label": ["dx-nosuch"]}),
    "networks unknown key": ("/networks/prune", {"nosuch": ["x"]}),
    "networks until invalid": ("/networks/prune", {"until": ["x"]}),
    "networks label of nothing": ("/networks/prune", {"label": ["dx-nosuch"]}),
    "volumes unknown key": ("/volumes/prune", {"nosuch": ["x"]}),
    "volumes all invalid": ("/volumes/prune", {"all": ["x"]}),
    "volumes until": ("/volumes/prune", {"until": ["1h"]}),
    "volumes label of nothing": ("/volumes/prune", {"label": ["dx-nosuch"]}),
    "images unknown key": ("/images/prune", {"nosuch": ["x"]}),
    "images dangling invalid": ("/images/prune", {"dangling": ["x"]}),
    "images label of nothing": ("/images/prune", {"label": ["dx-nosuch"]}),
    "builder unknown key": ("/build/prune", {"nosuch": ["x"]}),
}


def containers(recorder: Recorder) -> None:
    recorder.prepare("POST", "/networks/create", {"Name": "dx-net"})
    bindings = {"8081/tcp": [{"HostPort": "38081"}]}
    recorder.create(
        "a", start=True, Labels={"dx": "1", "dy": ""}, HostConfig={"PortBindings": bindings, "NetworkMode": "dx-net"}
    )
    recorder.create(
        "b", Cmd=["sh", "-c", "exit 3"], Labels={"dx": "2"}, start=True, HostConfig={"Binds": ["/tmp:/data"]}
    )
    recorder.send("POST", "/containers/dx-b/wait")
    recorder.create("c", HostConfig={"Binds": ["dx-vol:/data"]}, ExposedPorts={"8081/tcp": {}})
    for name, filters in _CONTAINERS.items():
        show = _own_only if name in ("all", "label!") else own_names
        recorder.call(name, "GET", "/containers/json", query={"all": 1, "filters": filters}, show=show)
    recorder.call("filters not JSON", "GET", "/containers/json?filters=x")
    recorder.call("filters empty", "GET", "/containers/json?filters=", show=_own_only)
    recorder.call("without all", "GET", "/containers/json", show=_own_only)
    recorder.call("all not a boolean", "GET", "/containers/json?all=x", show=_own_only)
    recorder.call("limit not a number", "GET", "/containers/json?limit=x")
    recorder.call("limit 1", "GET", "/containers/json?limit=1", query=None, show=len)
    recorder.remove("a", "b", "c")
    recorder.send("DELETE", "/networks/dx-net")
    recorder.send("DELETE", "/volumes/dx-vol")
    for name, (path, filters) in _PRUNES.items():
        recorder.call(f"prune {name}", "POST", path, query={"filters": filters})


def networks(recorder: Recorder) -> None:
    for number in (1, 2):
        recorder.prepare("POST", "/networks/create", {"Name": f"dx-n{number}", "Labels": {"dx": str(number)}})
    recorder.create("c", start=True, HostConfig={"NetworkMode": "dx-n1"})
    for name, filters in _NETWORKS.items():
        show = _names if name == "type builtin" else own_names
        recorder.call(name, "GET", "/networks", query={"filters": filters}, show=show)
    recorder.remove("c")
    for number in (1, 2):
        recorder.send("DELETE", f"/networks/dx-n{number}")


def volumes(recorder: Recorder) -> None:
    for number in (1, 2):
        recorder.prepare("POST", "/volumes/create", {"Name": f"dx-v{number}", "Labels": {"dx": str(number)}})
    recorder.create("c", HostConfig={"Binds": ["dx-v1:/data"]})
    for name, filters in _VOLUMES.items():
        recorder.call(name, "GET", "/volumes", query={"filters": filters}, show=own_names)
    recorder.remove("c")
    for number in (1, 2):
        recorder.send("DELETE", f"/volumes/dx-v{number}")


def images(recorder: Recorder) -> None:
    for name, filters in _IMAGES.items():
        recorder.call(name, "GET", "/images/json", query={"filters": filters}, show=_tags)


def _own_only(body: Any) -> list[str]:
    return [name for name in own_names(body) if name.startswith(PREFIX)]


def _names(body: Any) -> list[str]:
    return sorted(row["Name"] for row in body)


def _tags(body: Any) -> list[str]:
    return sorted(tag for row in body for tag in row["RepoTags"] or ())
