"""Which ports a sandbox has on the host, as it joins and leaves networks."""

from __future__ import annotations

from contextlib import ExitStack
from ipaddress import IPv4Address

from netd.common.errors import ServerError
from netd.engine.routes import way_out
from netd.engine.world import World
from netd.model import Endpoint, Network, Publication, Sandbox
from netd.portmap.ports import PortTaken


def publications(world: World, before: Sandbox | None, after: Sandbox, undo: ExitStack) -> tuple[Publication, ...]:
    """Return what is to be published for *after*, and reserve it instead of what *before* has.

    Host ports stay as they are while the sandbox moves between networks that publish at the same address of the host.
    *undo* is given what brings the reservations back.  Raises ServerError when a port cannot be had.
    """
    had = before.publications if before else ()
    way = way_out(world.state, after) if after.wishes else None
    if before is not None and way is not None and had:
        old = way_out(world.state, before)
        if old is not None and _address(world, old) == _address(world, way):
            return had
    if had:
        world.ports.release(had)
        undo.callback(world.ports.restore, after.id, had)
    if way is None:
        return ()
    found = _reserve(world, after, way)
    undo.callback(world.ports.release, found)
    return found


def _address(world: World, way: tuple[Endpoint, Network]) -> IPv4Address:
    return world.driver(way[1]).binding_address(way[1])


def _reserve(world: World, sandbox: Sandbox, way: tuple[Endpoint, Network]) -> tuple[Publication, ...]:
    try:
        return world.ports.reserve(sandbox.id, sandbox.wishes, _address(world, way))
    except PortTaken as taken:
        owner = world.state.sandbox(taken.holder)
        reason = f"{taken} to container {owner.name if owner else sandbox.name}"
    except ServerError as problem:
        reason = problem.message
    raise ServerError(
        f"driver failed programming external connectivity on endpoint {sandbox.name} ({way[0].id}): {reason}"
    )
