"""The host as netd sees it: the one door to the kernel, as a protocol.

``netd.kernel.kernel_host.Host`` implements it.  It knows how; it never decides what.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from netd.common.addresses import Address, Subnet
from netd.facts import State, Step
from netd.portmap.rules import Published, Ruleset, RulesetChange


@dataclass(frozen=True, slots=True)
class Resolver:
    """Sockets that answer at 127.0.0.11:53 inside one sandbox (a redirect there leads to their free ports)."""

    udp: socket.socket
    tcp: socket.socket
    netns: int
    """A descriptor of the sandbox's namespace; the taker closes it."""


@dataclass(frozen=True, slots=True)
class Flows:
    """Connections that the kernel goes on treating as was right before."""

    addresses: frozenset[Address] = frozenset()
    """Container addresses that are given up: all that names one of them."""
    closed: tuple[Published, ...] = ()
    """Published no more while the container stays: what was led to it from there, and nothing else of it."""
    opened: tuple[Published, ...] = ()
    """Published from now on: what came there before, and went to the host itself untranslated."""

    def __bool__(self) -> bool:
        return bool(self.addresses or self.closed or self.opened)


@dataclass(frozen=True, slots=True)
class ConnectionTable:
    """Size of the host's connection-tracking table."""

    entries: int
    maximum: int


@dataclass(frozen=True, slots=True)
class ConnectionCounts:
    """Entries of connection tracking by source."""

    by_source: Mapping[bytes, int]
    """Keys are packed addresses of either family; the source is that of the connection's first packet."""
    cpu_seconds: float
    """Processor time that the count took."""


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """Where a route of the host leads, and the link that it leaves by."""

    destination: Subnet
    interface: str


@dataclass(frozen=True, slots=True)
class Change:
    """Something of ours was changed by somebody else."""

    kind: str
    """"link", "address", "firewall" (the table, or forwarding), or "lost" when events were dropped."""
    name: str = ""
    """The link's."""


class Host(Protocol):
    async def observe(self) -> State:
        """Return every fact of ours that the kernel holds: links by our prefix or known name, mounted namespaces."""

    async def apply(self, steps: Sequence[Step]) -> None:
        """Carry the steps out in order; each is idempotent.

        Raises KernelRefused at the first that fails; earlier ones stay done.  After a DEL returns, nothing is
        reachable through the object and its names may be used again, though the kernel may still be taking it apart.
        A sandbox's own sysctls are remembered in the run folder, because they cannot be asked of the kernel.
        """

    async def change_firewall(self, change: RulesetChange) -> None:
        """Make the firewall what it becomes by *change*, in one transaction.

        Costs what the change is, not what is there.  What is gone or there already is passed over.  Where the change
        does not fit what the kernel holds, all of it is built anew.  Forwarding is switched on with the first network
        that is not internal.
        """

    async def update_firewall(self, rules: Ruleset) -> None:
        """Make the firewall hold exactly *rules*: the difference to what was last published, in one transaction."""

    async def reset_firewall(self, rules: Ruleset) -> None:
        """Build the table anew in one transaction, whatever is there now."""

    async def open_resolver(self, sandbox: str) -> Resolver:
        """Open the sockets of a sandbox's resolver and lead 127.0.0.11:53 to them; repeating it replaces the lead."""

    async def move_resolver(self, sandbox: str) -> Resolver | None:
        """The same for a sandbox that may be led by a firewall that is no longer in use; None when it is not.

        The earlier lead is taken away when the new one is there.
        """

    async def delete_flows(self, flows: Flows) -> None:
        """Drop the conntrack entries that *flows* describes, and nobody else's.

        Takes 12 ms and more; runs beside everything else.  An address should not be given to another before.
        """

    async def adopt_namespace(self, sandbox: str, path: str) -> None:
        """Use the network namespace at *path* as the sandbox's, with ``lo`` up.  Raises KernelRefused if it is none."""

    async def delete_stray_connections(self, rules: Ruleset) -> int:
        """Drop the conntrack entries of connections that *rules* would not have admitted; returns their number.

        They began while the rules were gone.  Reads the whole table, beside everything else.
        """

    async def connection_table(self) -> ConnectionTable:
        """Return the size of the connection-tracking table, by two short reads; 0 where the kernel tracks none."""

    async def sample_connections(self, entries: int) -> ConnectionCounts:
        """Count *entries* tracked connections by source, or all if there are fewer.

        The sample is uniform: it is the beginning of a table whose order is a keyed hash.
        """

    async def count_connections(self, sources: Collection[Address], most: int) -> ConnectionCounts:
        """Count the tracked connections of *sources*; stops at *most*."""

    def namespace_path(self, sandbox: str) -> Path:
        """Where the sandbox's namespace is mounted."""

    async def used_subnets(self) -> Sequence[Subnet]:
        """Return the networks that the host has routes or addresses for.

        Those of every table; not the default routes, and not ours.
        """

    async def routes(self) -> Sequence[RouteEntry]:
        """Return the routes of every table that leave by links which are not ours, but for the default ones."""

    async def wait_for_route_change(self) -> None:
        """Return when a route of the host has changed since the last call, be it ours or not; for one who waits."""

    async def mtu(self, link: str = "") -> int:
        """Return the MTU of a link, or the smallest of those that default routes leave by; 0 where there is none."""

    async def has_link(self, name: str) -> bool:
        """Return whether the host has a link of this name."""

    def boot_id(self) -> str:
        """Return the id that the kernel draws at each boot."""

    def hostname(self) -> str:
        """Return the host's name."""

    def changes(self) -> AsyncIterator[Change]:
        """Yield what others change among the objects of ours, until the host is closed.

        A link is ours once it was observed or applied; what is changed inside sandboxes is not told.
        """

    async def reap(self) -> None:
        """Return when the links that were taken away so far are deleted: some 30 ms, which nobody else waits."""

    async def remove_everything(self) -> None:
        """Take down all that is ours: namespaces, links, the table, sysctls that we changed."""

    async def close(self) -> None: ...
