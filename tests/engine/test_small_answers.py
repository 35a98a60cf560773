"""Answers of single calls that clients of Docker rely on, each found by the comparison with Docker Engine."""

from __future__ import annotations

import json
import time
from urllib.parse import quote

import pytest


def test_top_and_resize_are_events(raw, api, make):
    made = make(Tty=True)
    api.start(made)
    api.top(made)
    api.resize(made, 7, 9)
    filters = quote(json.dumps({"event": ["top", "resize"], "container": [made]}))
    raw.request("GET", f"/events?since=1&until={time.time():.6f}&filters={filters}")
    events = [json.loads(line) for line in raw.getresponse().read().splitlines()]
    assert [event["Action"] for event in events] == ["top", "resize"]
    assert (events[1]["Actor"]["Attributes"]["height"], events[1]["Actor"]["Attributes"]["width"]) == ("7", "9")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("GET", "/events?since=5&until=4", None, 400, "`since` time (5) cannot be after `until` time (4)"),
        ("POST", "/networks/none/connect", {}, 400, 'invalid name or ID supplied: ""'),
        (
            "POST",
            "/containers/prune?filters=" + quote('{"until":["1h","2h"]}'),
            None,
            400,
            "more than one until filter",
        ),
        ("OPTIONS", "/containers/json", None, 200, ""),
        (
            "POST",
            "/containers/create",
            {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"Annotations": {"": "x"}}},
            400,
            "the empty string is not permitted as an annotation key",
        ),
    ],
)
def test_answers_are_dockers(raw, method, path, body, status, words):
    code, _, answer = raw.ask(method, path, body)
    assert code == status and words in str(answer)


def test_a_filter_with_the_value_false_counts(raw, make):
    make()
    assert raw.ask("GET", "/containers/json?all=1&filters=" + quote('{"name":{"nosuch":false}}'))[2] == []
