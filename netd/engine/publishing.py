"""Which ports a sandbox has on the host, as it joins and leaves networks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from netd.common.addresses import FAMILIES, Address, Family
from netd.common.errors import ServerError
from netd.engine import routed
from netd.engine.routes import way_out
from netd.engine.world import World
from netd.model import Publication, Sandbox
from netd.portmap.ports import PortTaken


def publications(world: World, before: Sandbox | None, after: Sandbox, undo: ExitStack) -> tuple[Publication, ...]:
    """Return what is to be published for *after*, and reserve it instead of what *before* has.

    Host ports stay as they are while the sandbox moves between networks that publish at the same addresses of the
    host.  *undo* is given what brings the reservations back.  Raises ServerError when a port cannot be had.
    """
    had = before.publications if before else ()
    defaults = _defaults(world, after) if after.wishes else {}
    unbound = routed.publications(world.state, world.drivers, after)
    if before is not None and had and defaults and defaults == _defaults(world, before):
        return (*(one for one in had if one.port), *unbound)
    if had:
        world.ports.release(had)
        undo.callback(world.ports.restore, after.id, had)
    if not defaults:
        return unbound
    found = _reserve(world, after, defaults)
    undo.callback(world.ports.release, found)
    return (*found, *unbound)


def _defaults(world: World, sandbox: Sandbox) -> dict[Family, tuple[Address, ...]]:
    """Return by family where ports are published when nobody names an address; families without a way are left out."""
    found: dict[Family, tuple[Address, ...]] = {}
    for family in FAMILIES:
        way = way_out(world.state, sandbox, family)
        if way is None or routed.is_routed(world.drivers, way[1], family):
            continue
        if bindings := world.driver(way[1]).binding_addresses(way[1]):
            found[family] = tuple(one for one in bindings if one.version == family)
    return found


def _reserve(world: World, sandbox: Sandbox, defaults: Mapping[Family, tuple[Address, ...]]) -> tuple[Publication, ...]:
    try:
        return world.ports.reserve(sandbox.id, sandbox.wishes, defaults)
    except PortTaken as taken:
        owner = world.state.sandbox(taken.holder)
        reason = f"{taken} to container {owner.name if owner else sandbox.name}"
    except ServerError as problem:
        reason = problem.message
    way = way_out(world.state, sandbox, next(iter(defaults)))
    raise ServerError(
        "driver failed programming external connectivity on endpoint"
        f" {sandbox.name} ({way[0].id if way else ''}): {reason}"
    )
