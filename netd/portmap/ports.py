"""Reservations of host ports: what a sandbox's wishes come to, all of it or nothing.

Owns the table of the ports that sandboxes have; a :class:`PortHolder` keeps them from the host's programs.  A
reservation is made without awaiting anything between the choice and the bind.
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
"""How many ports that programs of the host turn out to use are passed over for one wish."""
Choice = tuple[int, int, frozenset[int]]
"""First and last port, and those between them that are not for choosing."""
_Rotation = tuple[str, tuple[Address, ...], int, int]


class PortTaken(Exception):
    """Another sandbox has the port."""

    def __init__(self, taken: PortConflict, asked: Address, holder: str) -> None:
        super().__init__(f"Bind for {asked}:{taken.port} failed: port is already allocated")
        self.holder = holder


class Ports:
    def __init__(self, holder: PortHolder) -> None:
        self._table = PortTable()
        self._held = holder
        self._last_given: dict[_Rotation, int] = {}

    def close(self) -> None:
        self._held.close()

    def reserve(
        self,
        holder: str,
        port_requests: Iterable[PortRequest],
        policies: PolicyByFamily,
        had: Sequence[Publication] = (),
    ) -> tuple[Publication, ...]:
        """Take host ports for all of *wishes* that something comes of by *ways*.

        Where netd has the choice, the port that *had* gives the same wish is tried first.

        Raises PortTaken, or ServerError where the host itself does not allow it; nothing is taken then.
        """
        done: list[Publication] = []
        open_range = self._held.ephemeral()
        try:
            for port_request in filter(None, (resolved(port_request, policies) for port_request in port_requests)):
                done += self._grant(holder, port_request, open_range, had)
        except BaseException:
            self.release(done)
            raise
        return self._merged(holder, done)

    def release(self, given: Iterable[Publication]) -> None:
        for publication in _bound(given):
            self._table.remove(publication)
            self._held.release(publication)

    def restore(self, holder: str, given: Iterable[Publication]) -> None:
        """Take again what *holder* had; a program of the host that came in between changes nothing."""
        for publication in _bound(given):
            self._table.add(publication, holder)
            try:
                self._held.hold(publication)
            except InUse as problem:
                _log.warning("port=not-held sandbox=%s reason=%s", holder[:12], problem.explained())
            except ServerError as problem:
                _log.warning("port=not-held sandbox=%s reason=%s", holder[:12], problem.message)

    def exchange(self, holder: str, old: Publication, parts: Sequence[Publication]) -> None:
        """Note *parts* of what *holder* has in place of the whole; the sockets of the rest are closed."""
        self._table.remove(old)
        for part in parts:
            self._table.add(part, holder)
        kept = {port for part in parts for port in range(part.port, part.last + 1)}
        self._held.release(old, kept)

    def _grant(
        self, holder: str, port_request: PortRequest, open_range: Choice, had: Sequence[Publication] = ()
    ) -> list[Publication]:
        refusals: list[InUse] = []
        for port in chain(self._former(port_request, open_range, had), self._candidates(port_request, open_range)):
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
        done: list[Publication] = []
        try:
            for publication in wanted:
                if (taken := self._table.conflict(publication)) is not None:
                    raise PortTaken(taken, publication.address, taken.holder)
                self._held.hold(publication)
                self._table.add(publication, holder)
                done.append(publication)
        except BaseException:
            self.release(done)
            raise

    def _former(self, port_request: PortRequest, open_range: Choice, had: Sequence[Publication]) -> Iterator[int]:
        """Yield the free port that was given for the wish before, where it is one of netd's choice."""
        if port_request.fixed:
            return
        first, last = (port_request.port, port_request.last) if port_request.port else open_range[:2]
        for one in _bound(had):
            port = one.port + port_request.target - one.target
            same = (
                one.protocol == port_request.protocol
                and one.address in port_request.addresses
                and one.port <= port <= one.last
            )
            if same and first <= port <= last and self._is_free(port_request, port):
                yield port

    def _candidates(self, port_request: PortRequest, open_range: Choice) -> Iterator[int]:
        """Yield the ports to try: the one asked for, or the free ones after the one that was last given."""
        if port_request.fixed:
            yield port_request.port
            return
        first, last, reserved = (
            (port_request.port, port_request.last, frozenset[int]()) if port_request.port else open_range
        )
        rotation = (port_request.protocol, tuple(one for one in port_request.addresses if one is not None), first, last)
        start = self._last_given.get(rotation, first - 1) + 1
        for port in chain(range(start, last + 1), range(first, start)):
            if port not in reserved and self._is_free(port_request, port):
                self._last_given[rotation] = port
                yield port

    def _is_free(self, port_request: PortRequest, port: int) -> bool:
        return not any(
            self._table.conflict(_publication(port_request, one, port))
            for one in port_request.addresses
            if one is not None
        )

    def _merged(self, holder: str, given: list[Publication]) -> tuple[Publication, ...]:
        """Put publications that follow one another together, so that they are one element of the firewall."""
        runs: list[Publication] = []
        for one in sorted(given, key=_run_order):
            if runs and _continues(runs[-1], one):
                runs[-1] = replace(runs[-1], count=runs[-1].count + one.count)
            else:
                runs.append(one)
        if len(runs) < len(given):
            for one in given:
                self._table.remove(one)
            for run in runs:
                self._table.add(run, holder)
                if run.count > HOLD_LIMIT:
                    self._held.release(run)
        return tuple(runs)


def _bound(given: Iterable[Publication]) -> Iterator[Publication]:
    """Leave out those that have no port of the host."""
    return (one for one in given if one.port)


def _publication(port_request: PortRequest, address: Address, port: int) -> Publication:
    return Publication(
        protocol=port_request.protocol,
        address=address,
        port=port,
        target=port_request.target,
        count=port_request.count,
        allow=port_request.allow,
    )


def _run_order(one: Publication) -> tuple[object, ...]:
    return one.protocol, address_sort_key(one.address), [str(net) for net in one.allow], one.target - one.port, one.port


def _continues(run: Publication, one: Publication) -> bool:
    return (run.protocol, run.address, run.allow, run.port + run.count, run.target + run.count) == (
        one.protocol,
        one.address,
        one.allow,
        one.port,
        one.target,
    )
