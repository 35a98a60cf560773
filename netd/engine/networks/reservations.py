"""Reservations: addresses that a container declared and that no other container gets, even while the first is stopped.

A runtime sets them when it creates, connects or disconnects a container, and deletes them with the container.
If two containers declare the same address, the first to declare it has priority.
"""

from __future__ import annotations

from msgspec.structs import replace

from netd.api import IPAMConfig, ReservationRequest, ReservationView
from netd.common import mac
from netd.common.addresses import Address
from netd.common.errors import BadRequest
from netd.common.store.store import Drop, Put
from netd.engine.context import RESERVATION, EngineContext
from netd.engine.state.sandbox_request import canonical_name, check_id
from netd.engine.state.state import State
from netd.ipam.texts import read_address
from netd.model import Reservation


class Reservations:
    def __init__(self, context: EngineContext) -> None:
        self._context = context

    async def put(self, container: str, request: ReservationRequest) -> ReservationView:
        """Reserve exactly these addresses and MACs for a container.

        Those on unknown networks, addresses outside their subnets and invalid MACs are ignored, because the start of
        the container reports them.  Raises BadRequest for an invalid address.
        """
        check_id(container)
        addresses = {
            network.id: found
            for term, config in (request.networks or {}).items()
            if (network := self._context.state.lookup_network(canonical_name(term))) is not None
            and (found := self._within(network.id, config))
        }
        macs = {
            network.id: given
            for term, text in (request.macs or {}).items()
            if (network := self._context.state.lookup_network(canonical_name(term))) is not None
            and (given := mac.normalize(text))
        }
        reservation = Reservation(id=container, name=request.name, addresses=addresses, macs=macs)
        if not addresses and not macs:
            await self.delete(container)
        elif reservation != self._context.state.reservations.get(container):
            self._context.state.put_reservation(reservation)
            await self._context.store.write(Put(RESERVATION, container, reservation))
        return self._view(reservation)

    async def delete(self, container: str) -> None:
        """Delete a container's reservation; no error if it has none."""
        if self._context.state.drop_reservation(container):
            await self._context.store.write(Drop(RESERVATION, container), durable=False)

    def all(self) -> list[ReservationView]:
        return [self._view(reservation) for reservation in self._context.state.reservations.values()]

    def _within(self, network: str, config: IPAMConfig) -> tuple[Address, ...]:
        requested = map(_address, (config.ipv4_address, config.ipv6_address))
        has_address = self._context.state.has_address
        return tuple(address for address in requested if address is not None and has_address(network, address))

    def _view(self, reservation: Reservation) -> ReservationView:
        state = self._context.state
        networks = {
            state.network(network).name: _config(addresses)
            for network, addresses in reservation.addresses.items()
            if state.has_network(network)
        }
        return ReservationView(id=reservation.id, name=reservation.name, networks=networks)


def _address(text: str) -> Address | None:
    try:
        return read_address(text)
    except BadRequest:
        raise BadRequest(f"invalid address {text} in reservation: write one like 172.18.0.9") from None


def _config(addresses: tuple[Address, ...]) -> IPAMConfig:
    by_family = {address.version: str(address) for address in addresses}
    return IPAMConfig(ipv4_address=by_family.get(4, ""), ipv6_address=by_family.get(6, ""))


def delete_reservations_on(state: State, network: str) -> list[Put | Drop]:
    """Delete the reservations on a network; return the changes to be stored."""
    changes: list[Put | Drop] = []
    for reservation in [found for found in state.reservations.values() if network in {*found.addresses, *found.macs}]:
        others = {key: addresses for key, addresses in reservation.addresses.items() if key != network}
        macs = {key: address for key, address in reservation.macs.items() if key != network}
        if others or macs:
            state.put_reservation(smaller := replace(reservation, addresses=others, macs=macs))
            changes.append(Put(RESERVATION, reservation.id, smaller))
        else:
            state.drop_reservation(reservation.id)
            changes.append(Drop(RESERVATION, reservation.id))
    return changes
