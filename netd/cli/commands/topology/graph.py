"""``graph``: networks, containers, ports and ways out as a picture."""

from __future__ import annotations

import sys

from netd.cli.errors import Unreachable
from netd.cli.graph.merge import merged, selected
from netd.cli.parse.flags import Command, text
from netd.cli.session import warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session


def graph(session: Session, options: Options) -> int:
    """Print the topology in the format of ``--format``."""
    form = options.text("format", "tree")
    if form not in ("tree", "dot", "mermaid", "json"):
        raise options.refuse("format", form, "use tree, dot, mermaid or json")
    topology = selected(_topology(session), options.args)
    if options.given("html"):
        _write_page(options.text("html"), topology)
    if options.given("format") or not options.given("html"):
        sys.stdout.write(_rendered(form, topology))
    return 0


def _write_page(path: str, topology: dict[str, Any]) -> None:
    """Write the page to a file, or to standard output for ``-``."""
    from json import dumps

    from netd.ui import page

    document = page.snapshot(dumps(topology))
    if path == "-":
        sys.stdout.write(document)
        return
    with open(path, "w", encoding="utf-8") as file:
        file.write(document)


def _topology(session: Session) -> dict[str, Any]:
    found = session.netd.get("/netd/v1/topology")
    try:
        return merged(found, session.engine.get("/containers/json", (("all", "1"),)))
    except Unreachable:
        warn("netd-runtime is not running: images and stopped containers are not shown")
        return merged(found, ())


def _rendered(form: str, topology: dict[str, Any]) -> str:
    if form == "tree":
        from netd.cli.graph.text_tree import tree

        return tree(topology)
    if form == "dot":
        from netd.cli.graph.dot import dot

        return dot(topology)
    if form == "mermaid":
        from netd.cli.graph.mermaid import mermaid

        return mermaid(topology)
    from json import dumps

    return dumps(topology, indent=2) + "\n"


COMMANDS = {
    "graph": Command(
        "graph [FLAGS] [NETWORK...]",
        graph,
        (
            text(
                "format", "f", "FORMAT", "tree, dot (Graphviz), mermaid or json", values="words:tree dot mermaid json"
            ),
            text(
                "html",
                "",
                "FILE",
                "Write the topology as a page that needs no server (-: standard output)",
                values="file",
            ),
        ),
        completions=("network",),
    )
}
