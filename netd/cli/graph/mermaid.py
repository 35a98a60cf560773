"""The topology as a flowchart of Mermaid (https://mermaid.js.org/syntax/flowchart.html).  Pure."""

from __future__ import annotations

from netd.cli.graph.nodes_and_edges import edges, nodes
from netd.cli.output.columns import escape_control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .,:/_-()[]→")
_BRACKETS = {"outside": ("((", "))"), "host": ("[[", "]]"), "network": ("([", "])"), "container": ("[", "]")}
_ARROWS = {"attached": "---", "way": "-->", "port": "==>", "trust": "-.->"}


def mermaid(topology: dict[str, Any]) -> str:
    lines = ["flowchart LR"]
    for node in nodes(topology):
        opening, closing = _BRACKETS[node.kind]
        lines.append(f"  {node.key}{opening}{quoted(node.lines)}{closing}")
    for edge in edges(topology):
        text = f"|{quoted([edge.text])}|" if edge.text else ""
        lines.append(f"  {edge.source} {_ARROWS[edge.kind]}{text} {edge.target}")
    lines += [f"  style {node.key} stroke-dasharray: 4" for node in nodes(topology) if node.stopped]
    return "\n".join([*lines, ""])


def quoted(lines: Iterable[str]) -> str:
    """Return a quoted string; every character that Mermaid or HTML may interpret is an entity code (``#34;``)."""
    return f'"{"<br/>".join(map(_encoded, lines))}"'


def _encoded(line: str) -> str:
    return "".join(c if c in _PLAIN else f"#{ord(c)};" for c in escape_control(line))
