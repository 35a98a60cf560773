"""Reservations of host ports for the port requests of sandboxes, all or nothing.

Owns the table of the reserved ports; a :class:`PortHolder` keeps programs of the host from binding them.
A reservation is synchronous: no await between the choice of a port and its bind.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from msgspec.structs import replace

from netd.common.addresses import Address, address_sort_key
from netd.common.errors import ServerError
from netd.model import PortRequest, Publication
from netd.portmap.holder import HOLD_LIMIT, InUse, PortHolder
from netd.portmap.policy import PolicyByFamily, resolved
from netd.portmap.port_index import PortConflict, PortTable

_log = logging.getLogger(__name__)
_ATTEMPTS = 10
"""Number of ports in use by programs of the host after which a request fails."""
PortRange = tuple[int, int, frozenset[int]]
"""First and last port, and the reserved ports between them."""
_Rotation = tuple[str, tuple[Address, ...], int, int]


class PortTaken(Exception):
    """Another sandbox has the port."""

    def __init__(self, taken: PortConflict, asked: Address, holder: str) -> None:
        super().__init__(f"Bind for {asked}:{taken.port} failed: port is already allocated")
        self.holder = holder


class Ports:
    """The reserved host ports of all sandboxes."""

    def __init__(self, holder: PortHolder) -> None:
        self._table = PortTable()
        self._holder = holder
        self._last_given: dict[_Rotation, int] = {}

    def close(self) -> None:
        self._holder.close()

    def reserve(
        self,
        holder: str,
        port_requests: Iterable[PortRequest],
        policies: PolicyByFamily,
        previous: Sequence[Publication] = (),
    ) -> tuple[Publication, ...]:
        """Reserve host ports for all of *port_requests* that *policies* allow.

        Where netd chooses the port, the port of the same request in *previous* is tried first.

        Raises PortTaken, or ServerError if no port can be held; no port is reserved then.
        """
        reserved: list[Publication] = []
        ephemeral = self._holder.ephemeral()
        try:
            for port_request in filter(None, (resolved(port_request, policies) for port_request in port_requests)):
                reserved += self._grant(holder, port_request, ephemeral, previous)
        except BaseException:
            self.release(reserved)
            raise
        return self._merged(holder, reserved)

    def release(self, given: Iterable[Publication]) -> None:
        for publication in _bound(given):
            self._table.remove(publication)
            self._holder.release(publication)

    def restore(self, holder: str, given: Iterable[Publication]) -> None:
        """Reserve ports from the records; a port in use by a program of the host is logged and stays reserved."""
        for publication in _bound(given):
            self._table.add(publication, holder)
            try:
                self._holder.hold(publication)
            except InUse as problem:
                _log.warning("port not held: sandbox=%s error=%s", holder[:12], problem.explained())
            except ServerError as problem:
                _log.warning("port not held: sandbox=%s error=%s", holder[:12], problem.message)

    def exchange(self, holder: str, old: Publication, parts: Sequence[Publication]) -> None:
        """Replace *old* by *parts* of it and close the sockets of the other ports."""
        self._table.remove(old)
        for part in parts:
            self._table.add(part, holder)
        kept = {port for part in parts for port in range(part.port, part.last + 1)}
        self._holder.release(old, kept)

    def _grant(
        self, holder: str, port_request: PortRequest, ephemeral: PortRange, previous: Sequence[Publication] = ()
    ) -> list[Publication]:
        refusals: list[InUse] = []
        for port in chain(
            self._previous_ports(port_request, ephemeral, previous), self._candidates(port_request, ephemeral)
        ):
            wanted = [
                _publication(port_request, address, port) for address in port_request.addresses if address is not None
            ]
            try:
                self._take(holder, wanted)
            except InUse as refusal:
                refusals.append(refusal)
                if len(refusals) < _ATTEMPTS:
                    continue
                break
            return wanted
        if refusals:
            raise ServerError(refusals[-1].explained())
        raise ServerError(
            f"Bind for {port_request.addresses[0]}:{port_request.port}-{port_request.last} failed:"
            " all ports are allocated"
        )

    def _take(self, holder: str, wanted: Sequence[Publication]) -> None:
        reserved: list[Publication] = []
        try:
            for publication in wanted:
                if (taken := self._table.conflict(publication)) is not None:
                    raise PortTaken(taken, publication.address, taken.holder)
                self._holder.hold(publication)
                self._table.add(publication, holder)
                reserved.append(publication)
        except BaseException:
            self.release(reserved)
            raise

    def _previous_ports(
        self, port_request: PortRequest, ephemeral: PortRange, previous: Sequence[Publication]
    ) -> Iterator[int]:
        """Yield the port that the request had before, if netd may choose it and it is free."""
        if port_request.fixed:
            return
        first, last = (port_request.port, port_request.last) if port_request.port else ephemeral[:2]
        for publication in _bound(previous):
            port = publication.port + port_request.target - publication.target
            is_same = (
                publication.protocol == port_request.protocol
                and publication.address in port_request.addresses
                and publication.port <= port <= publication.last
            )
            if is_same and first <= port <= last and self._is_free(port_request, port):
                yield port

    def _candidates(self, port_request: PortRequest, ephemeral: PortRange) -> Iterator[int]:
        """Yield the ports to try: the fixed one, or the free ones, starting after the last that was allocated."""
        if port_request.fixed:
            yield port_request.port
            return
        first, last, reserved = (
            (port_request.port, port_request.last, frozenset[int]()) if port_request.port else ephemeral
        )
        addresses = tuple(address for address in port_request.addresses if address is not None)
        rotation = (port_request.protocol, addresses, first, last)
        start = self._last_given.get(rotation, first - 1) + 1
        for port in chain(range(start, last + 1), range(first, start)):
            if port not in reserved and self._is_free(port_request, port):
                self._last_given[rotation] = port
                yield port

    def _is_free(self, port_request: PortRequest, port: int) -> bool:
        return not any(
            self._table.conflict(_publication(port_request, address, port))
            for address in port_request.addresses
            if address is not None
        )

    def _merged(self, holder: str, given: list[Publication]) -> tuple[Publication, ...]:
        """Merge adjacent publications, so that they become one element of the firewall."""
        runs: list[Publication] = []
        for publication in sorted(given, key=_run_order):
            if runs and _continues(runs[-1], publication):
                runs[-1] = replace(runs[-1], count=runs[-1].count + publication.count)
            else:
                runs.append(publication)
        if len(runs) < len(given):
            for publication in given:
                self._table.remove(publication)
            for run in runs:
                self._table.add(run, holder)
                if run.count > HOLD_LIMIT:
                    self._holder.release(run)
        return tuple(runs)


def _bound(given: Iterable[Publication]) -> Iterator[Publication]:
    """Return the publications with a port of the host (not routed)."""
    return (publication for publication in given if publication.port)


def _publication(port_request: PortRequest, address: Address, port: int) -> Publication:
    return Publication(
        protocol=port_request.protocol,
        address=address,
        port=port,
        target=port_request.target,
        count=port_request.count,
        allow=port_request.allow,
    )


def _run_order(given: Publication) -> tuple[object, ...]:
    allow = [str(subnet) for subnet in given.allow]
    return given.protocol, address_sort_key(given.address), allow, given.target - given.port, given.port


def _continues(run: Publication, other: Publication) -> bool:
    """Return True if *other* starts at the ports after *run*."""
    return (run.protocol, run.address, run.allow, run.port + run.count, run.target + run.count) == (
        other.protocol,
        other.address,
        other.allow,
        other.port,
        other.target,
    )
