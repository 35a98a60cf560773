"""Which ports a sandbox has on the host, as it joins and leaves networks and as ports are added and taken away."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from msgspec.structs import replace

from netd.common.addresses import FAMILIES, Address, Family
from netd.common.errors import BadRequest, Conflict, ServerError
from netd.engine.context import EngineContext
from netd.engine.state import routed_ports
from netd.engine.state.routes import publishing_endpoint
from netd.model import Network, PortRequest, Publication, Sandbox
from netd.portmap.policy import PolicyByFamily, PublishPolicy, unserved
from netd.portmap.ports import PortTaken
from netd.portmap.rules import GatewayMode

_log = logging.getLogger(__name__)


def publications(
    context: EngineContext, before: Sandbox | None, after: Sandbox, undo: ExitStack
) -> tuple[Publication, ...]:
    """Return what is to be published for *after*, and reserve it instead of what *before* has.

    Host ports stay as they are while the sandbox moves between networks that publish at the same addresses of the
    host, and so do those that netd chose where they can.  *undo* is given what brings the reservations back.  Raises
    ServerError when a port cannot be had.
    """
    had = before.publications if before else ()
    policies = policies_of(context, after) if after.port_requests else {}
    unbound = routed_ports.publications(context.state, context.drivers, after)
    if before is not None and had and policies and policies == policies_of(context, before):
        return (*(one for one in had if one.port), *unbound)
    if had:
        context.ports.release(had)
        undo.callback(context.ports.restore, after.id, had)
    if not policies:
        return ()
    if before is None:
        for port_request, address in unserved(after.port_requests, policies):
            _log.warning(
                "sandbox=%s port=not-published reason=%s",
                after.id[:12],
                _reason(after, port_request, address, policies),
            )
    return (*_publish(context, after, after.port_requests, policies, undo, had), *unbound)


def with_ports(
    context: EngineContext, before: Sandbox, port_requests: Sequence[PortRequest], undo: ExitStack
) -> Sandbox:
    """Return the sandbox with more published, and reserve that; what it has already stays as it is.

    Raises Conflict where nothing can be published of it, BadRequest for an address that nothing would come of, and
    ServerError when a port cannot be had.
    """
    policies = policies_of(context, before)
    if not policies:
        raise Conflict(
            f"container {before.name} is on no network that publishes ports: connect it to one that is not internal"
        )
    for port_request, address in unserved(port_requests, policies):
        raise BadRequest(_reason(before, port_request, address, policies))
    after = replace(before, port_requests=(*before.port_requests, *port_requests))
    bound = (
        *(one for one in before.publications if one.port),
        *_publish(context, before, port_requests, policies, undo),
    )
    after = replace(after, publications=(*bound, *routed_ports.publications(context.state, context.drivers, after)))
    if len(after.publications) == len(before.publications):
        raise BadRequest(
            f"container {before.name} is on internal networks only, whose ports can be published for this host alone:"
            f" write 127.0.0.1:PORT:{port_requests[0].target}"
        )
    return after


def policies_of(context: EngineContext, sandbox: Sandbox) -> PolicyByFamily:
    """Return how ports of the sandbox are published in each family that one of its networks publishes in."""
    found: dict[Family, PublishPolicy] = {}
    for family in FAMILIES:
        place = publishing_endpoint(context.state, sandbox, family)
        if place is not None and (policy := _way(context, place[1], family)) is not None:
            found[family] = policy
    return found


def _way(context: EngineContext, network: Network, family: Family) -> PublishPolicy | None:
    mode = routed_ports.mode(context.drivers, network, family)
    if mode in (None, GatewayMode.ISOLATED):
        return None
    if network.internal:
        return PublishPolicy(local=True)
    usual = tuple(one for one in context.driver(network).binding_addresses(network) if one.version == family)
    return PublishPolicy(usual, routed=mode is GatewayMode.ROUTED)


def _publish(
    context: EngineContext,
    sandbox: Sandbox,
    port_requests: Sequence[PortRequest],
    policies: PolicyByFamily,
    undo: ExitStack,
    had: Sequence[Publication] = (),
) -> tuple[Publication, ...]:
    found = _reserve(context, sandbox, lambda: context.ports.reserve(sandbox.id, port_requests, policies, had))
    undo.callback(context.ports.release, found)
    return found


def _reserve(
    context: EngineContext, sandbox: Sandbox, reserve: Callable[[], tuple[Publication, ...]]
) -> tuple[Publication, ...]:
    try:
        return reserve()
    except PortTaken as taken:
        owner = context.state.sandbox(taken.holder)
        reason = f"{taken} to container {owner.name if owner else sandbox.name}"
    except ServerError as problem:
        reason = problem.message
    places = (publishing_endpoint(context.state, sandbox, family) for family in FAMILIES)
    endpoint = next((place[0].id for place in places if place), "")
    raise ServerError(
        f"driver failed programming external connectivity on endpoint {sandbox.name} ({endpoint}): {reason}"
    )


def _reason(sandbox: Sandbox, port_request: PortRequest, address: Address, policies: PolicyByFamily) -> str:
    version = address.version
    policy = policies.get(version)
    shown = f"[{address}]" if version == 6 else str(address)
    place = (
        f"port {port_request.target}/{port_request.protocol} of container {sandbox.name} cannot be published on {shown}"
    )
    if policy is None:
        return f"{place}: the container has no IPv{version} way to the host; enable IPv{version} on one of its networks"
    return f"{place}: its networks are internal, so that only this host itself may come; use 127.0.0.1 or [::1]"
