"""Docker's events, and the bus that delivers them to listeners.

The bus keeps the latest events for clients that ask for earlier ones.  A listener that falls behind loses its
subscription; it never blocks the publisher.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager

import msgspec

from netd.common.filters import Filters

_log = logging.getLogger(__name__)
_KEYS = "container daemon event image label network node plugin scope service type volume"
FILTERS = frozenset(_KEYS.split())
_BY_PREFIX = ("container", "daemon", "network", "node", "plugin", "service", "volume")
_KEPT = 256
_QUEUE = 4096


class Actor(msgspec.Struct, frozen=True):
    id: str = msgspec.field(name="ID")
    attributes: dict[str, str] = msgspec.field(name="Attributes")


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    type: str = msgspec.field(name="Type")
    action: str = msgspec.field(name="Action")
    actor: Actor = msgspec.field(name="Actor")
    time_nano: int = msgspec.field(name="timeNano")
    time: int
    scope: str = msgspec.field(default="", name="scope")
    status: str | None = None
    id: str | None = None
    origin: str | None = msgspec.field(default=None, name="from")


def event(type_: str, action: str, identifier: str, attributes: Mapping[str, str]) -> Event:
    """Return an event with the current time."""
    moment = time.time_ns()
    actor = Actor(id=identifier, attributes=dict(attributes))
    return Event(type=type_, action=action, actor=actor, scope="local", time=moment // 10**9, time_nano=moment)


def store_damaged(fault: str) -> Event:
    """Return the event that reports damaged records of a daemon."""
    return event("daemon", "damaged", "", {"reason": fault})


class Lagging(Exception):
    """The listener's queue overflowed; it has missed events."""


class Bus:
    def __init__(self) -> None:
        self.lost = 0
        """Listeners that have lost their subscription."""
        self._past: deque[Event] = deque(maxlen=_KEPT)
        self._listeners: dict[asyncio.Queue[Event | None], Callable[[], None]] = {}

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def publish(self, happened: Event) -> None:
        if _log.isEnabledFor(logging.DEBUG):
            name = happened.actor.attributes.get("name", "")
            _log.debug(
                "event: type=%s action=%s id=%s name=%s", happened.type, happened.action, happened.actor.id[:12], name
            )
        self._past.append(happened)
        for queue in tuple(self._listeners):
            try:
                queue.put_nowait(happened)
            except asyncio.QueueFull:
                self.lost += 1
                on_lag = self._listeners.pop(queue)
                queue.get_nowait()
                queue.put_nowait(None)
                on_lag()

    def past(self, since: float, until: float) -> Iterator[Event]:
        """Yield the kept events from *since* to *until*, both in seconds since the epoch."""
        return (entry for entry in tuple(self._past) if since * 1e9 <= entry.time_nano <= until * 1e9)

    @contextmanager
    def listen(self, on_lag: Callable[[], None] = lambda: None) -> Iterator[AsyncIterator[Event]]:
        """Yield an iterator over the events from now on.

        When the listener's queue overflows, the iterator raises Lagging and *on_lag* is called at once, because the
        listener may be awaiting its client instead of an event.
        """
        queue: asyncio.Queue[Event | None] = asyncio.Queue(_QUEUE)
        self._listeners[queue] = on_lag
        try:
            yield _drain(queue)
        finally:
            self._listeners.pop(queue, None)


async def _drain(queue: asyncio.Queue[Event | None]) -> AsyncIterator[Event]:
    while (found := await queue.get()) is not None:
        yield found
    raise Lagging


def matches(happened: Event, filters: Filters) -> bool:
    """Return whether an event passes the filters of ``GET /events``."""
    attributes = happened.actor.attributes
    return (
        filters.exact("type", happened.type)
        and filters.exact("event", happened.action, happened.action.split(":")[0])
        and filters.exact("scope", happened.scope)
        and filters.labels(attributes)
        and filters.exact("image", *_images(happened))
        and all(filters.prefix(kind, *_names(happened)) for kind in _BY_PREFIX)
    )


def _names(happened: Event) -> tuple[str, ...]:
    """Return id and name, which ``container``, ``network`` and others match by prefix, as in Docker without a type."""
    return happened.actor.id, happened.actor.attributes.get("name", "")


def _images(happened: Event) -> tuple[str, ...]:
    """Return the names of the image of an event, with and without tag."""
    name = happened.actor.attributes.get("name" if happened.type == "image" else "image", "")
    texts = (happened.actor.id, name)
    return (*texts, *(_without_tag(text) for text in texts))


def _without_tag(image: str) -> str:
    repository, colon, tag = image.rpartition(":")
    return repository if colon and "/" not in tag else image
