"""Events: what each verb publishes, since and until, filters."""

from __future__ import annotations

import time
from typing import Any

from tests.differential.recorder import PREFIX, Recorder

_FILTERS: dict[str, dict[str, Any]] = {
    "type container": {"type": ["container"]},
    "type network": {"type": ["network"]},
    "type volume": {"type": ["volume"]},
    "type unknown": {"type": ["nosuch"]},
    "event start": {"event": ["start"]},
    "event start and die": {"event": ["start", "die"]},
    "event unknown": {"event": ["nosuch"]},
    "event exec_create": {"event": ["exec_create"]},
    "container by name": {"container": ["dx-e"]},
    "container by a part": {"container": ["dx-"]},
    "container unknown": {"container": ["dx-nosuch"]},
    "image": {"image": ["differential-busybox"]},
    "image with a tag": {"image": ["differential-busybox:latest"]},
    "network by name": {"network": ["dx-net"]},
    "network by a part": {"network": ["dx-"]},
    "volume by name": {"volume": ["dx-vol"]},
    "label": {"label": ["dx"]},
    "label with a value": {"label": ["dx=1"]},
    "scope local": {"scope": ["local"]},
    "scope swarm": {"scope": ["swarm"]},
    "daemon": {"daemon": ["nosuch"]},
    "unknown key": {"nosuch": ["x"]},
}


def events(recorder: Recorder) -> None:
    since = f"{time.time():.6f}"
    recorder.prepare("POST", "/networks/create", {"Name": "dx-net", "Labels": {"dx": "1"}})
    recorder.prepare("POST", "/volumes/create", {"Name": "dx-vol"})
    recorder.create(
        "e", start=True, Labels={"dx": "1"}, HostConfig={"NetworkMode": "dx-net", "Binds": ["dx-vol:/data"]}
    )
    exec_id = recorder.send("POST", "/containers/dx-e/exec", {"Cmd": ["true"]}).body["Id"]
    recorder.send("POST", f"/exec/{exec_id}/start", {"Detach": False})
    while recorder.send("GET", f"/exec/{exec_id}/json").body["Running"]:
        time.sleep(0.01)  # its end is not known yet, although its output has ended
    for verb in (
        "pause",
        "unpause",
        "rename?name=dx-e2",
    ):
        recorder.send("POST", f"/containers/dx-e/{verb}")
    recorder.send("POST", "/containers/dx-e2/rename?name=dx-e")
    recorder.send("GET", "/containers/dx-e/top")
    recorder.send("POST", "/containers/dx-e/resize?h=1&w=1")
    recorder.send("POST", "/networks/bridge/connect", {"Container": "dx-e"})
    recorder.send("POST", "/networks/bridge/disconnect", {"Container": "dx-e"})
    recorder.send("POST", "/containers/dx-e/kill?signal=USR1")
    recorder.send("POST", "/containers/dx-e/restart?t=0")
    recorder.send("POST", "/containers/dx-e/stop?t=0")
    recorder.remove("e")
    recorder.send("DELETE", "/networks/dx-net")
    recorder.send("DELETE", "/volumes/dx-vol")
    until = f"{time.time():.6f}"
    recorder.call("all", "GET", "/events", query={"since": since, "until": until}, show=_own)
    recorder.call(
        "a start in full",
        "GET",
        "/events",
        query={"since": since, "until": until, "filters": {"event": ["start"], "container": ["dx-e"]}},
    )
    for name, filters in _FILTERS.items():
        recorder.call(name, "GET", "/events", query={"since": since, "until": until, "filters": filters}, show=_own)
    recorder.call(
        "until alone",
        "GET",
        "/events",
        query={"until": until, "filters": {"container": ["dx-e"], "event": ["start"]}},
        show=bool,
    )
    recorder.call("since after until", "GET", "/events", query={"since": until, "until": since})
    recorder.call("since invalid", "GET", "/events?since=x&until=1")
    recorder.call("until invalid", "GET", "/events?until=x")
    recorder.call("filters not JSON", "GET", "/events?until=1&filters=x")


def _own(rows: Any) -> list[str]:
    """Return ``type action name attributes`` of the events of this script, with lists of one type in their order."""
    found = []
    for row in rows if isinstance(rows, list) else [rows] if rows else []:
        attributes = row["Actor"]["Attributes"]
        name = attributes.get("name") or row["Actor"]["ID"]
        if name.startswith(PREFIX) or attributes.get("container"):
            found.append(f"{row['Type']} {row['Action']} {name} {','.join(sorted(attributes))}")
    return found
