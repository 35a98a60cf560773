"""The object that was probably meant when a daemon answers that there is none of the given name.

Asks the daemon for the names of its objects, for error messages only.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from netd.cli.session import Session

_MESSAGES = (
    ("container", r"[Nn]o such container: (\S+)"),
    ("network", r"network (\S+) not found"),
    ("volume", r"get (\S+): no such volume"),
    ("image", r"[Nn]o such image: (\S+)"),
    ("any", r"no such object: ([^\s;]+)"),
)


def with_nearest_name(session: Session, message: str) -> str:
    """Return *message*, and the nearest name of an existing object if the message says that there is no such object."""
    import re

    from netd.cli.errors import Fault
    from netd.nearest_names import nearest

    for kind, pattern in _MESSAGES:
        if found := re.search(pattern, message):
            try:
                names = [name for source in SOURCES[kind] for name in source(session)]
            except (Fault, OSError):
                return message
            word = found[1].strip("\"'")
            near = nearest(word, names) or nearest(word.removesuffix(":latest"), names)
            return f"{message}; did you mean {near}?" if near and near != word else message
    return message


def containers(*states: str) -> Callable[[Session], list[str]]:
    """Return the function that lists the names of containers, with *states* only of those in one of them."""

    def names(session: Session) -> list[str]:
        found = session.engine.get("/containers/json", (("all", "1"),))
        return [entry["Names"][0][1:] for entry in found if not states or entry["State"] in states]

    return names


def networks(session: Session) -> list[str]:
    return [network["Name"] for network in session.networks.get("/networks")]


def volumes(session: Session) -> list[str]:
    return [volume["Name"] for volume in session.engine.get("/volumes")["Volumes"] or ()]


def images(session: Session) -> list[str]:
    """Return the tags, without ``:latest``."""
    found: Iterable[Any] = session.engine.get("/images/json")
    return [name.removesuffix(":latest") for image in found for name in image["RepoTags"] or ()]


ALL_CONTAINERS = containers()
SOURCES: dict[str, tuple[Callable[[Session], list[str]], ...]] = {
    "container": (ALL_CONTAINERS,),
    "network": (networks,),
    "volume": (volumes,),
    "image": (images,),
    "any": (ALL_CONTAINERS, images, networks, volumes),
}
"""The functions that list the names of a kind of object."""
