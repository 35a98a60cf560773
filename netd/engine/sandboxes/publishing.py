"""Which ports a sandbox has on the host, as it joins and leaves networks and as ports are added and taken away."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from msgspec.structs import replace

from netd.common.addresses import FAMILIES, Address, Family
from netd.common.errors import BadRequest, Conflict, ServerError
from netd.engine.context import World
from netd.engine.state import routed_ports
from netd.engine.state.routes import publisher
from netd.model import Network, Publication, Sandbox, Wish
from netd.portmap.policy import Way, Ways, unserved
from netd.portmap.ports import PortTaken
from netd.portmap.rules import GatewayMode

_log = logging.getLogger(__name__)


def publications(world: World, before: Sandbox | None, after: Sandbox, undo: ExitStack) -> tuple[Publication, ...]:
    """Return what is to be published for *after*, and reserve it instead of what *before* has.

    Host ports stay as they are while the sandbox moves between networks that publish at the same addresses of the
    host, and so do those that netd chose where they can.  *undo* is given what brings the reservations back.  Raises
    ServerError when a port cannot be had.
    """
    had = before.publications if before else ()
    ways = ways_of(world, after) if after.wishes else {}
    unbound = routed_ports.publications(world.state, world.drivers, after)
    if before is not None and had and ways and ways == ways_of(world, before):
        return (*(one for one in had if one.port), *unbound)
    if had:
        world.ports.release(had)
        undo.callback(world.ports.restore, after.id, had)
    if not ways:
        return ()
    if before is None:
        for wish, address in unserved(after.wishes, ways):
            _log.warning("sandbox=%s port=not-published reason=%s", after.id[:12], _reason(after, wish, address, ways))
    return (*_publish(world, after, after.wishes, ways, undo, had), *unbound)


def with_ports(world: World, before: Sandbox, wishes: Sequence[Wish], undo: ExitStack) -> Sandbox:
    """Return the sandbox with more published, and reserve that; what it has already stays as it is.

    Raises Conflict where nothing can be published of it, BadRequest for an address that nothing would come of, and
    ServerError when a port cannot be had.
    """
    ways = ways_of(world, before)
    if not ways:
        raise Conflict(
            f"container {before.name} is on no network that publishes ports: connect it to one that is not internal"
        )
    for wish, address in unserved(wishes, ways):
        raise BadRequest(_reason(before, wish, address, ways))
    after = replace(before, wishes=(*before.wishes, *wishes))
    bound = (*(one for one in before.publications if one.port), *_publish(world, before, wishes, ways, undo))
    after = replace(after, publications=(*bound, *routed_ports.publications(world.state, world.drivers, after)))
    if len(after.publications) == len(before.publications):
        raise BadRequest(
            f"container {before.name} is on internal networks only, whose ports can be published for this host alone:"
            f" write 127.0.0.1:PORT:{wishes[0].target}"
        )
    return after


def ways_of(world: World, sandbox: Sandbox) -> Ways:
    """Return how ports of the sandbox are published in each family that one of its networks publishes in."""
    found: dict[Family, Way] = {}
    for family in FAMILIES:
        place = publisher(world.state, sandbox, family)
        if place is not None and (way := _way(world, place[1], family)) is not None:
            found[family] = way
    return found


def _way(world: World, network: Network, family: Family) -> Way | None:
    mode = routed_ports.mode(world.drivers, network, family)
    if mode in (None, GatewayMode.ISOLATED):
        return None
    if network.internal:
        return Way(local=True)
    usual = tuple(one for one in world.driver(network).binding_addresses(network) if one.version == family)
    return Way(usual, routed=mode is GatewayMode.ROUTED)


def _publish(
    world: World,
    sandbox: Sandbox,
    wishes: Sequence[Wish],
    ways: Ways,
    undo: ExitStack,
    had: Sequence[Publication] = (),
) -> tuple[Publication, ...]:
    found = _reserve(world, sandbox, lambda: world.ports.reserve(sandbox.id, wishes, ways, had))
    undo.callback(world.ports.release, found)
    return found


def _reserve(world: World, sandbox: Sandbox, reserve: Callable[[], tuple[Publication, ...]]) -> tuple[Publication, ...]:
    try:
        return reserve()
    except PortTaken as taken:
        owner = world.state.sandbox(taken.holder)
        reason = f"{taken} to container {owner.name if owner else sandbox.name}"
    except ServerError as problem:
        reason = problem.message
    places = (publisher(world.state, sandbox, family) for family in FAMILIES)
    endpoint = next((place[0].id for place in places if place), "")
    raise ServerError(
        f"driver failed programming external connectivity on endpoint {sandbox.name} ({endpoint}): {reason}"
    )


def _reason(sandbox: Sandbox, wish: Wish, address: Address, ways: Ways) -> str:
    version = address.version
    way = ways.get(version)
    shown = f"[{address}]" if version == 6 else str(address)
    place = f"port {wish.target}/{wish.protocol} of container {sandbox.name} cannot be published on {shown}"
    if way is None:
        return f"{place}: the container has no IPv{version} way to the host; enable IPv{version} on one of its networks"
    return f"{place}: its networks are internal, so that only this host itself may come; use 127.0.0.1 or [::1]"
