"""``inspect``: prints containers, images, networks and volumes as returned by the daemon."""

from __future__ import annotations

from netd.cli.errors import ApiFault, Fault
from netd.cli.parse.flags import Command, switch, text
from netd.cli.session import print_json, print_line, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session
    from netd.cli.transport.http import Client

_PATHS = {
    "container": "/containers/{}/json",
    "image": "/images/{}/json",
    "network": "/networks/{}",
    "volume": "/volumes/{}",
}


def inspect(session: Session, options: Options) -> int:
    kind = options.text("type")
    if kind and kind not in _PATHS:
        raise options.refuse("type", kind, f"use {', '.join(_PATHS)}")
    query = (("size", "1" if options.on("size") else ""),)
    return show(session.engine, options, [kind] if kind else list(_PATHS), query)


def inspect_kind(kind: str, *parameters: str) -> Callable[[Session, Options], int]:
    """Return the function of the verb that inspects objects of *kind* only; it passes the flags *parameters* on."""

    def run(session: Session, options: Options) -> int:
        client = session.networks if kind == "network" else session.engine
        return show(client, options, [kind], [(name, options.text(name)) for name in parameters if options.given(name)])

    return run


def show(client: Client, options: Options, kinds: list[str], query: Iterable[tuple[str, str]] = ()) -> int:
    """Print an array of all objects, and an error for each missing object; the exit code is 1 in that case."""
    objects, code = [], 0
    for name in options.args:
        try:
            objects.append(_find(client, kinds, name, tuple(query)))
        except ApiFault as fault:
            warn(fault.explained())
            code = 1
    if options.text("format", "json") == "json":
        print_json(objects, indent=4)
        return code
    if options.text("format") == "pretty" and kinds == ["network"]:
        from netd.cli.output.network_details import pretty

        print_line("\n".join(map(pretty, objects)).rstrip("\n"))
        return code
    from netd.cli.output.template import render

    for value in objects:
        try:
            print_line(render(options.text("format"), value))
        except ValueError as error:
            raise Fault(str(error)) from None
    return code


def _find(client: Client, kinds: list[str], name: str, query: tuple[tuple[str, str], ...]) -> Any:
    for kind in kinds:
        try:
            return client.get(_PATHS[kind].format(name), query)
        except ApiFault as fault:
            if fault.status != 404 or len(kinds) == 1:
                raise
    raise ApiFault(f"no such object: {name}", 404, client.explain)


FORMAT = text("format", "f", "TEMPLATE", "Format with a template: '{{.Name}}', '{{json .State}}'")

_SIZE = switch("size", "s", "Include the sizes of containers")

COMMANDS = {
    "inspect": Command(
        "inspect [FLAGS] NAME [NAME...]",
        inspect,
        (
            FORMAT,
            _SIZE,
            text(
                "type", "", "KIND", "container, image, network or volume", values="words:container image network volume"
            ),
        ),
        min_args=1,
        completions=("any",),
    ),
    "container inspect": Command(
        "container inspect [FLAGS] CONTAINER [CONTAINER...]",
        inspect_kind("container", "size"),
        (FORMAT, _SIZE),
        min_args=1,
        completions=("container",),
    ),
}
