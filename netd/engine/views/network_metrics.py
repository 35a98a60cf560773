"""The metrics of netd, collected from the state, the host's counters and netd-dns's counters.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from netd.common.addresses import FAMILIES
from netd.dns.dns_counters import BOUNDS, OUTCOMES
from netd.drivers.registry import Drivers
from netd.engine.state.state import State
from netd.facts import Pair
from netd.host_protocol import ConnectionTable, LinkCounters
from netd.metrics.metric_families import Buckets, MetricFamily, single
from netd.model import Endpoint, Sandbox

_TRAFFIC = (
    # A packet that a container receives is sent by the host's side of its pair.
    ("receive_bytes", "Bytes that containers received.", "sent_bytes"),
    ("receive_packets", "Packets that containers received.", "sent_packets"),
    ("receive_dropped", "Packets to containers that were dropped at their interface.", "sent_dropped"),
    ("transmit_bytes", "Bytes that containers sent.", "received_bytes"),
    ("transmit_packets", "Packets that containers sent.", "received_packets"),
    ("transmit_dropped", "Packets of containers that were dropped at the host's side.", "received_dropped"),
)


def of_state(state: State) -> Iterator[MetricFamily]:
    """Yield the numbers of objects, and the addresses by network."""
    sandboxes = list(state.sandboxes)
    yield single("netd_networks", "gauge", "Networks.", len(state.networks))
    yield single("netd_sandboxes", "gauge", "Sandboxes: containers with a network namespace.", len(sandboxes))
    ports = sum(publication.count for sandbox in sandboxes for publication in sandbox.publications)
    yield single("netd_published_ports", "gauge", "Published ports, each host address counted.", ports)
    endpoints = {(network.name,): float(len(state.members(network.id))) for network in state.networks}
    yield MetricFamily("netd_endpoints", "gauge", "Endpoints by network.", ("network",), endpoints.items())
    addresses: dict[tuple[str, ...], float] = {}
    for network in state.networks:
        for family in FAMILIES:
            for pool in state.addresses(network.id, family):
                key = (network.name, str(pool.subnet))
                addresses[(*key, "used")] = pool.in_use
                addresses[(*key, "free")] = pool.available
    yield MetricFamily(
        "netd_addresses", "gauge", "Addresses by subnet.", ("network", "subnet", "state"), addresses.items()
    )


def of_links(state: State, drivers: Drivers, counters: Mapping[str, LinkCounters]) -> Iterator[MetricFamily]:
    """Yield the traffic of each endpoint that has a link on the host."""
    found = {
        (sandbox.name, state.network(endpoint.network).name): counters[link]
        for sandbox, endpoint, link in endpoint_links(state, drivers)
        if link in counters
    }
    for name, meaning, field in _TRAFFIC:
        samples = {labels: float(getattr(numbers, field)) for labels, numbers in found.items()}
        yield MetricFamily(
            f"netd_container_{name}_total", "counter", meaning, ("container", "network"), samples.items()
        )


def of_connections(table: ConnectionTable) -> Iterator[MetricFamily]:
    yield single("netd_conntrack_entries", "gauge", "Entries of the connection-tracking table.", table.entries)
    yield single("netd_conntrack_limit", "gauge", "Its size (net.netfilter.nf_conntrack_max).", table.maximum)


def of_dns(counters: Mapping[str, Any]) -> Iterator[MetricFamily]:
    """Yield the outcomes of DNS queries, and the latency of those that upstream servers answered."""
    outcomes = {(outcome,): float(counters.get(outcome, 0)) for outcome in OUTCOMES}
    yield MetricFamily("netd_dns_queries_total", "counter", "DNS queries by outcome.", ("outcome",), outcomes.items())
    counts = counters.get("latency", [0] * (len(BOUNDS) + 1))
    latency = [((), Buckets(counts, counters.get("latency_sum", 0.0)))]
    meaning = "Time until upstream servers answered a query."
    yield MetricFamily("netd_dns_upstream_seconds", "histogram", meaning, (), latency, BOUNDS)


def of_counts(counts: Mapping[str, int]) -> Iterator[MetricFamily]:
    """Yield the counters of events; those that have not happened are 0."""
    for name, meaning in (
        ("repairs", "Comparisons of the kernel with the desired state that found a difference."),
        ("repair_steps", "Steps of repairs."),
        ("firewall_changes", "Changes of the firewall's rules."),
        ("events_lost", "Subscriptions to events that ended because the client did not read them."),
    ):
        yield single(f"netd_{name}_total", "counter", meaning, counts.get(name, 0))


def endpoint_links(state: State, drivers: Drivers) -> Iterator[tuple[Sandbox, Endpoint, str]]:
    """Yield the endpoints that have a link on the host, each with the link's name."""
    for sandbox in state.sandboxes:
        for endpoint in sandbox.endpoints:
            network = state.network(endpoint.network)
            for fact in drivers.get(network.driver).endpoint_facts(network, sandbox, endpoint):
                if isinstance(fact, Pair):
                    yield sandbox, endpoint, fact.host
