"""The page without a browser: its document and policy, who may ask for it, and its scripts in a JavaScript engine."""

import base64
import hashlib
import json
import re
from functools import cache
from html.parser import HTMLParser

import pytest
import quickjs
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from netd.cli.graph.merge import merged
from netd.server.ui_routes import refusal
from netd.ui import page
from tests import topologies

VOID = {"meta", "link", "input"}


class Document(HTMLParser):
    """Checks that elements are closed in order, and collects what may load or run something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.contents: list[tuple[str, dict, str]] = []
        self._last: dict = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]
        self._last = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("script", "style"):
            self.contents.append((tag, self._last, ""))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style"):
            tag, attributes, text = self.contents.pop()
            self.contents.append((tag, attributes, text + data))


def hashed(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_policy_admits_the_scripts_and_the_style_of_the_document_and_nothing_else():
    document, policy = Document(page.live()), page.headers()["Content-Security-Policy"]
    rules = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    found = {kind: {hashed(text) for tag, _, text in document.contents if tag == kind} for kind in ("script", "style")}
    assert set(rules["script-src"].split()) == found["script"] and len(found["script"]) == len(page.SCRIPTS)
    assert {rules["style-src"]} == found["style"]
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == rules["frame-ancestors"] == "'none'"
    assert rules["connect-src"] == "'self'" and "unsafe" not in policy
    embedded = Document(page.snapshot("{}"))
    metas = [value for tag, name, value in embedded.attributes if (tag, name) == ("meta", "content")]
    assert any("connect-src 'none'" in value and hashed(page.text("main.js")) in value for value in metas)


@pytest.mark.parametrize("document", [page.live(), page.snapshot("{}")])
def test_the_document_loads_nothing_from_elsewhere_and_has_no_handlers_in_attributes(document):
    found = Document(document)
    loading = [value for _, name, value in found.attributes if name in ("src", "href", "action", "data")]
    assert loading == ["data:,"]
    assert not [name for _, name, _ in found.attributes if name.startswith("on") or name == "style"]
    ids = [value for _, name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids)) and not re.search(r"<!-- \w+ -->", document)
    assert document.startswith("<!DOCTYPE html>") and len(document) < 64_000


@pytest.mark.parametrize("name", page.SCRIPTS)
def test_scripts_never_make_markup_or_code_of_texts(name):
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", page.text(name)
    )
    assert len(page.text(name).splitlines()) <= 250


@given(st.text() | st.sampled_from(["</script><script>alert(1)</script>", "<!--<script>", "\u2028", "]]>", "&lt;"]))
def test_texts_in_the_embedded_data_stay_data(name):
    document = Document(page.snapshot(json.dumps({"Name": name, name: 1})))
    data = [text for tag, attributes, text in document.contents if attributes.get("id") == "data"]
    assert len(document.contents) == len(page.SCRIPTS) + 2 and json.loads(data[0]) == {"Name": name, name: 1}
    assert not set(data[0]) & set("<>&\u2028\u2029")


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("127.0.0.1:9752", True),
        ("localhost:8080", True),
        ("LOCALHOST", True),
        ("[::1]:9752", True),
        ("[::1]", True),
        ("127.8.9.1", True),
        ("attacker.example:9752", False),
        ("127.0.0.1.attacker.example", False),
        ("localhost.attacker.example", False),
        ("localhost:80@attacker.example", False),
        ("192.0.2.1:9752", False),
        ("[2001:db8::1]:9752", False),
        ("", False),
    ],
)
def test_only_loopback_names_of_the_host_are_served_over_tcp(host, served):
    """A page of the web whose name resolves to 127.0.0.1 (DNS rebinding) would read the topology otherwise."""
    request = make_mocked_request("GET", "/netd/v1/ui", headers={"Host": host})
    response = refusal(request)
    assert (response is None) == served and (response is None or response.status == 403)


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=30))
def test_other_hosts_are_refused(host):
    refused = refusal(make_mocked_request("GET", "/netd/v1/ui", headers={"Host": host}))
    assert refused is not None or re.fullmatch(r"(localhost|127\.[0-9.]+|\[[0-9:.]*\])(:[0-9]+)?", host, re.IGNORECASE)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/netd/v1/ui", 405),
        ("HEAD", "/netd/v1/topology", 405),
        ("POST", "/networks/create", 405),
        ("GET", "/networks", 404),
        ("GET", "/netd/v1/sandboxes", 404),
        ("GET", "/v1.51/netd/v1/topology", 404),
        ("GET", "/netd/v1/topology/../sandboxes", 404),
        ("GET", "/", 302),
    ],
)
def test_nothing_but_the_page_and_its_data_is_served_over_tcp(method, path, status):
    assert refusal(make_mocked_request(method, path, headers={"Host": "localhost"})).status == status


# The scripts


@cache
def engine(topology: str):
    """Return the global object of an engine in which the pure scripts of the page have run; *model* is the topology."""
    made = quickjs.Context()
    for name in page.SCRIPTS:
        made.eval(page.text(name))
    made.eval(f"const model = Model.index({topology});")
    return made


def run(topology, expression):
    return json.loads(engine(json.dumps(topology)).eval(f"JSON.stringify({expression})"))


SHOP, MANY = merged(topologies.shop(), ()), merged(topologies.many(500), ())


def overlap(a, b):
    return (
        a["x"] < b["x"] + b["width"] - 0.01
        and b["x"] < a["x"] + a["width"] - 0.01
        and a["y"] < b["y"] + b["height"] - 0.01
        and b["y"] < a["y"] + a["height"] - 0.01
    )


@pytest.mark.parametrize("width", [300, 640, 1280, 2560])
@pytest.mark.parametrize(("topology", "count"), [(SHOP, 6), (MANY, 550)])
def test_boxes_and_chips_do_not_overlap_and_stay_in_the_picture(topology, count, width):
    placed = run(topology, f"Layout.place(model, {width}, new Set(), null)")
    chips, boxes = placed["chips"], placed["boxes"]
    assert len(chips) == count and len(boxes) == len(topology["Networks"])
    for group in (boxes, chips):
        ordered = sorted(group, key=lambda item: item["y"])
        for position, item in enumerate(ordered):
            assert item["x"] >= 0 and item["x"] + item["width"] <= width + 0.01
            assert item["y"] + item["height"] <= placed["height"]
            for other in ordered[position + 1 :]:
                if other["y"] >= item["y"] + item["height"]:
                    break
                assert not overlap(item, other)
    by_network = {box["network"]["Id"]: box for box in boxes}
    for chip in chips:
        box = by_network[chip["endpoint"]["Network"]]
        assert box["x"] <= chip["x"] and chip["x"] + chip["width"] <= box["x"] + box["width"]
        assert box["y"] + 60 <= chip["y"] and chip["y"] + chip["height"] <= box["y"] + box["height"]


def test_folded_networks_and_searches_leave_the_others():
    back = next(network for network in SHOP["Networks"] if network["Name"] == "back")
    folded = run(SHOP, f"Layout.place(model, 1000, new Set(['{back['Id']}']), null).chips.length")
    assert folded == 3
    for text, names in (
        ("172.18.0.3", {"web"}),
        ("WWW", {"proxy"}),
        (":8080", {"proxy"}),
        ("back 172.19.0.4", {"db"}),
        ("zork", set()),
    ):
        found = run(SHOP, f"[...Model.matching(model, {text!r})].map((id) => model.containers.get(id).Name)")
        assert set(found) == names
        shown = run(SHOP, f"Layout.place(model, 1000, new Set(), Model.matching(model, {text!r})).chips.length")
        assert shown >= len(names)
    assert run(SHOP, "Model.matching(model, '  ')") is None


@pytest.mark.parametrize(
    ("client", "server", "access", "words"),
    [
        ("web", "db", "all", "on back at 172.19.0.4: containers of one network reach all ports of each other"),
        ("tools", "proxy", "published", "published: 0.0.0.0:8080 → 80/tcp"),
        ("proxy", "web", "all", "on front at 172.18.0.3"),
        ("proxy", "tools", "none", "tools publishes none for it"),
        ("db", "proxy", "none", "the client's network is internal"),
        ("tools", "db", "none", "the server's network is internal"),
    ],
)
def test_the_page_says_why_a_container_reaches_another(client, server, access, words):
    find = "[...model.containers.values()].find((found) => found.Name === {!r})"
    found = run(SHOP, f"Model.reach(model, {find.format(client)}, {find.format(server)})")
    assert found["access"] == access and any(words in line["text"] for line in found["lines"])


@pytest.mark.parametrize(
    ("changed", "reached"),
    [
        ({}, {"tools": "published", "on-host": "published"}),
        ({"Ports": {"Address": "127.0.0.1"}}, {"tools": "none", "on-host": "published"}),
        ({"Egress": {}}, {"tools": "none"}),
        ({"Ports": {"Address": "::"}}, {"tools": "none"}),
        ({"Ports": {"Port": 0}}, {"tools": "published"}),
    ],
)
def test_published_ports_are_reached_from_where_the_table_of_packets_says(changed, reached):
    """As the rows for published ports in tests/matrix/tables.py: at loopback addresses from the host only."""
    topology = json.loads(json.dumps(SHOP))
    names = {container["Name"]: container for container in topology["Containers"]}
    proxy, tools = names["proxy"], names["tools"]
    proxy["Ports"][0] |= changed.get("Ports", {})
    proxy["Egress"] = changed.get("Egress", proxy["Egress"])
    host = next(network for network in topology["Networks"] if network["Name"] == "host")
    endpoint = {**tools["Endpoints"][0], "Network": host["Id"], "Id": "e", "Addresses": []}
    on_host = {"Id": "h", "Name": "on-host", "OnHost": True, "Endpoints": [endpoint], "Egress": {}}
    topology["Containers"].append({**tools, **on_host})
    find = "[...model.containers.values()].find((found) => found.Name === {!r})"
    for client, access in reached.items():
        found = run(topology, f"Model.published({find.format(client)}, {find.format('proxy')}).length")
        assert (found > 0) == (access == "published" and proxy["Ports"][0]["Port"] > 0)
        if client == "tools":
            assert run(topology, f"Model.reach(model, {find.format(client)}, {find.format('proxy')}).access") == access


def test_rates_follow_the_counters():
    script = """(() => {
      const [traffic, before] = [new Map(), { time: 0 }];
      Live.rates(traffic, before, { Time: 10, Traffic: { a: [0, 0, 0, 0, 0, 0], b: [5, 0, 0, 0, 0, 0] } });
      const found = Live.rates(traffic, before, { Time: 12, Traffic: { a: [3000, 2, 0, 1000, 1, 0] } });
      return [...found].map(([key, rate]) => [key, Texts.rate(rate.received), Texts.rate(rate.sent)]);
    })()"""
    assert run(SHOP, script) == [["a", "1.5 kB/s", "500 B/s"], ["b", "0 B/s", "0 B/s"]]


def test_control_characters_and_marks_of_direction_are_not_shown():
    assert run(SHOP, "Texts.plain('a\\u001b[2J\\u202eb\\nc\\u009b')") == "a\ufffd[2J\ufffdb\ufffdc\ufffd"
