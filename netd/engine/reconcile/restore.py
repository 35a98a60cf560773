"""Start of the engine: loading the records, reconciling the kernel, passing names and sockets to netd-dns."""

from __future__ import annotations

import logging
from contextlib import ExitStack, suppress

import msgspec
from msgspec.structs import replace

from netd.common.store.store import Drop, Put, Store
from netd.drivers.bridge_options import DEFAULT_OPTIONS
from netd.drivers.remote import RemoteDriver
from netd.engine.change import leases, network_setup, plugin_calls
from netd.engine.context import META, NETWORK, RESERVATION, SANDBOX, EngineContext
from netd.engine.networks.actions import Networks
from netd.engine.reconcile import resolvers
from netd.engine.reconcile.repair import reconcile
from netd.engine.state.address_history import FORMER, HistoryEntry
from netd.engine.state.state import State
from netd.host_protocol import Host
from netd.ipam.address_pool import AddressTaken
from netd.model import Network, NetworkSpec, Reservation, Sandbox

_log = logging.getLogger(__name__)
_BOOT_ID = "boot_id"
"""The id of the document with the boot id."""
_PREDEFINED = (
    NetworkSpec(name="bridge", driver="bridge", options=DEFAULT_OPTIONS),
    NetworkSpec(name="host", driver="host"),
    NetworkSpec(name="none", driver="null"),
)


class Boot(msgspec.Struct, frozen=True):
    """The kernel's boot id at the last start of netd; sandboxes of another boot no longer exist."""

    id: str


async def restore(context: EngineContext) -> None:
    """Restore networks and sandboxes from the store; delete records of sandboxes that no longer exist.

    If netd-dns still runs from an earlier netd, it answers queries meanwhile.
    """
    for network in context.store.load(NETWORK, Network).values():
        if network.remote:
            context.drivers.add(network.driver, RemoteDriver())
        context.drivers.expect(network.driver)
        network_setup.add_to_state(context.state, context.network_names, await _with_current_mtu(context, network))
    await _create_predefined(context)
    await _restore_sandboxes(context)
    _restore_addresses(context.state, context.store)
    for identifier, names in context.network_names.items():
        context.dns.set_network(identifier, names.records())
    context.stray_check_needed.set()  # Other programs may have changed the firewall while no netd ran.
    if not await reconcile(context):
        context.repair_needed.set()
    await resolvers.restore_all(context)
    await (context.dns.flush() if context.store.incidents else context.dns.prune())
    plugin_calls.delete_orphans(context)
    replay = leases.replay(context.state, context.ipam, context.plugins)
    context.background.start(replay, "replay-addresses")


async def _with_current_mtu(context: EngineContext, network: Network) -> Network:
    """Update the MTU, because the host's links may have changed; if the parent link is missing, keep it."""
    traits = context.driver(network).traits
    if not traits.addressed or traits.absent:
        return network
    parent = network.options.get(traits.parent, "")
    mtu = await context.host.mtu(parent)
    if mtu == network.mtu or (parent and not mtu):
        return network
    network = replace(network, mtu=mtu)
    await context.store.write_best_effort(Put(NETWORK, network.id, network))
    return network


async def _create_predefined(context: EngineContext) -> None:
    networks = Networks(context)
    for spec in _PREDEFINED:
        if context.state.network_by_name(spec.name) is None:
            network = await networks.new_record(spec)
            network_setup.add_to_state(context.state, context.network_names, network)
            await context.store.write(Put(NETWORK, network.id, network))


async def _restore_sandboxes(context: EngineContext) -> None:
    state = context.state
    history = context.store.load(FORMER, HistoryEntry).values()
    state.address_history.restore(entry for entry in history if state.has_network(entry.network))
    stored = context.store.load(SANDBOX, Sandbox).values()
    same_boot = await _is_same_boot(context.host, context.store)
    lost = [sandbox for sandbox in stored if not (same_boot and _restore_sandbox(context, sandbox))]
    if lost and same_boot and context.store.incidents:
        _log.error("sandboxes not restored, their networks have no record: count=%d", len(lost))
    elif lost:
        _log.warning("sandboxes deleted: count=%d reason=%s", len(lost), "network missing" if same_boot else "reboot")
        await plugin_calls.delete_endpoints_later(context, lost)
        drops = (Drop(SANDBOX, sandbox.id) for sandbox in lost)
        changes = [
            change for sandbox in lost for change in state.address_history.record(sandbox.name, sandbox.endpoints)
        ]
        await context.store.write_best_effort(*drops, *changes)


def _restore_addresses(state: State, store: Store) -> None:
    """Restore the reservations, and the order in which addresses were released: allocation reuses the oldest first."""
    for reservation in store.load(RESERVATION, Reservation).values():
        addresses = {network: found for network, found in reservation.addresses.items() if state.has_network(network)}
        macs = {network: found for network, found in reservation.macs.items() if state.has_network(network)}
        if addresses or macs:
            state.put_reservation(replace(reservation, addresses=addresses, macs=macs))
    for entry in state.address_history.all:
        for address in entry.addresses:
            if state.has_address(entry.network, address):
                state.pool_containing(entry.network, address).mark_used(address)
                state.note_used(entry.network, address)


async def _is_same_boot(host: Host, store: Store) -> bool:
    boot = Boot(host.boot_id())
    same = store.load(META, Boot).get(_BOOT_ID) == boot
    if not same:
        await store.write_best_effort(Put(META, _BOOT_ID, boot))
    return same


def _restore_sandbox(context: EngineContext, sandbox: Sandbox) -> bool:
    """Restore a sandbox with its addresses, ports and names; return False if a network or address is not available."""
    if not all(context.state.has_network(endpoint.network) for endpoint in sandbox.endpoints):
        return False
    try:
        _allocate_addresses(context.state, sandbox)
    except AddressTaken as taken:
        _log.error("sandbox not restored: sandbox=%s error=%s", sandbox.id[:12], taken)
        return False
    context.ports.restore(sandbox.id, sandbox.publications)
    context.state.put_sandbox(sandbox)
    for endpoint in sandbox.endpoints:
        if endpoint.network in context.network_names:
            context.network_names[endpoint.network].update(None, sandbox)
    return True


def _allocate_addresses(state: State, sandbox: Sandbox) -> None:
    with ExitStack() as undo:
        for endpoint in sandbox.endpoints:
            for address in endpoint.addresses:
                with suppress(KeyError):
                    pool = state.pool_containing(endpoint.network, address.ip)
                    pool.take(address.ip, sandbox.id)
                    undo.callback(pool.release, address.ip)
        undo.pop_all()
