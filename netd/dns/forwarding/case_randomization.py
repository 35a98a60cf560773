"""Random case of the letters of a forwarded query, which a forged response must match too ("0x20 encoding").

Most servers copy the question into the response unchanged.  A server that does not, or that compares names case
sensitively, gets queries in the case of the container.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

from netd.dns.forwarding.random_bytes import RANDOM

_CASE = 0x20
NAME = 10
"""Offset of the name in a query without its id."""
_CASE_BITS = bytes(_CASE if chr(octet).isascii() and chr(octet).isalpha() else 0 for octet in range(256))
"""Octet → its bit that differs between capitals and small letters; 0 if the octet is no letter."""
PLAIN_TIME = 600.0
"""Seconds for which a server gets unchanged case before mixed case is tried again."""


def mixed(query: bytes, end: int) -> bytes:
    """Return a *query*, without its id, whose name ends before *end*, with its letters in random case.

    Length bytes of labels have values below all letters and stay unchanged.
    """
    return spellings(query, end)[1]


def spellings(query: bytes, end: int) -> tuple[bytes, bytes]:
    """Return the results of ``folded`` and ``mixed``."""
    head, name, rest = query[:NAME], query[NAME:end], query[end:]
    size = end - NAME
    flips = int.from_bytes(name.translate(_CASE_BITS)) & int.from_bytes(RANDOM.take(size))
    return head + name.lower() + rest, head + (int.from_bytes(name) ^ flips).to_bytes(size) + rest


def folded(query: bytes, end: int) -> bytes:
    """Return a *query*, as in ``mixed``, with its name in lower case."""
    return query[:NAME] + query[NAME:end].lower() + query[end:]


def spelled(reply: bytes, query: bytes, end: int) -> bytes:
    """Return a *reply* with the name in the question section spelled as in *query*."""
    return reply[:NAME] + query[NAME:end] + reply[end:]


def restored(reply: bytes, asked: bytes, original: bytes, end: int) -> bytes:
    """Return a *reply* to *asked*, all without ids, with the name spelled as in *original*, owner names included."""
    if len(reply) < end:
        return reply
    sent, own, rest = asked[NAME:end], original[NAME:end], reply[end:]
    return reply[:NAME] + own + (rest if sent == own else rest.replace(sent, own))


class CaseSupport:
    """Records which servers support mixed case."""

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        """*on_change* is called when ``is_confirmed`` may have changed."""
        self._on_change = on_change
        self._confirmed: set[Hashable] = set()
        self._disabled_until: dict[Hashable, float] = {}
        """Server → monotonic time until which it gets unchanged case."""

    def is_enabled(self, server: Hashable, now: float) -> bool:
        until = self._disabled_until.get(server)
        if until is None:
            return True
        if now < until:
            return False
        del self._disabled_until[server]
        return True

    def is_confirmed(self, server: Hashable) -> bool:
        """Return True if the server has returned records for a mixed-case name, so that its denials are reliable."""
        return server in self._confirmed

    def confirm(self, server: Hashable) -> None:
        if server not in self._confirmed and server not in self._disabled_until:
            self._confirmed.add(server)
            self._on_change()

    def disable(self, server: Hashable, now: float) -> None:
        """Use unchanged case for ``PLAIN_TIME``."""
        self._confirmed.discard(server)
        self._on_change()
        self._disabled_until[server] = now + PLAIN_TIME

    def forget(self, servers: Iterable[Hashable]) -> None:
        self._on_change()
        for server in servers:
            self._confirmed.discard(server)
            self._disabled_until.pop(server, None)
