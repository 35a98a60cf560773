"""Prune requests: streamed since API 1.56, their events and filters; and the events of mounted volumes."""

from __future__ import annotations

import json
import time
from urllib.parse import quote

import pytest

from netd.common.filters import Filters
from runtime.build.execute.build_cache import CachedStep
from runtime.build.execute.prune_selection import PruneSelection


def lines(answer):
    return [json.loads(line) for line in answer.splitlines()]


def test_deletions_are_streamed_from_version_1_56_on(raw, api, make):
    first, second = make(labels={"stage": "prune"}), make(labels={"stage": "prune"})
    api.create_volume("pruned")
    network = api.create_network("pruned")["Id"]
    api.tag(api.commit(first)["Id"], "pruned", "1")
    chosen = quote(json.dumps({"label": ["stage=prune"]}))
    code, headers, answer = raw.ask("POST", f"/v1.56/containers/prune?stream=1&filters={chosen}")
    assert (code, headers["Content-Type"]) == (200, "application/jsonl")
    *deleted, last = lines(answer)
    assert {entry["id"] for entry in deleted} == {first, second}
    assert {entry["status"] for entry in deleted} == {"Deleted"}
    assert set(last["aux"]["ContainersDeleted"]) == {first, second}
    everything = quote(json.dumps({"all": ["1"]}))
    assert lines(raw.ask("POST", f"/volumes/prune?stream=true&filters={everything}")[2]) == [
        {"id": "pruned", "status": "Deleted"},
        {"aux": {"VolumesDeleted": ["pruned"], "SpaceReclaimed": 0}},
    ]
    code, headers, answer = raw.ask("POST", "/networks/prune?stream=true")
    assert headers["Content-Type"] == "application/jsonl"
    assert lines(answer) == [{"id": "pruned", "status": "Deleted"}, {"aux": {"NetworksDeleted": ["pruned"]}}]
    assert network not in {entry["Id"] for entry in api.networks()}
    tagged = quote('{"dangling":["false"],"label":["stage=prune"]}')
    *deleted, last = lines(raw.ask("POST", f"/images/prune?stream=1&filters={tagged}")[2])
    assert "pruned:1" in str(deleted) and any(entry.get("Untagged") for entry in last["aux"]["ImagesDeleted"])
    *deleted, last = lines(raw.ask("POST", "/build/prune?stream=1&all=1")[2])
    assert [entry["id"] for entry in deleted] == (last["aux"]["CachesDeleted"] or [])


def test_a_report_stays_one_document_otherwise(raw):
    for path in ("/v1.55/containers/prune?stream=1", "/containers/prune", "/v1.55/networks/prune?stream=1"):
        code, headers, report = raw.ask("POST", path)
        assert code == 200 and headers.get_content_type() == "application/json" and isinstance(report, dict)
    code, headers, _ = raw.ask("POST", "/containers/prune?stream=1&filters=" + quote('{"zork":["1"]}'))
    assert code == 400 and headers.get_content_type() == "application/json"


def test_each_prune_and_each_mount_of_a_volume_is_an_event(raw, api, run):
    begin = time.time()
    made = run("true", host={"Binds": ["data:/data", "/tmp:/host"]})
    api.wait(made)
    api.remove_container(made)
    for kind in ("containers", "volumes", "images", "networks", "build"):
        assert raw.ask("POST", f"/{kind}/prune")[0] == 200
    seen = list(api.events(since=f"{begin:.6f}", until=f"{time.time():.6f}", decode=True))
    pruned = {entry["Type"] for entry in seen if entry["Action"] == "prune"}
    assert pruned >= {"container", "volume", "image", "network", "builder"}
    volume = [(entry["Action"], entry["Actor"]) for entry in seen if entry["Type"] == "volume"][:3]
    assert [action for action, _ in volume] == ["create", "mount", "unmount"]
    assert volume[1][1] == {
        "ID": "data",
        "Attributes": {
            "container": made, "destination": "/data", "driver": "local", "propagation": "", "read/write": "true",
        },
    }  # fmt: skip
    assert volume[2][1]["Attributes"] == {"container": made, "driver": "local"}


def test_an_image_of_another_platform_is_neither_removed_nor_shown(raw):
    for path in ("/images/busybox/history?platform=", "/images/busybox/json?platform="):
        assert raw.ask("GET", path + quote('{"os":"linux","architecture":"s390x"}'))[0] == 404
        assert raw.ask("GET", path + "linux")[0] in (200, 400, 404)
    code, _, answer = raw.ask("DELETE", "/images/busybox?platforms=" + quote('{"os":"linux","architecture":"s390x"}'))
    assert code == 404 and "platform" in answer["message"]
    assert raw.ask("GET", "/images/busybox/json")[0] == 200


def step(key, size, used, layer=""):
    document = {"rootfs": {"type": "layers", "diff_ids": [layer] if layer else []}}
    return CachedStep(key=key, text=json.dumps(document), description=f"RUN {key}", created="", size=size, used_at=used)


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({}, "abc"),
        ({"every": True}, "abcd"),
        ({"kept": 15}, "bc"),
        ({"kept": 1000}, ""),
        ({"filters": Filters({"id": ("a",)})}, "a"),
        ({"filters": Filters({"shared": ("true",)}), "every": True}, "d"),
        ({"filters": Filters({"private": ("1",)})}, "abc"),
        ({"filters": Filters({"inuse": ("true",)})}, ""),
        ({"filters": Filters({"description": ("RUN b",)})}, "b"),
        ({"filters": Filters({"type": ("source.local",)})}, ""),
        ({"unused_since": "1970-01-01T00:00:05.000000000Z"}, "c"),
    ],
)
def test_the_build_cache_is_dropped_by_filter_and_size(fields, dropped):
    """Of a, b and c, each with a layer of its own, a was used last; d is the layer of an image."""
    layers = {key: f"sha256:{key * 64}" for key in "abcd"}
    steps = [step("a", 10, 30, layers["a"]), step("b", 10, 20, layers["b"]), step("d", 99, 10, layers["d"])]
    steps.append(step("c", 10, 1, layers["c"]))
    selection = PruneSelection(**{"filters": Filters(), **fields})
    assert sorted(entry.key for entry in selection.chosen(steps, {layers["d"]})) == list(dropped)
