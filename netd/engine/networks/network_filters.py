"""Which networks a filter means.  Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from netd.common.digits import unsigned
from netd.common.errors import BadRequest, ServerError
from netd.common.filters import Filters
from netd.engine.state.state import State
from netd.model import Network

LIST_FILTERS = frozenset(("dangling", "driver", "id", "label", "name", "scope", "type"))
PRUNE_FILTERS = frozenset(("label", "label!", "until"))
_TYPES = ("builtin", "custom")
_SPAN = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?\Z", re.ASCII)


def listed(state: State, filters: Filters) -> list[Network]:
    """Return the networks that ``GET /networks`` is asked for."""
    for wanted in filters.get("type"):
        if wanted not in _TYPES:
            raise ServerError(f"invalid filter: 'type'='{wanted}'")
    dangling = filters.flag("dangling")
    return [network for network in state.networks if _passes(state, network, filters, dangling)]


def prunable(state: State, filters: Filters) -> list[Network]:
    """Return the networks that nobody is on and that the filters of prune mean."""
    limits = [_moment(text) for text in filters.get("until")]
    return [
        network
        for network in state.networks
        if not network.predefined
        and network.template is None
        and not state.members(network.id)
        and filters.labels(network.labels)
        and not any(_has(network.labels, text) for text in filters.get("label!"))
        and all(network.created < limit for limit in limits)
    ]


def _passes(state: State, network: Network, filters: Filters, dangling: bool | None) -> bool:
    unused = not network.predefined and not state.members(network.id)
    return (
        filters.matches("name", network.name)
        and filters.matches("id", network.id)
        and filters.exact("driver", network.driver)
        and filters.exact("scope", "local")
        and filters.exact("type", "builtin" if network.predefined else "custom")
        and filters.labels(network.labels)
        and dangling in (None, unused)
    )


def _has(labels: Mapping[str, str], text: str) -> bool:
    key, equals, value = text.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _moment(text: str) -> str:
    """Return the time, as records have it, of a time, of seconds since 1970 or of a span before now (``1h30m``)."""
    try:
        if (seconds := unsigned(text)) is not None:
            moment = datetime.fromtimestamp(seconds, UTC)
        elif text and (span := _SPAN.match(text)):
            hours, minutes, rest = (int(part or 0) for part in span.groups())
            moment = datetime.now(UTC) - timedelta(hours=hours, minutes=minutes, seconds=rest)
        else:
            moment = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRequest(
            f"failed to parse value as time or duration: {text!r}; write it like 10m or 2026-01-31"
        ) from None
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond * 1000:09d}Z"
