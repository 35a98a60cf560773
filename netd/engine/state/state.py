"""The records in memory, with an index for each query.

Mutated only by synchronous code, so a caller sees a consistent state until its next await.  The caller applies the
same change to the kernel, or reverts the change of the state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from netd.common.addresses import Address, Family, Subnet
from netd.common.errors import BadRequest, NotFound
from netd.common.ids import short
from netd.engine.state.address_history import AddressHistory
from netd.ipam.address_pool import AddressPool
from netd.ipam.pools import UsedSubnets
from netd.model import Endpoint, Network, Reservation, Sandbox


class State:
    def __init__(self) -> None:
        self._networks: dict[str, Network] = {}
        self._ids_by_name: dict[str, str] = {}
        self._sandboxes: dict[str, Sandbox] = {}
        self._by_short_id: dict[str, str] = {}
        self._members: dict[str, dict[str, Endpoint]] = {}
        self._segment_sizes: dict[str, Counter[int]] = {}
        self._former_addresses: dict[str, set[Address]] = {}
        """Addresses that endpoints had, by network: neighbours may have entries for them, or look for them."""
        self._macs: dict[str, Counter[str]] = {}
        """MACs of endpoints and of reservations, by network."""
        self._addresses: dict[str, tuple[AddressPool, ...]] = {}
        self.subnets = UsedSubnets()
        """The subnets of all networks."""
        self.address_history = AddressHistory()
        self._reservations: dict[str, Reservation] = {}
        self.revision = 0
        """Incremented by each change of a network, a sandbox or a reservation."""
        self.over_budget: Mapping[str, frozenset[Address]] = {}
        """Sandboxes with more tracked connections than their budget, by id, with the addresses that are dropped."""

    # Networks

    @property
    def networks(self) -> tuple[Network, ...]:
        return tuple(self._networks.values())

    def network(self, identifier: str) -> Network:
        return self._networks[identifier]

    def has_network(self, identifier: str) -> bool:
        return identifier in self._networks

    def network_by_name(self, name: str) -> Network | None:
        identifier = self._ids_by_name.get(name)
        return self._networks[identifier] if identifier else None

    def addresses(self, network: str, family: Family) -> tuple[AddressPool, ...]:
        """Return the address allocations of the network's pools of one family."""
        return tuple(pool for pool in self._addresses[network] if pool.subnet.version == family)

    def pool_containing(self, network: str, address: Address) -> AddressPool:
        """Return the allocations of the network's pool that contains *address*.  Raises KeyError if none does."""
        for pool in self._addresses[network]:
            if address in pool.subnet:
                return pool
        raise KeyError(address)

    def overlapping_network(self, subnet: Subnet) -> tuple[Subnet, Network] | None:
        """Return a used subnet that overlaps *subnet*, with its network; None if none does."""
        found = self.subnets.overlapping(subnet)
        return (found.subnet, self._networks[found.owner]) if found else None

    def lookup_network(self, term: str) -> Network | None:
        """Return the network as ``find_network`` does; None if it is not found or ambiguous."""
        try:
            return self.find_network(term)
        except (NotFound, BadRequest):
            return None

    def has_address(self, network: str, address: Address) -> bool:
        """Return whether a subnet of the network contains the address."""
        return any(address in pool.subnet for pool in self._addresses[network])

    def put_network(self, network: Network) -> None:
        self.revision += 1
        self._networks[network.id] = network
        self._ids_by_name[network.name] = network.id
        self._members[network.id] = {}
        self._segment_sizes[network.id] = Counter()
        self._former_addresses[network.id] = set()
        self._macs[network.id] = Counter(
            found.macs[network.id] for found in self._reservations.values() if network.id in found.macs
        )
        self._addresses[network.id] = tuple(map(AddressPool, network.pools))
        for pool in network.pools:
            self.subnets.put(pool.subnet, network.id)
        for reservation in self._reservations.values():
            self._declare(reservation, (network.id,))

    def drop_network(self, network: Network) -> None:
        self.revision += 1
        del self._networks[network.id], self._ids_by_name[network.name], self._members[network.id]
        del self._addresses[network.id], self._segment_sizes[network.id], self._macs[network.id]
        del self._former_addresses[network.id]
        for pool in network.pools:
            self.subnets.drop(pool.subnet)

    def replace_network(self, network: Network) -> None:
        """Replace the network's record by one with the same name and pools."""
        self.revision += 1
        self._networks[network.id] = network

    def segment_with_room(self, network: Network, size: int) -> int | None:
        """Return the number of the first segment with fewer than *size* endpoints; None if all are full.

        *size* 0 means unlimited.
        """
        sizes = self._segment_sizes[network.id]
        return next((number for number in range(network.segments) if not size or sizes[number] < size), None)

    def find_network(self, term: str) -> Network:
        """Return the network with that id, name or unique id prefix.  Raises NotFound, or BadRequest if ambiguous."""
        if (found := self._networks.get(term) or self.network_by_name(term)) is not None:
            return found
        matches = [network for identifier, network in self._networks.items() if identifier.startswith(term)]
        if not matches:
            raise NotFound(f"network {term} not found")
        if len(matches) > 1:
            raise BadRequest(f"network {term} is ambiguous ({len(matches)} matches found based on ID prefix)")
        return matches[0]

    # Reservations

    @property
    def reservations(self) -> Mapping[str, Reservation]:
        """Return the reservations by container id, in the order in which they were made."""
        return self._reservations

    def put_reservation(self, reservation: Reservation) -> None:
        """Reserve these addresses for a container, instead of those reserved for it before."""
        self.revision += 1
        before = self._reservations.get(reservation.id)
        self._reservations[reservation.id] = reservation
        for network, given in reservation.macs.items():
            self._count_mac(network, given, 1)
        self._declare(reservation, reservation.addresses)
        if before is not None:
            self._renounce(before, reservation)

    def drop_reservation(self, container: str) -> bool:
        """Delete a container's reservation; return whether it had one."""
        self.revision += 1
        before = self._reservations.pop(container, None)
        if before is not None:
            self._renounce(before, None)
        return before is not None

    def _declare(self, reservation: Reservation, networks: Iterable[str]) -> None:
        for network in networks:
            for address in reservation.addresses.get(network, ()):
                self.pool_containing(network, address).declare(address, reservation.id)

    def _renounce(self, before: Reservation, after: Reservation | None) -> None:
        for network, given in before.macs.items():
            self._count_mac(network, given, -1)
        for network, addresses in before.addresses.items():
            kept = after.addresses.get(network, ()) if after else ()
            for address in addresses if network in self._networks else ():
                if address not in kept:
                    self.pool_containing(network, address).undeclare(address, before.id)

    # Sandboxes

    @property
    def sandboxes(self) -> tuple[Sandbox, ...]:
        return tuple(self._sandboxes.values())

    def sandbox(self, identifier: str) -> Sandbox | None:
        return self._sandboxes.get(identifier)

    def sandbox_by_short_id(self, identifier: str) -> Sandbox | None:
        """Return the sandbox whose short id (12 digits, used for namespace names) is that of *identifier*."""
        return self._sandboxes.get(self._by_short_id.get(short(identifier), ""))

    def members(self, network: str) -> Mapping[str, Endpoint]:
        """Return the network's endpoints by the ids of their sandboxes."""
        return self._members[network]

    def has_mac(self, network: str, address: str) -> bool:
        """Return whether an endpoint of the network has the MAC, or a container that is stopped was given it."""
        return self._macs[network][address] > 0

    def was_used(self, network: str, address: Address) -> bool:
        """Return whether an endpoint of the network had the address before."""
        return address in self._former_addresses[network]

    def note_used(self, network: str, address: Address) -> None:
        self._former_addresses[network].add(address)

    def mac_holder(self, network: str, address: str) -> Sandbox | None:
        """Return a sandbox with an endpoint of this MAC on the network."""
        members = self._members[network].items() if self.has_mac(network, address) else ()
        return next((self._sandboxes[owner] for owner, endpoint in members if endpoint.mac == address), None)

    def put_sandbox(self, sandbox: Sandbox) -> None:
        self.revision += 1
        self._remove_members(sandbox.id)
        self._sandboxes[sandbox.id] = sandbox
        self._by_short_id[short(sandbox.id)] = sandbox.id
        for endpoint in sandbox.endpoints:
            self._members[endpoint.network][sandbox.id] = endpoint
            self._segment_sizes[endpoint.network][endpoint.segment] += 1
            self._macs[endpoint.network][endpoint.mac] += 1

    def drop_sandbox(self, identifier: str) -> None:
        self.revision += 1
        self._remove_members(identifier)
        self._sandboxes.pop(identifier, None)
        self._by_short_id.pop(short(identifier), None)

    def networks_of(self, sandbox: Sandbox) -> Iterator[tuple[Endpoint, Network]]:
        for endpoint in sandbox.endpoints:
            yield endpoint, self._networks[endpoint.network]

    def find_sandbox(self, term: str) -> Sandbox:
        """Return the sandbox with that id, name or unique id prefix.  Errors have Docker's texts for containers."""
        if not term:
            raise BadRequest('invalid name or ID supplied: ""')
        if (exact := self._sandboxes.get(term)) is not None:
            return exact
        name = term.removeprefix("/")
        matches = [sandbox for sandbox in self._sandboxes.values() if sandbox.name == name]
        matches = matches or [sandbox for sandbox in self._sandboxes.values() if sandbox.id.startswith(term)]
        if not matches:
            raise NotFound(f"No such container: {term}")
        if len(matches) > 1:
            raise BadRequest(f"multiple IDs found with provided prefix: {term}")
        return matches[0]

    def _remove_members(self, identifier: str) -> None:
        before = self._sandboxes.get(identifier)
        for endpoint in before.endpoints if before else ():
            if self._members[endpoint.network].pop(identifier, None) is not None:
                self._segment_sizes[endpoint.network][endpoint.segment] -= 1
                self._count_mac(endpoint.network, endpoint.mac, -1)
                self._former_addresses[endpoint.network].update(address.ip for address in endpoint.addresses)

    def _count_mac(self, network: str, address: str, by: int) -> None:
        if network in self._macs:
            self._macs[network][address] += by
            if not self._macs[network][address]:
                del self._macs[network][address]
