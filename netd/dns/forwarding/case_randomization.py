"""Letters of a question in random case, which a forged reply would have to guess too (the "0x20" of DNS).

Most servers repeat the question as it came.  One that does not, or that takes the case for part of the name, is asked
as the container wrote it.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable

_CASE = 0x20
NAME = 10
"""Where the name begins in a query without its id."""
_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
PLAIN_TIME = 600.0
"""Seconds for which a server is asked in plain case before mixed case is tried again."""


def mixed(query: bytes, end: int) -> bytes:
    """Return a *query*, here without its id, whose name ends before *end*, with its letters in random case.

    The bytes that give the length of a label are below all letters.
    """
    name = query[NAME:end]
    chance = os.urandom(len(name))
    drawn = (octet ^ (bit & _CASE) if octet in _LETTERS else octet for octet, bit in zip(name, chance, strict=True))
    return query[:NAME] + bytes(drawn) + query[end:]


def folded(query: bytes, end: int) -> bytes:
    """Return a *query*, as in ``mixed``, with the same letters for all who ask the same."""
    return query[:NAME] + query[NAME:end].lower() + query[end:]


def spelled(reply: bytes, query: bytes, end: int) -> bytes:
    """Return a *reply* that repeats the name as *query* has it."""
    return reply[:NAME] + query[NAME:end] + reply[end:]


def restored(reply: bytes, asked: bytes, original: bytes, end: int) -> bytes:
    """Return a *reply* to *asked*, all without ids, with the name as *original* has it; owner names follow."""
    if len(reply) < end:
        return reply
    sent, own, rest = asked[NAME:end], original[NAME:end], reply[end:]
    return reply[:NAME] + own + (rest if sent == own else rest.replace(sent, own))


class Casing:
    """Remembers which servers can be asked in mixed case."""

    def __init__(self) -> None:
        self._proved: set[Hashable] = set()
        self._plain: dict[Hashable, float] = {}
        """→ until when, in monotonic seconds."""

    def may_mix(self, server: Hashable, now: float) -> bool:
        until = self._plain.get(server)
        if until is None:
            return True
        if now < until:
            return False
        del self._plain[server]
        return True

    def is_proved(self, server: Hashable) -> bool:
        """Whether it has given records for a name in mixed case: then what it denies in mixed case does not exist."""
        return server in self._proved

    def prove(self, server: Hashable) -> None:
        self._proved.add(server)

    def give_up(self, server: Hashable, now: float) -> None:
        """Ask in plain case for some time."""
        self._proved.discard(server)
        self._plain[server] = now + PLAIN_TIME

    def forget(self, servers: Iterable[Hashable]) -> None:
        for server in servers:
            self._proved.discard(server)
            self._plain.pop(server, None)
