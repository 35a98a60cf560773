"""Beginning again: records become state, the kernel is brought to it, names are in force."""

from __future__ import annotations

import logging
from contextlib import ExitStack, suppress

import msgspec
from msgspec.structs import replace

from netd.common.errors import Problem
from netd.common.store.store import Drop, Put
from netd.drivers.bridge_options import DEFAULT_OPTIONS
from netd.drivers.remote import RemoteDriver
from netd.engine.change import apply, leases, network_setup, plugin_calls
from netd.engine.context import META, NETWORK, RESERVATION, SANDBOX, EngineContext
from netd.engine.networks.actions import Networks
from netd.engine.reconcile.repair import reconcile
from netd.engine.state.address_history import FORMER, HistoryEntry
from netd.ipam.address_pool import AddressTaken
from netd.model import Network, NetworkSpec, Reservation, Sandbox

_log = logging.getLogger(__name__)
_BOOT_ID = "boot_id"
"""The name of its document."""
_PREDEFINED = (
    NetworkSpec(name="bridge", driver="bridge", options=DEFAULT_OPTIONS),
    NetworkSpec(name="host", driver="host"),
    NetworkSpec(name="none", driver="null"),
)


class Boot(msgspec.Struct, frozen=True):
    """Since when the kernel has been running: sandboxes of an earlier boot are gone."""

    id: str


async def restore(context: EngineContext) -> None:
    """Bring everything to what the store says; what did not outlive the last netd or boot is forgotten.

    The name server of a killed predecessor goes on answering all the while.
    """
    for network in context.store.load(NETWORK, Network).values():
        if network.remote:
            context.drivers.add(network.driver, RemoteDriver())
        context.drivers.expect(network.driver)
        network_setup.add_to_state(context, await _with_todays_mtu(context, network))
    await _make_predefined(context)
    await _take_up_sandboxes(context)
    _take_up_addresses(context)
    for identifier, book in context.network_names.items():
        context.dns.set_network(identifier, book.records())
    context.stray_check_needed.set()  # What others did to the firewall while no netd ran is not known.
    if not await reconcile(context):
        context.repair_needed.set()
    for sandbox in context.state.sandboxes:
        await _answer(context, sandbox)
    await (context.dns.flush() if context.store.incidents else context.dns.settle())
    await plugin_calls.delete_orphans(context)
    context.background.start(leases.replay(context), "replay-addresses")


async def _with_todays_mtu(context: EngineContext, network: Network) -> Network:
    """The host's ways out may be others than they were; a parent that is away is waited for."""
    traits = context.driver(network).traits
    if not traits.addressed or traits.absent:
        return network
    parent = network.options.get(traits.parent, "")
    found = await context.host.mtu(parent)
    if found == network.mtu or (parent and not found):
        return network
    network = replace(network, mtu=found)
    await context.store.write_best_effort(Put(NETWORK, network.id, network))
    return network


async def _make_predefined(context: EngineContext) -> None:
    networks = Networks(context)
    for asked in _PREDEFINED:
        if context.state.network_by_name(asked.name) is None:
            network = await networks.decide(asked)
            network_setup.add_to_state(context, network)
            await context.store.write(Put(NETWORK, network.id, network))


async def _take_up_sandboxes(context: EngineContext) -> None:
    address_history = context.store.load(FORMER, HistoryEntry).values()
    context.state.address_history.restore(one for one in address_history if context.state.has_network(one.network))
    stored = context.store.load(SANDBOX, Sandbox).values()
    kept = await _same_boot(context)
    lost = [sandbox for sandbox in stored if not (kept and _enter(context, sandbox))]
    if lost and kept and context.store.incidents:
        _log.error("sandboxes-unserved=%d reason=their-networks-have-no-record", len(lost))
    elif lost:
        _log.warning("sandboxes-forgotten=%d reason=%s", len(lost), "network-is-gone" if kept else "reboot")
        await plugin_calls.delete_endpoints_later(context, lost)
        remembered = [
            change
            for sandbox in lost
            for change in context.state.address_history.record(sandbox.name, sandbox.endpoints)
        ]
        await context.store.write_best_effort(*(Drop(SANDBOX, one.id) for one in lost), *remembered)


def _take_up_addresses(context: EngineContext) -> None:
    """Keep for containers that do not run what they declared, and put last in line what was given back last."""
    state = context.state
    for one in context.store.load(RESERVATION, Reservation).values():
        known = {network: addresses for network, addresses in one.addresses.items() if state.has_network(network)}
        if known:
            state.put_reservation(replace(one, addresses=known))
    for holder in state.address_history.all:
        for address in holder.addresses:
            if state.has_address(holder.network, address):
                state.pool_containing(holder.network, address).mark_used(address)


async def _same_boot(context: EngineContext) -> bool:
    boot = Boot(context.host.boot_id())
    same = context.store.load(META, Boot).get(_BOOT_ID) == boot
    if not same:
        await context.store.write_best_effort(Put(META, _BOOT_ID, boot))
    return same


def _enter(context: EngineContext, sandbox: Sandbox) -> bool:
    """Take up a sandbox with its addresses, ports and names; false when it cannot be as it was."""
    if not all(context.state.has_network(endpoint.network) for endpoint in sandbox.endpoints):
        return False
    try:
        _take_addresses(context, sandbox)
    except AddressTaken as taken:
        _log.error("sandbox=%s reason=%s", sandbox.id[:12], taken)
        return False
    context.ports.restore(sandbox.id, sandbox.publications)
    context.state.put_sandbox(sandbox)
    for endpoint in sandbox.endpoints:
        if endpoint.network in context.network_names:
            context.network_names[endpoint.network].update(None, sandbox)
    return True


def _take_addresses(context: EngineContext, sandbox: Sandbox) -> None:
    with ExitStack() as undo:
        for endpoint in sandbox.endpoints:
            for address in endpoint.addresses:
                with suppress(KeyError):
                    addresses = context.state.pool_containing(endpoint.network, address.ip)
                    addresses.take(address.ip, sandbox.id)
                    undo.callback(addresses.release, address.ip)
        undo.pop_all()


async def _answer(context: EngineContext, sandbox: Sandbox) -> None:
    """Have names answered in the sandbox, by the sockets that it has had if they are still held."""
    try:
        await apply.move_resolver(context, sandbox)
        await apply.open_resolver(context, sandbox)
    except Problem as problem:
        _log.error("sandbox=%s names=none reason=%s", sandbox.id[:12], problem.message)
        context.repair_needed.set()
    if sandbox.id in context.dns.held:
        context.dns.set_view(sandbox.id, context.dns_view(sandbox))
