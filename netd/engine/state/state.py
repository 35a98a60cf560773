"""What netd knows at this moment: the records, with indexes that make every question cheap.

Changes only between two awaits, so whoever reads it without awaiting sees one moment.  Whoever puts something here
brings the kernel there, or takes it out again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from netd.common.addresses import Address, Family, Subnet
from netd.common.errors import BadRequest, NotFound
from netd.common.ids import short
from netd.engine.state.address_history import AddressHistory
from netd.ipam.address_pool import Addresses
from netd.ipam.pools import UsedSubnets
from netd.model import Endpoint, Network, Reservation, Sandbox


class State:
    def __init__(self) -> None:
        self._networks: dict[str, Network] = {}
        self._ids_by_name: dict[str, str] = {}
        self._sandboxes: dict[str, Sandbox] = {}
        self._by_short_id: dict[str, str] = {}
        self._members: dict[str, dict[str, Endpoint]] = {}
        self._spread: dict[str, Counter[int]] = {}
        self._addresses: dict[str, tuple[Addresses, ...]] = {}
        self.subnets = UsedSubnets()
        """Those of all networks."""
        self.address_history = AddressHistory()
        self._reservations: dict[str, Reservation] = {}

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

    def addresses(self, network: str, family: Family) -> tuple[Addresses, ...]:
        """Return who has which address, by the pools of one family."""
        return tuple(one for one in self._addresses[network] if one.subnet.version == family)

    def pool_containing(self, network: str, address: Address) -> Addresses:
        """Return who has which address in the pool that *address* is of.  Raises KeyError when there is none."""
        for one in self._addresses[network]:
            if address in one.subnet:
                return one
        raise KeyError(address)

    def overlapping_network(self, subnet: Subnet) -> tuple[Subnet, Network] | None:
        """Return the subnet, and whose it is, that shares addresses with *subnet*."""
        found = self.subnets.overlapping(subnet)
        return (found.subnet, self._networks[found.owner]) if found else None

    def lookup_network(self, term: str) -> Network | None:
        """Return the network as ``find_network`` does; None when there is none or more than one."""
        try:
            return self.find_network(term)
        except (NotFound, BadRequest):
            return None

    def has_address(self, network: str, address: Address) -> bool:
        """Tell whether the address is in a subnet of the network's."""
        return any(address in one.subnet for one in self._addresses[network])

    def put_network(self, network: Network) -> None:
        self._networks[network.id] = network
        self._ids_by_name[network.name] = network.id
        self._members[network.id] = {}
        self._spread[network.id] = Counter()
        self._addresses[network.id] = tuple(map(Addresses, network.pools))
        for pool in network.pools:
            self.subnets.put(pool.subnet, network.id)
        for one in self._reservations.values():
            self._declare(one, (network.id,))

    def drop_network(self, network: Network) -> None:
        del self._networks[network.id], self._ids_by_name[network.name], self._members[network.id]
        del self._addresses[network.id], self._spread[network.id]
        for pool in network.pools:
            self.subnets.drop(pool.subnet)

    def replace_network(self, network: Network) -> None:
        """Put a record in place of the network's former one; its name, pools and members stay."""
        self._networks[network.id] = network

    def segment_with_room(self, network: Network, size: int) -> int | None:
        """Return the first of the network's segments with less than *size* endpoints; None when all are full."""
        spread = self._spread[network.id]
        return next((one for one in range(network.segments) if not size or spread[one] < size), None)

    def find_network(self, term: str) -> Network:
        """Return the network with that id, or name, or unique start of an id.  Raises NotFound, BadRequest."""
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
        """Return them by the ids of their containers, in the order of their coming."""
        return self._reservations

    def put_reservation(self, reservation: Reservation) -> None:
        """Keep these addresses for a container, in place of what was kept for it."""
        before = self._reservations.get(reservation.id)
        self._reservations[reservation.id] = reservation
        self._declare(reservation, reservation.addresses)
        if before is not None:
            self._renounce(before, reservation)

    def drop_reservation(self, container: str) -> bool:
        """Keep nothing for a container, and tell whether anything was."""
        before = self._reservations.pop(container, None)
        if before is not None:
            self._renounce(before, None)
        return before is not None

    def _declare(self, reservation: Reservation, networks: Iterable[str]) -> None:
        for network in networks:
            for address in reservation.addresses.get(network, ()):
                self.pool_containing(network, address).declare(address, reservation.id)

    def _renounce(self, before: Reservation, after: Reservation | None) -> None:
        for network, addresses in before.addresses.items():
            kept = after.addresses.get(network, ()) if after else ()
            for address in addresses if network in self._networks else ():
                if address not in kept:
                    self.pool_containing(network, address).renounce(address, before.id)

    # Sandboxes

    @property
    def sandboxes(self) -> tuple[Sandbox, ...]:
        return tuple(self._sandboxes.values())

    def sandbox(self, identifier: str) -> Sandbox | None:
        return self._sandboxes.get(identifier)

    def sandbox_by_short_id(self, identifier: str) -> Sandbox | None:
        """Return the sandbox whose id, as people see it and namespaces are called, is that of *identifier*."""
        return self._sandboxes.get(self._by_short_id.get(short(identifier), ""))

    def members(self, network: str) -> Mapping[str, Endpoint]:
        """Return the network's endpoints by the ids of their sandboxes."""
        return self._members[network]

    def put_sandbox(self, sandbox: Sandbox) -> None:
        self._leave(sandbox.id)
        self._sandboxes[sandbox.id] = sandbox
        self._by_short_id[short(sandbox.id)] = sandbox.id
        for endpoint in sandbox.endpoints:
            self._members[endpoint.network][sandbox.id] = endpoint
            self._spread[endpoint.network][endpoint.segment] += 1

    def drop_sandbox(self, identifier: str) -> None:
        self._leave(identifier)
        self._sandboxes.pop(identifier, None)
        self._by_short_id.pop(short(identifier), None)

    def networks_of(self, sandbox: Sandbox) -> Iterator[tuple[Endpoint, Network]]:
        for endpoint in sandbox.endpoints:
            yield endpoint, self._networks[endpoint.network]

    def find_sandbox(self, term: str) -> Sandbox:
        """Return the sandbox with that id, or name, or unique start of an id, in Docker's words for containers."""
        if not term:
            raise BadRequest('invalid name or ID supplied: ""')
        if (exact := self._sandboxes.get(term)) is not None:
            return exact
        name = term.removeprefix("/")
        matches = [one for one in self._sandboxes.values() if one.name == name]
        matches = matches or [one for one in self._sandboxes.values() if one.id.startswith(term)]
        if not matches:
            raise NotFound(f"No such container: {term}")
        if len(matches) > 1:
            raise BadRequest(f"multiple IDs found with provided prefix: {term}")
        return matches[0]

    def _leave(self, identifier: str) -> None:
        before = self._sandboxes.get(identifier)
        for endpoint in before.endpoints if before else ():
            if self._members[endpoint.network].pop(identifier, None) is not None:
                self._spread[endpoint.network][endpoint.segment] -= 1
