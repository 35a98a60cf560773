"""Filters of network lists and of prune.  Pure."""

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
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?\Z", re.ASCII)


def listed(state: State, filters: Filters) -> list[Network]:
    """Return the networks for ``GET /networks``.  Raises ServerError, as Docker does, for an unknown type."""
    for kind in filters.get("type"):
        if kind not in _TYPES:
            raise ServerError(f"invalid filter: 'type'='{kind}'")
    dangling = filters.flag("dangling")
    return [network for network in state.networks if _matches(state, network, filters, dangling)]


def prunable(state: State, filters: Filters) -> list[Network]:
    """Return the unused networks that match the filters of prune."""
    limits = [_timestamp(text) for text in filters.get("until")]
    return [
        network
        for network in state.networks
        if not network.predefined
        and network.template is None
        and not state.members(network.id)
        and filters.labels(network.labels)
        and not any(_has_label(network.labels, text) for text in filters.get("label!"))
        and all(network.created < limit for limit in limits)
    ]


def _matches(state: State, network: Network, filters: Filters, dangling: bool | None) -> bool:
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


def _has_label(labels: Mapping[str, str], text: str) -> bool:
    key, equals, value = text.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _timestamp(text: str) -> str:
    """Parse seconds since 1970, an ISO 8601 time, or a duration before now (``1h30m``) into the records' format."""
    try:
        if (seconds := unsigned(text)) is not None:
            moment = datetime.fromtimestamp(seconds, UTC)
        elif text and (match := _DURATION.match(text)):
            hours, minutes, rest = (int(part or 0) for part in match.groups())
            moment = datetime.now(UTC) - timedelta(hours=hours, minutes=minutes, seconds=rest)
        else:
            moment = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRequest(
            f"failed to parse value as time or duration: {text!r}; write it like 10m or 2026-01-31"
        ) from None
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond * 1000:09d}Z"
