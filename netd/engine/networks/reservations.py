"""Addresses that containers declared: nobody else gets them, also while their containers are stopped.

A runtime tells them when a container is made, connected or disconnected, and takes them back when it is removed.
Of two containers with one address, whoever declared it first has it; then the other one.
"""

from __future__ import annotations

from msgspec.structs import replace

from netd.api import IPAMConfig, ReservationRequest, ReservationView
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
        """Keep these addresses, and no others, for a container.

        What is on networks that there are not, or in none of their subnets, is passed over, as it is found out when
        the container starts.  Raises BadRequest for what is no address.
        """
        check_id(container)
        addresses = {
            network.id: found
            for term, config in (request.networks or {}).items()
            if (network := self._context.state.lookup_network(canonical_name(term))) is not None
            and (found := self._within(network.id, config))
        }
        reservation = Reservation(id=container, name=request.name, addresses=addresses)
        if not addresses:
            await self.drop(container)
        elif reservation != self._context.state.reservations.get(container):
            self._context.state.put_reservation(reservation)
            await self._context.store.write(Put(RESERVATION, container, reservation))
        return self._view(reservation)

    async def drop(self, container: str) -> None:
        """Keep nothing for a container; where nothing was kept that is no error."""
        if self._context.state.drop_reservation(container):
            await self._context.store.write(Drop(RESERVATION, container), durable=False)

    def all(self) -> list[ReservationView]:
        return [self._view(one) for one in self._context.state.reservations.values()]

    def _within(self, network: str, config: IPAMConfig) -> tuple[Address, ...]:
        given = map(_address, (config.ipv4_address, config.ipv6_address))
        return tuple(one for one in given if one is not None and self._context.state.has_address(network, one))

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
    by_family = {one.version: str(one) for one in addresses}
    return IPAMConfig(ipv4_address=by_family.get(4, ""), ipv6_address=by_family.get(6, ""))


def delete_reservations_on(state: State, network: str) -> list[Put | Drop]:
    """Keep nothing any more of what was on a network, and return what that changes in the store."""
    changes: list[Put | Drop] = []
    for one in [one for one in state.reservations.values() if network in one.addresses]:
        rest = {key: addresses for key, addresses in one.addresses.items() if key != network}
        if rest:
            state.put_reservation(left := replace(one, addresses=rest))
            changes.append(Put(RESERVATION, one.id, left))
        else:
            state.drop_reservation(one.id)
            changes.append(Drop(RESERVATION, one.id))
    return changes
