"""The topology in Graphviz's language (https://graphviz.org/doc/info/lang.html).  Pure."""

from __future__ import annotations

from netd.cli.graph.nodes_and_edges import edges, nodes
from netd.cli.output.columns import escape_control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_SHAPES = {
    "outside": "shape=plain",
    "host": "shape=box3d",
    "network": 'shape=box style="rounded,filled" fillcolor="#dbeafe"',
    "container": "shape=box",
}
_STYLES = {
    "attached": "dir=none",
    "way": 'color="#1d4ed8"',
    "port": 'color="#15803d"',
    "trust": 'style=dashed color="#b45309"',
}


def dot(topology: dict[str, Any]) -> str:
    lines = ["digraph netd {", "  rankdir=LR", '  node [fontname="sans-serif"]', '  edge [fontname="sans-serif"]']
    for node in nodes(topology):
        stopped = " style=dotted" if node.stopped else ""
        lines.append(f"  {node.key} [label={quoted(node.lines)} {_SHAPES[node.kind]}{stopped}]")
    for edge in edges(topology):
        lines.append(f"  {edge.source} -> {edge.target} [label={quoted([edge.text])} {_STYLES[edge.kind]}]")
    return "\n".join([*lines, "}", ""])


def quoted(lines: Iterable[str]) -> str:
    """Return a quoted string of these lines; backslashes would otherwise begin escapes of labels (``\\N``, ``\\G``)."""
    escaped = (escape_control(line).replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'
