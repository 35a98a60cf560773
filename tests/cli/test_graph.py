"""Pictures of the topology: what they show, and texts of users that must stay texts in every format."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.cli.errors import Fault
from netd.cli.graph.dot import dot
from netd.cli.graph.merge import merged, selected
from netd.cli.graph.mermaid import mermaid
from netd.cli.graph.text_tree import tree
from tests import topologies

HOSTILE = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            'x"]; rm [label="y',
            "\\",
            '\\"',
            "\\N",
            "</script><script>alert(1)</script>",
            "\x1b]0;title\x07\x1b[2J",
            "a\nb\r\nc",
            "\u202egnp.exe",
            "\x9b31m",
            '"] --> x["',
            "#quot;",
            "%%{init: {}}%%",
            "end",
            "\u2028",
        ]
    ),
)


def shown(topology):
    return merged(topology, ())


def test_the_tree_shows_networks_containers_ports_and_ways_out():
    text = tree(shown(topologies.shop()))
    assert text.startswith("box (default route by eth0)\n")
    for line in (
        "├─ front  bridge  172.18.0.0/24 gateway 172.18.0.1  nd-",
        "│  │  out: masquerade by eth0\n",
        "│  │  in: published ports; inside: all ports\n",
        "│  ├─ proxy  172.18.0.2/24  aliases: www\n│  │     0.0.0.0:8080 → 80/tcp\n",
        "│  └─ web  172.18.0.3/24  also on: back\n",
        "└─ back  bridge, internal  172.19.0.0/24",
        "   │  out: none\n",
        "  back → bridge, front: nothing (the client's network is internal: its packets are not forwarded)\n",
    ):
        assert line in text, f"{line}\n{text}"


def test_stopped_containers_and_states_come_from_the_runtime():
    topology = topologies.shop()
    running = topology["Containers"][0]
    back = {"NetworkSettings": {"Networks": {"back": {"Aliases": ["b"]}, "gone": {}}}, "Labels": None}
    mode = {"HostConfig": {"NetworkMode": f"container:{running['Id']}"}}
    listed = [
        {"Id": running["Id"], "Names": ["/proxy"], "State": "paused", "Image": "nginx"},
        {"Id": "e" * 64, "Names": ["/old"], "State": "exited", "Image": "x", **back},
        {"Id": "f" * 64, "Names": ["/side"], "State": "running", **mode},
    ]
    text = tree(merged(topology, listed))
    assert "proxy  paused  172.18.0.2/24" in text and "old  exited  aliases: b\n" in text
    assert "shared by side (running)" in text
    assert "─ db  " in text and "db  running" not in text, "netd-runtime does not list it"


def test_networks_are_selected_by_name_or_id():
    topology = shown(topologies.shop())
    back = next(network for network in topology["Networks"] if network["Name"] == "back")
    for term in ("back", back["Id"][:10]):
        found = selected(topology, [term])
        assert [container["Name"] for container in found["Containers"]] == ["cache", "db", "web"]
        assert [network["Name"] for network in found["Networks"]] == ["back"] and "also on: " in tree(found)
    with pytest.raises(Fault, match="network zork not found; netctl network ls lists the networks"):
        selected(topology, ["zork"])


def test_the_verb_prints_each_format_and_works_without_the_runtime(peer, netctl, run_dir):
    peer.on("GET", "/containers/json", [])
    (run_dir / "netd.sock").symlink_to(run_dir / "docker.sock")
    peer.on("GET", "/netd/v1/topology", topologies.shop())
    assert "proxy" in netctl("graph").out
    assert netctl("graph", "--format", "dot").out.startswith("digraph netd {")
    assert netctl("graph", "-f", "mermaid", "back").out.startswith("flowchart LR\n")
    assert len(json.loads(netctl("graph", "--format", "json").out)["Containers"]) == 5
    assert "use tree, dot, mermaid or json" in netctl("graph", "--format", "png").err


_STRING = r'"(?:[^"\\\n]|\\.)*"'
_DOT_LINE = re.compile(
    rf"  (?:\w+(?: -> \w+)? \[label={_STRING}(?: \w+=(?:\w+|{_STRING}))*\]"
    rf"|rankdir=LR|node \[fontname={_STRING}\]|edge \[fontname={_STRING}\])"
)


@given(HOSTILE)
def test_dot_keeps_texts_in_strings(name):
    first, *lines, last, end = dot(shown(topologies.hostile(name))).split("\n")
    assert (first, last, end) == ("digraph netd {", "}", "")
    assert [line for line in lines if not _DOT_LINE.fullmatch(line)] == []
    # \n joins lines; other escapes of labels (\N, \G, \L) would be replaced by Graphviz.
    strings = re.findall(_STRING, "\n".join(lines))
    assert not [text for text in strings if re.search(r'\\[^n"\\]', re.sub(r"\\\\", "", text))]


_LABEL = r'"(?:[A-Za-z0-9 .,:/_()\[\]→-]|#\d+;|<br/>)*"'
_MERMAID_LINE = re.compile(
    rf"  (?:\w+(?:\(\(|\[\[|\(\[|\[){_LABEL}(?:\)\)|\]\]|\]\)|\])|\w+ (?:---|-->|==>|-\.->)(?:\|{_LABEL}\|)? \w+"
    r"|style \w+ stroke-dasharray: 4)"
)


@given(HOSTILE)
def test_mermaid_keeps_texts_in_labels(name):
    first, *lines, end = mermaid(shown(topologies.hostile(name))).split("\n")
    assert (first, end) == ("flowchart LR", "")
    assert [line for line in lines if not _MERMAID_LINE.fullmatch(line)] == []


@given(HOSTILE)
def test_the_tree_sends_no_control_characters_to_a_terminal(name):
    text = tree(shown(topologies.hostile(name)))
    assert all(line.isprintable() for line in text.split("\n"))
    assert len(text.split("\n")) == len(tree(shown(topologies.hostile("x"))).split("\n"))
