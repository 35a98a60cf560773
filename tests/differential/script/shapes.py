"""Shapes of answers: every key of inspect, lists, stats, top, info, version and df, with the kinds of the values."""

from __future__ import annotations

from typing import Any

from tests.differential.recorder import PREFIX, Recorder, changed

_VERSIONS = ("1.24", "1.40", "1.41", "1.43", "1.44", "1.45", "1.46", "1.47", "1.48", "1.49", "1.50")


def shapes(recorder: Recorder) -> None:
    recorder.prepare("POST", "/networks/create", {"Name": "dx-net", "IPAM": {"Config": [{"Subnet": "10.77.0.0/24"}]}})
    recorder.create(
        "s",
        start=True,
        Labels={"a": "b"},
        HostConfig={
            "NetworkMode": "dx-net",
            "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "38082"}]},
        },
        ExposedPorts={"80/tcp": {}, "81/udp": {}},
    )
    recorder.call("running container", "GET", f"/containers/{PREFIX}s/json")
    _gates(recorder)
    recorder.call("row", "GET", "/containers/json", query={"filters": {"name": ["dx-s"]}})
    recorder.call(
        "row with size", "GET", "/containers/json", query={"size": 1, "filters": {"name": ["dx-s"]}}, show=keys
    )
    recorder.call("container with size", "GET", f"/containers/{PREFIX}s/json?size=1", show=keys)
    recorder.call("stats", "GET", f"/containers/{PREFIX}s/stats?stream=0&one-shot=1", show=kinds)
    recorder.call("top", "GET", f"/containers/{PREFIX}s/top", show=lambda body: body["Titles"])
    recorder.call("version", "GET", "/version", show=kinds)
    recorder.call("info", "GET", "/info", show=kinds)
    recorder.call("df", "GET", "/system/df", show=top_keys)
    for kind in ("container", "image", "volume", "build-cache", "nosuch"):
        recorder.call(f"df of {kind}", "GET", f"/system/df?type={kind}", show=top_keys)
    recorder.call("image", "GET", "/images/differential-busybox/json")
    recorder.call("history", "GET", "/images/differential-busybox/history")
    recorder.remove("s")
    recorder.send("DELETE", "/networks/dx-net")


def _gates(recorder: Recorder) -> None:
    """Keep the keys of each answer in the newest version, and for older ones the keys that are added or absent."""
    name = {"filters": {"name": ["dx-s"]}}
    reference = {"filters": {"reference": ["differential-busybox"]}}
    for what, path, query in (
        ("a container", f"/containers/{PREFIX}s/json", None),
        ("a row", "/containers/json", name),
        ("an image", "/images/differential-busybox/json", None),
        ("an image row", "/images/json", reference),
        ("a network", "/networks/dx-net", None),
        ("info", "/info", None),
        ("df", "/system/df", None),
    ):
        show = top_keys if what in ("info", "df") else keys
        newest = show(recorder.send("GET", path, query=query).body)
        recorder.keep(f"keys of {what}", newest)
        for version in _VERSIONS:
            answer = recorder.send("GET", path, query=query, version=version)
            found = show(answer.body) if answer.status == 200 else {}
            recorder.keep(f"keys of {what} in {version}", {"status": answer.status, **changed(newest, found)})


def keys(value: Any, path: str = "") -> dict[str, bool]:
    """Return the paths of all keys, as a dictionary, so that each is compared alone."""
    if isinstance(value, list):
        return {found: True for item in value for found in keys(item, f"{path}[]")}
    if not isinstance(value, dict):
        return {}
    found = {}
    for key, inner in value.items():
        name = f"{path}/{key}" if path else key
        found |= {name: True, **keys(inner, name)}
    return found


def top_keys(body: dict[str, Any]) -> dict[str, bool]:
    return dict.fromkeys(body, True)


def kinds(value: Any) -> Any:
    """Return the value with its leaves replaced by the names of their JSON types."""
    if isinstance(value, dict):
        return {key: kinds(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [kinds(value[0])] if value else []
    return "null" if value is None else {str: "string", bool: "boolean"}.get(type(value), "number")
