"""Selects the containers of a list or prune request by their filters.  Reads the table of containers; no I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta

from netd.api import PortBindings
from netd.common.digits import signed
from netd.common.errors import BadRequest, NotFound
from netd.common.filters import Filters
from netd.portmap import port_spec
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.options.port_bindings import port_ranges
from runtime.images.image_config import ImageRecord
from runtime.images.image_store import Images
from runtime.record import ContainerRecord

_LIST_KEYS = "ancestor annotation before exited expose health id is-task isolation label name network publish since"
KEYS = frozenset(f"{_LIST_KEYS} status volume".split())
PRUNE_KEYS = frozenset({"label", "label!", "until"})
_STATES = ("created", "dead", "exited", "paused", "removing", "restarting", "running")
_HEALTH = ("none", "starting", "healthy", "unhealthy")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(h|m|s)", re.ASCII)
_SECONDS = re.compile(r"\d{1,12}(\.\d*)?\Z", re.ASCII)
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}


def select(containers: Containers, images: Images, filters: Filters, *, all_: bool, limit: int) -> list[Container]:
    """Return the containers that match the filters, newest first.  Raises BadRequest for invalid filters."""
    newest_first = sorted(containers.all(), key=lambda container: container.record.created, reverse=True)
    tests = [_by_record(filters), _by_network(filters), _by_age(containers, filters), _by_image(images, filters)]
    explicit = bool(filters.get("status") or filters.get("exited"))
    show_all = all_ or limit > 0 or explicit
    matching = [
        container
        for container in newest_first
        if (show_all or container.record.state.counts_as_running)
        and all(test(container.record) for test in tests)
        and filters.exact("health", container.health.status if container.health else "none")
    ]
    return matching[:limit] if limit > 0 else matching


def _by_record(filters: Filters) -> Callable[[ContainerRecord], bool]:
    for status in filters.get("status"):
        if status not in _STATES:
            raise BadRequest(
                f"invalid filter 'status={status}': invalid value for state ({status}): must be one of "
                + ", ".join(_STATES)
            )
    for health in filters.get("health"):
        if health not in _HEALTH:
            raise BadRequest(
                f"invalid filter 'health={health}': invalid value for health ({health}): must be one of "
                + ", ".join(_HEALTH)
            )
    task = _is_task(filters)
    codes = _numbers(filters, "exited")
    return lambda record: (
        filters.prefix("id", record.id)
        and filters.matches("name", record.name, f"/{record.name}")
        and filters.labels(record.config.labels or {})
        and filters.labels(record.host.annotations or {}, "annotation")
        and filters.exact("status", record.state.status)
        and (not codes or (record.state.status == "exited" and record.state.exit_code in codes))
        and filters.exact("volume", *_mounted(record))
        and not task
        and filters.exact("isolation", "default", "")
    )


def _is_task(filters: Filters) -> bool:
    """Return whether tasks of a swarm are selected, of which there are none.  Raises BadRequest for other values."""
    values = filters.get("is-task")
    if values and (len(values) > 1 or values[0].lower() not in _BOOLEANS):
        raise BadRequest(f"invalid filter 'is-task=[{' '.join(values)}]'")
    return bool(values) and _BOOLEANS[values[0].lower()]


def _mounted(record: ContainerRecord) -> Iterator[str]:
    """Yield the names of volumes and images, the sources of binds, and the targets of all mounts."""
    for point in record.mounts:
        yield from (point.name or point.source, point.destination)


def _numbers(filters: Filters, key: str) -> frozenset[int]:
    numbers = [signed(text) for text in filters.get(key)]
    if None in numbers:
        raise BadRequest(f"invalid filter '{key}': it takes a number")
    return frozenset(number for number in numbers if number is not None)


def _by_network(filters: Filters) -> Callable[[ContainerRecord], bool]:
    publish = [_ports(text) for text in filters.get("publish")]
    expose = [_ports(text) for text in filters.get("expose")]
    return lambda record: (
        (not publish or _overlap(publish, _published(record)))
        and (not expose or _overlap(expose, port_ranges([*(record.config.exposed_ports or ()), *_bindings(record)])))
        and _on_network(record, filters)
    )


def _bindings(record: ContainerRecord) -> PortBindings:
    return (record.network.ports if record.network else record.host.port_bindings) or {}


def _published(record: ContainerRecord) -> Iterator[tuple[int, int, str]]:
    """Yield the published host ports of a container; the requested ones while it does not run."""
    for key, bindings in _bindings(record).items():
        protocol = key.partition("/")[2] or "tcp"
        yield from port_ranges(f"{binding.host_port}/{protocol}" for binding in bindings or ())


def _on_network(record: ContainerRecord, filters: Filters) -> bool:
    networks = record.network.networks if record.network else record.endpoints
    terms = filters.get("network")
    return not terms or any(
        name == term or (endpoint.network_id and endpoint.network_id.startswith(term))
        for term in terms
        for name, endpoint in networks.items()
    )


def _ports(text: str) -> tuple[int, int, str]:
    found = port_spec.parse(text)
    if found is None or found.protocol not in ("", *port_spec.PROTOCOLS):
        raise BadRequest(f"invalid filter: {text!r} is not a port such as 80, 80/tcp or 80-90")
    return found.first, found.last, found.protocol or "tcp"


def _overlap(filters: list[tuple[int, int, str]], ports: Iterable[tuple[int, int, str]]) -> bool:
    return any(
        low <= last and first <= high and kind == protocol
        for low, high, kind in ports
        for first, last, protocol in filters
    )


def _by_age(containers: Containers, filters: Filters) -> Callable[[ContainerRecord], bool]:
    before = [containers.find(text).record.created for text in filters.get("before")]
    since = [containers.find(text).record.created for text in filters.get("since")]
    return lambda record: all(record.created < time for time in before) and all(record.created > time for time in since)


def _by_image(images: Images, filters: Filters) -> Callable[[ContainerRecord], bool]:
    image_ids = {image.id for text in filters.get("ancestor") if (image := _image(images, text))}
    return lambda record: not filters.get("ancestor") or record.image in image_ids


def _image(images: Images, text: str) -> ImageRecord | None:
    try:
        return images.find(text)
    except NotFound:
        return None


def prunable(containers: Containers, filters: Filters) -> Iterable[Container]:
    """Yield the containers that ``prune`` removes: none of them runs or waits for its restart."""
    if len(filters.get("until")) > 1:
        raise BadRequest("more than one until filter specified")
    until = [parse_until(text) for text in filters.get("until")]
    for container in containers.all():
        record = container.record
        if record.state.counts_as_running or not filters.selects_labels(record.config.labels or {}):
            continue
        if all(record.created < time for time in until):
            yield container


def parse_until(text: str) -> str:
    """Return an RFC 3339 time for ``10m``, ``1h30m`` (that long ago), seconds since 1970, or an RFC 3339 time."""
    try:
        time = _parse_time(text)
    except (ValueError, OverflowError):
        raise BadRequest(f"invalid filter 'until': {text!r} is neither a time nor a duration such as 10m") from None
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond * 1000:09d}Z"


def _parse_time(text: str) -> datetime:
    if _SECONDS.match(text):
        return datetime.fromtimestamp(float(text), UTC)
    if parts := _DURATION.findall(text):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
        return datetime.now(UTC) - timedelta(seconds=seconds)
    return datetime.fromisoformat(text).astimezone(UTC)
