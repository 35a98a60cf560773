"""``port``: what containers publish, and publishing more or less of one that is there."""

from __future__ import annotations

from netd.cli.commands.ps import joined
from netd.cli.errors import Fault, UsageFault
from netd.cli.parse.flags import Command, many
from netd.cli.parse.port_flags import bindings, publish
from netd.cli.session import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session

    Json = dict[str, Any]


def port(session: Session, options: Options) -> int:
    """``port C`` lists all, ``port C 80[/tcp]`` one; asking for one that is not published is an error."""
    name, *wanted = options.args
    found = session.engine.get(f"/containers/{name}/json")
    published = _published(found["NetworkSettings"]["Ports"])
    if not wanted:
        _say_all(published)
        return 0
    key = wanted[0].lower() if "/" in wanted[0] else f"{wanted[0]}/tcp"
    if key not in published:
        raise Fault(f"{name} publishes no port '{key}'; 'netctl port {name}' lists what it does")
    for binding in published[key]:
        say(_place(binding))
    return 0


def add(session: Session, options: Options) -> int:
    """Print where the new ports are; nothing for a container that does not run yet."""
    name, asked = options.args[0], _asked(options)
    found = session.engine.post(f"/netd/v1/containers/{name}/ports", {"PortBindings": asked})
    _say_all({key: many for key, many in _published(found["Ports"]).items() if key in asked})
    return 0


def remove(session: Session, options: Options) -> int:
    path = f"/netd/v1/containers/{options.args[0]}/ports"
    session.engine.call("DELETE", path, body={"PortBindings": _asked(options)}).json()
    return 0


def _asked(options: Options) -> dict[str, list[Json]]:
    """Return what the words after the container's name mean."""
    found = []
    for word in options.args[1:]:
        try:
            found += publish(word, options.many("allow"))
        except ValueError as problem:
            raise UsageFault(f'invalid port "{word}": {problem}') from None
    return bindings(found)


def _published(ports: Json) -> Json:
    return {key: many for key, many in ports.items() if many}


def _say_all(published: Json) -> None:
    for key in sorted(published, key=_order):
        for binding in published[key]:
            say(f"{key} -> {_place(binding)}")


def _place(binding: Json) -> str:
    place = joined(binding["HostIp"], binding["HostPort"])
    allow = ", ".join(binding.get("Allow") or ())
    return f"{place} for {allow}" if allow else place


def _order(key: str) -> tuple[int, str]:
    number, _, protocol = key.partition("/")
    return int(number), protocol


_ALLOW = many("allow", "", "CIDR", "Let only this network come to the ports; may be given several times")

COMMANDS = {
    "port": Command("port CONTAINER [PORT[/PROTOCOL]]", port, least=1, most=2, offers=("port", "none")),
    "port ls": Command("port ls CONTAINER [PORT[/PROTOCOL]]", port, least=1, most=2, offers=("running", "none")),
    "port add": Command(
        "port add CONTAINER [ADDRESS:][HOST:]PORT[/PROTOCOL]... [--allow CIDR]",
        add,
        (_ALLOW,),
        least=2,
        offers=("container", "none"),
    ),
    "port rm": Command(
        "port rm CONTAINER [ADDRESS:][HOST:]PORT[/PROTOCOL]...", remove, least=2, offers=("container", "none")
    ),
}
