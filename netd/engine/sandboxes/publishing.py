"""Host ports of sandboxes: reserved at creation, and again when networks or requested ports change."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from msgspec.structs import replace

from netd.common.addresses import FAMILIES, Address, Family
from netd.common.errors import BadRequest, Conflict, ServerError
from netd.common.ids import short
from netd.drivers.registry import Drivers
from netd.engine.context import EngineContext
from netd.engine.state import routed_ports
from netd.engine.state.routes import publishing_endpoint
from netd.engine.state.state import State
from netd.model import Network, PortRequest, Publication, Sandbox
from netd.portmap.policy import PolicyByFamily, PublishPolicy, unserved
from netd.portmap.ports import PortTaken
from netd.portmap.rules import GatewayMode

_log = logging.getLogger(__name__)


def publications(
    context: EngineContext, before: Sandbox | None, after: Sandbox, undo: ExitStack
) -> tuple[Publication, ...]:
    """Reserve the host ports of *after*, release those of *before*, and return the publications.

    Host ports stay the same while the sandbox's networks publish at the same host addresses; otherwise ports that netd
    chose are kept if they are free.  Reverse operations are added to *undo*.  Raises ServerError if a port is in use.
    """
    former = before.publications if before else ()
    policies = policies_of(context.state, context.drivers, after) if after.port_requests else {}
    unbound = routed_ports.publications(context.state, context.drivers, after)
    if before is not None and former and policies and policies == policies_of(context.state, context.drivers, before):
        return (*_bound(former), *unbound)
    if former:
        context.ports.release(former)
        undo.callback(context.ports.restore, after.id, former)
    if not policies:
        return ()
    if before is None:
        for port_request, address in unserved(after.port_requests, policies):
            _log.warning(
                "port not published: sandbox=%s error=%s",
                after.id[:12],
                _reason(after, port_request, address, policies),
            )
    return (*_publish(context, after, after.port_requests, policies, undo, former), *unbound)


def with_ports(
    context: EngineContext, before: Sandbox, port_requests: Sequence[PortRequest], undo: ExitStack
) -> Sandbox:
    """Reserve host ports for further requests; return the sandbox with these and its unchanged other ports.

    Raises Conflict where no network of the sandbox publishes ports, BadRequest for a host address that cannot be used,
    and ServerError when a port is in use.
    """
    policies = policies_of(context.state, context.drivers, before)
    if not policies:
        raise Conflict(
            f"container {before.name} is on no network that publishes ports: connect it to a non-internal network"
        )
    for port_request, address in unserved(port_requests, policies):
        raise BadRequest(_reason(before, port_request, address, policies))
    after = replace(before, port_requests=(*before.port_requests, *port_requests))
    bound = (*_bound(before.publications), *_publish(context, before, port_requests, policies, undo))
    after = replace(after, publications=(*bound, *routed_ports.publications(context.state, context.drivers, after)))
    if len(after.publications) == len(before.publications):
        raise BadRequest(
            f"container {before.name} is on internal networks only, whose ports can be published for this host alone:"
            f" write 127.0.0.1:PORT:{port_requests[0].target}"
        )
    return after


def _bound(publications: Sequence[Publication]) -> Iterator[Publication]:
    """Yield the publications with a host port."""
    return (publication for publication in publications if publication.port)


def policies_of(state: State, drivers: Drivers, sandbox: Sandbox) -> PolicyByFamily:
    """Return the publishing policy of each family; a family in which no network publishes has none."""
    found: dict[Family, PublishPolicy] = {}
    for family in FAMILIES:
        attachment = publishing_endpoint(state, sandbox, family)
        if attachment is not None and (policy := _policy(drivers, attachment[1], family)) is not None:
            found[family] = policy
    return found


def _policy(drivers: Drivers, network: Network, family: Family) -> PublishPolicy | None:
    mode = routed_ports.mode(drivers, network, family)
    if mode in (None, GatewayMode.ISOLATED):
        return None
    if network.internal:
        return PublishPolicy(local=True)
    addresses = drivers.get(network.driver).binding_addresses(network)
    default = tuple(address for address in addresses if address.version == family)
    return PublishPolicy(default, routed=mode is GatewayMode.ROUTED)


def _publish(
    context: EngineContext,
    sandbox: Sandbox,
    port_requests: Sequence[PortRequest],
    policies: PolicyByFamily,
    undo: ExitStack,
    former: Sequence[Publication] = (),
) -> tuple[Publication, ...]:
    found = _reserve(context, sandbox, lambda: context.ports.reserve(sandbox.id, port_requests, policies, former))
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
    attachments = (publishing_endpoint(context.state, sandbox, family) for family in FAMILIES)
    endpoint = next((attachment[0].id for attachment in attachments if attachment), "")
    raise ServerError(
        f"driver failed programming external connectivity on endpoint {sandbox.name} ({short(endpoint)}): {reason}"
    )


def _reason(sandbox: Sandbox, port_request: PortRequest, address: Address, policies: PolicyByFamily) -> str:
    version = address.version
    policy = policies.get(version)
    shown = f"[{address}]" if version == 6 else str(address)
    fault = (
        f"port {port_request.target}/{port_request.protocol} of container {sandbox.name} cannot be published on {shown}"
    )
    if policy is None:
        return f"{fault}: none of its networks publishes IPv{version} ports; enable IPv{version} on one of them"
    return f"{fault}: its networks are internal, so only this host has access; use 127.0.0.1 or [::1]"
