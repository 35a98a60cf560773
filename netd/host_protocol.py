"""The protocol between the engine and the kernel packages: every read and change of the host.

Implemented by :class:`netd.kernel.kernel_host.KernelHost`.  Methods apply decisions of the engine and must not decide.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from netd.common.addresses import Address, Family, Subnet
from netd.facts import State, Step
from netd.portmap.rules import Published, Ruleset, RulesetChange


@dataclass(frozen=True, slots=True)
class Resolver:
    """Sockets for 127.0.0.11:53 in a sandbox, bound to free ports to which the sandbox's firewall redirects port 53."""

    udp: socket.socket
    tcp: socket.socket
    netns: int
    """A descriptor of the sandbox's namespace; the receiver closes it."""

    def close(self) -> None:
        for opened in (self.udp, self.tcp):
            opened.close()
        os.close(self.netns)


@dataclass(frozen=True, slots=True)
class Flows:
    """Connections whose conntrack entries were made under former addresses or rules and must be deleted."""

    addresses: frozenset[Address] = frozenset()
    """Released container addresses: all connections from, to or translated to them."""
    closed: tuple[Published, ...] = ()
    """Removed rules whose container keeps its address: the connections that they translated."""
    opened: tuple[Published, ...] = ()
    """Added rules: earlier connections to their ports, which were delivered to the host without translation."""

    def __bool__(self) -> bool:
        return bool(self.addresses or self.closed or self.opened)


@dataclass(frozen=True, slots=True)
class ConnectionTable:
    """Size of the host's connection-tracking table."""

    entries: int
    maximum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkCounters:
    """Counters of a link since it was created."""

    received_bytes: int
    received_packets: int
    received_dropped: int
    sent_bytes: int
    sent_packets: int
    sent_dropped: int


@dataclass(frozen=True, slots=True)
class ConnectionCounts:
    """Entries of connection tracking by source."""

    by_source: Mapping[bytes, int]
    """Keys are packed addresses of either family; the source is that of the connection's first packet."""
    cpu_seconds: float
    """Processor time that the count took."""


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """Destination and outgoing link of a route of the host."""

    destination: Subnet
    interface: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """Traffic that netd's rules admit and a chain of another program drops."""

    traffic: str
    """"outgoing", "published" or "same network"."""
    family: Family
    bridge: str
    chain: str
    reason: str
    remedy: str
    """A shell command that permits the traffic."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A packet to send, and where to observe it."""

    traffic: str
    sandbox: str
    """The container that sends it; "" for a host outside, which netd simulates."""
    source: Address
    destination: Address
    port: int
    protocol: str = "udp"
    receiver: str = ""
    """The container that receives it; "" to observe that it passed the host's rules."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of netd's objects in the kernel by another program."""

    kind: str
    """"link", "address", "firewall" (the table, or forwarding), or "lost" when events were dropped."""
    name: str = ""
    """The name of the link; "" for other kinds."""


