"""Parsing of resolv.conf(5).  Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """The directives of a resolv.conf."""

    servers: tuple[str, ...] = ()
    """The words after ``nameserver``, valid addresses or not."""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    """Lines of other directives, unchanged except for spacing."""


def parse(text: str) -> ResolvConf:
    """Return the directives of *text*: the last ``search`` or ``domain`` applies, ``options`` are combined."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    others: list[str] = []
    for words in filter(None, (line.split() for line in text.splitlines())):
        match words[0]:
            case "nameserver":
                servers += words[1:2]
            case "search" | "domain":
                search = tuple(words[1:])
            case "options":
                options += words[1:]
            case directive if directive[0] not in "#;":
                others.append(" ".join(words))
    return ResolvConf(tuple(servers), search, tuple(options), tuple(others))
