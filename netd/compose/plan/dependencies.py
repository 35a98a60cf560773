"""Dependencies between services, and orders that respect them.  Pure; iterative."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netd.compose.model import ComposeService, Dependency

SERVICE_MODE = "service:"
_NAMESPACES = ("network_mode", "ipc", "pid")

Edges = dict[str, frozenset[str]]
"""The services that each service needs."""


def dependencies(service: ComposeService) -> dict[str, Dependency]:
    """Return ``depends_on``, and the services whose volumes, namespaces or links the service uses."""
    found = dict(service.depends_on)
    for name in _implied(service):
        found.setdefault(name, Dependency(condition="service_started"))
    return found


def namespace_service(mode: str) -> str:
    """Return the service of ``service:NAME``, or "" for another mode."""
    return mode.removeprefix(SERVICE_MODE) if mode.startswith(SERVICE_MODE) else ""


def edges(services: Mapping[str, ComposeService]) -> Edges:
    """Return the dependencies among *services*.  Raises ValueError if they form a cycle."""
    found = {
        key: frozenset(name for name in dependencies(service) if name in services) for key, service in services.items()
    }
    in_order(found)
    return found


def reversed_edges(found: Edges) -> Edges:
    """Return the services that need each service."""
    return {key: frozenset(other for other, needs in found.items() if key in needs) for key in found}


def in_order(found: Edges) -> list[str]:
    """Return all services, each after those that it needs.  Raises ValueError if they form a cycle."""
    done: dict[str, None] = {}
    waiting = sorted(found)
    while waiting:
        ready = [key for key in waiting if all(name in done for name in found[key])]
        if not ready:
            raise ValueError(f"dependency cycle detected: {_cycle(found, waiting)}")
        done |= dict.fromkeys(ready)
        waiting = [key for key in waiting if key not in done]
    return list(done)


def closure(found: Edges, keys: Iterable[str]) -> list[str]:
    """Return *keys* and all services that they need directly or indirectly, sorted."""
    reached: set[str] = set()
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key not in reached:
            reached.add(key)
            waiting += found.get(key, ())
    return sorted(reached)


def _implied(service: ComposeService) -> Iterable[str]:
    yield from filter(None, (namespace_service(getattr(service, name)) for name in _NAMESPACES))
    yield from (word.partition(":")[0] for word in service.links)
    yield from (word.partition(":")[0] for word in service.volumes_from if not word.startswith("container:"))


def _cycle(found: Edges, waiting: list[str]) -> str:
    """Return a cycle among *waiting*, each of which needs another of them."""
    path = [waiting[0]]
    while path[-1] not in path[:-1]:
        path.append(min(name for name in found[path[-1]] if name in waiting))
    return " -> ".join(path[path.index(path[-1]) :])