class Host(Protocol):
    async def observe(self) -> State:
        """Return the facts of all objects of netd in the kernel: links by prefix or known name, mounted namespaces."""

    async def apply(
        self, steps: Sequence[Step], *, before: RulesetChange | None = None, after: RulesetChange | None = None
    ) -> None:
        """Execute the steps in order; each step is idempotent.  Change the rules *before* and *after* the steps.

        Raises KernelRefused at the first step that fails; earlier steps are not undone, and the rules are changed
        nevertheless.  After a DEL the object passes
        no packets and its names may be used again, although the kernel may delete it later.  The sysctls of a sandbox
        are recorded in the run folder, because the kernel does not record which were set.
        """

    @property
    def firewall_changes(self) -> int:
        """Return the number of changes of the firewall's rules since the start."""

    async def change_firewall(self, change: RulesetChange) -> None:
        """Apply *change* in one transaction; on failure rebuild the ruleset.

        The cost depends on the change, not on the ruleset.  Removals of absent rules and additions of present rules
        have no effect.  IP forwarding is enabled with the first network that is not internal.
        """

    async def update_firewall(self, rules: Ruleset) -> None:
        """Apply the difference to the last ruleset in one transaction; on failure rebuild the ruleset."""

    async def reset_firewall(self, rules: Ruleset) -> None:
        """Rebuild the ruleset in one transaction, whatever the kernel holds now."""

    async def open_resolver(self, sandbox: str) -> Resolver:
        """Open the sockets of a sandbox's resolver and redirect 127.0.0.11:53 to them; replaces an earlier redirect."""

    async def foreign_redirects(self, sandboxes: Sequence[str]) -> Sequence[str]:
        """Return the sandboxes whose redirect was set by the other firewall backend, or cannot be read.

        A redirect that an earlier version of netd set with the backend in use is replaced, for the same sockets.
        """

    async def move_resolver(self, sandbox: str) -> Resolver:
        """Replace the sandbox's redirect by the other firewall backend.

        The former redirect is deleted after the new redirect is in place.
        """

    async def delete_flows(self, flows: Flows) -> None:
        """Delete the conntrack entries that *flows* describes, and no others.

        Takes 12 ms or more, in parallel with other calls.  Do not assign a released address again before it returns.
        """

    async def adopt_namespace(self, sandbox: str, path: str) -> None:
        """Use the namespace at *path* as the sandbox's and set ``lo`` up.  Raises KernelRefused if it is not one."""

    async def delete_stray_connections(self, rules: Ruleset) -> int:
        """Delete the conntrack entries of connections that *rules* would not have admitted; return their number.

        Such connections begin while the rules are absent.  Reads the whole table, in parallel with other calls.
        """

    async def connection_table(self) -> ConnectionTable:
        """Return the size of the connection-tracking table, by two short reads; 0 without connection tracking."""

    async def link_counters(self) -> Mapping[str, LinkCounters]:
        """Return the counters of the host's links by name."""

    async def sample_connections(self, entries: int) -> ConnectionCounts:
        """Count *entries* tracked connections by source, or all if there are fewer.

        The sample is uniform: it is the beginning of a table whose order is a keyed hash.
        """

    async def count_connections(self, sources: Collection[Address], most: int) -> ConnectionCounts:
        """Count the tracked connections of *sources*; stops at *most*."""

    def namespace_path(self, sandbox: str) -> Path:
        """Return the path on which the sandbox's namespace is mounted."""

    async def used_subnets(self) -> Sequence[Subnet]:
        """Return the subnets of the host's routes and addresses.

        Includes routes of every table, except default routes and routes through netd's links.
        """

    async def routes(self) -> Sequence[RouteEntry]:
        """Return the routes of every table, except default routes and routes through netd's links."""

    async def wait_for_route_change(self) -> None:
        """Wait until any route of the host has changed since the last call; for a single consumer."""

    async def mtu(self, link: str = "") -> int:
        """Return the MTU of a link, or the smallest MTU of the links with default routes; 0 if no such link exists."""

    async def uplinks(self) -> Mapping[Family, Sequence[str]]:
        """Return the links of the host's default routes with the lowest metric, by family."""

    async def dropped_traffic(self, *, read_again: bool = False) -> list[Dropped]:
        """Return the traffic that other programs' forward chains drop, as of the last look, or *read_again* now."""

    async def probe(self, probe: Probe) -> bool | None:
        """Return whether the packet passed the host's rules, within a second; None if it cannot be sent here."""

    async def has_link(self, name: str) -> bool:
        """Return whether the host has a link of this name."""

    def boot_id(self) -> str:
        """Return the random id that the kernel generates at each boot."""

    def hostname(self) -> str:
        """Return the host's name."""

    def changes(self) -> AsyncIterator[Change]:
        """Yield changes of netd's objects by other programs until the host is closed; for a single consumer.

        Covers links that were observed or applied; changes inside sandboxes are not reported.
        """

    async def begin_reaping(self) -> None:
        """Have the kernel begin the deletion of retired links; a program that lists the links waits for its end.

        In a burst of removals, where each change would wait some 30 ms, the links are deleted when no change has been
        made for 30 ms.
        """

    async def reap(self) -> None:
        """Wait, in parallel with other calls, until the retired links are deleted: some 30 ms, at most 2 s."""

    async def remove_everything(self) -> None:
        """Delete all objects of netd: namespaces, links, the table; restore the sysctls that netd changed."""

    async def close(self) -> None: ...
