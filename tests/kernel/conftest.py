"""A host under test: netd's kernel packages in a temporary host with a neighbour host, driven by facts and rules."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterable, Iterator
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any, TypeVar

import pytest

from netd.facts import Bridge, DefaultRoute, Fact, Namespace, Pair, State, Step, plan, state
from netd.kernel.kernel_host import KernelHost
from netd.portmap.rules import BridgeRules, ForwardPolicy, Opened, Published, Ruleset, Treatment
from tests.lab import Lab, Node

T = TypeVar("T")
LEAVE = ForwardPolicy(insert=False)
UPLINK, OUTSIDE = "198.51.100.1", "198.51.100.2"
UPLINK6, OUTSIDE6 = "2001:db8:51::1", "2001:db8:51::2"


class Site:
    """A host with a neighbour ``outside``; holds the desired facts and rules, and applies them."""

    def __init__(
        self, lab: Lab, run_dir: Path, backend: str, policy: ForwardPolicy = LEAVE, *, direct: str = "auto"
    ) -> None:
        self.lab = lab
        self.backend = backend
        self.policy = policy
        self.run_dir = run_dir
        self.machine = lab.make_host("machine")
        self.outside = lab.make_host("outside")
        lab.wire(self.machine, self.outside, "198.51.100.0/24", "2001:db8:51::/64")
        self._runner = asyncio.Runner()
        self.wanted: dict[tuple[str, ...], Fact] = {}
        self.bridges: dict[str, BridgeRules] = {}
        self.published: set[Published] = set()
        self.opened: set[Opened] = set()
        self.respect = False
        self.direct = direct
        self.host = self.open()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def open(self) -> KernelHost:
        return self.do(
            KernelHost.open(
                self.run_dir,
                netns=self.machine.fd,
                firewall=self.backend,
                policy=self.policy,
                direct=self.direct,
            )
        )

    def reopen(self) -> None:
        """Replace the host object, as a restart of the daemon does; only the kernel's state and RUN are kept."""
        self.do(self.host.close())
        self.host = self.open()

    def close(self) -> None:
        try:
            self.do(self.host.remove_everything())
        finally:
            self.do(self.host.close())
            self._runner.close()

    def converge(self) -> None:
        """Apply the plan, and assert that a new observation needs no further step."""
        self.do(self.host.apply(self.steps()))
        left = self.steps()
        assert not left, f"not converged: {left}"

    def steps(self) -> tuple[Step, ...]:
        return plan(self.wanted, self.have())

    def have(self) -> State:
        return self.do(self.host.observe())

    def want(self, *facts: Fact) -> None:
        self.wanted |= state(facts)

    def unwant(self, *facts: Fact) -> None:
        for fact in facts:
            del self.wanted[fact.key]

    def publish(self, *published: Published) -> None:
        """Publish additional ports, with the rules of all networks."""
        self.published |= set(published)
        self.do(self.host.update_firewall(self.ruleset()))

    def ruleset(self) -> Ruleset:
        return Ruleset(
            frozenset(self.bridges.values()), frozenset(self.published), frozenset(self.opened), self.respect
        )

    def network(
        self, name: str, *gateways: str, internal: bool = False, isolated: bool = False, **rules: Any
    ) -> Bridge:
        """Add a network to the desired state; *gateways* are the bridge's addresses with prefix length, one per family.

        *rules* are additional fields of its BridgeRules.
        """
        addresses = tuple(map(ip_interface, gateways))
        bridge = Bridge(name=f"nd-{name}", addresses=addresses, mtu=1500, localnet=True)
        self.want(bridge)
        treatments = {f"ipv{address.version}": Treatment() for address in addresses}
        known = {"subnets": tuple(address.network for address in addresses), "ipv4": None, "ipv6": None, **treatments}
        self.bridges[name] = BridgeRules(name=bridge.name, internal=internal, isolated=isolated, **known | rules)
        return bridge

    def container(self, sandbox: str, bridge: Bridge, last: int, *, route: bool = True) -> Pair:
        """Add a container on a network to the desired state; *last* is the last part of its addresses."""
        self.want(Namespace(sandbox=sandbox))
        pair = make_pair(
            sandbox, bridge, last, isolated=any(r.name == bridge.name and r.isolated for r in self.rules())
        )
        self.want(pair)
        for gateway in bridge.addresses if route else ():
            self.want(DefaultRoute(sandbox=sandbox, gateway=gateway.ip, interface=pair.inside))
        return pair

    def ours(self) -> list[str]:
        """Return netd's firewall objects, in an order that does not depend on hashing."""
        if self.backend == "iptables":
            return [line for line in self.machine.legacy() if "NETD-" in line]
        found = []
        for table in self.machine.command("nft", "list", "tables").splitlines():
            if table.endswith(" netd"):
                listed = json.loads(self.machine.command("nft", "-j", "list", *table.split()))["nftables"][1:]
                found += [_in_order(entry) for entry in listed]
        return found

    def rules(self) -> list[BridgeRules]:
        return list(self.bridges.values())

    def inside(self, sandbox: str) -> Node:
        return self.lab.host_at(self.host.namespace_path(sandbox), sandbox)


def _in_order(entry: dict[str, dict[str, Any]]) -> str:
    for thing in entry.values():
        thing.pop("handle", None)
        if "elem" in thing:
            thing["elem"].sort(key=json.dumps)
    return json.dumps(entry)


def make_pair(sandbox: str, bridge: Bridge, last: int, *, inside: str = "eth0", isolated: bool = False) -> Pair:
    networks = [address.network for address in bridge.addresses]
    addresses = tuple(ip_interface((network[last], network.prefixlen)) for network in networks)
    return Pair(
        host=f"ndp{sandbox[:6]}{bridge.name[-4:]}",
        bridge=bridge.name,
        alias=f"{sandbox}.{bridge.name[3:]}",
        sandbox=sandbox,
        inside=inside,
        mac="02:42:" + addresses[0].ip.packed[-4:].hex(":"),
        addresses=addresses,
        mtu=bridge.mtu,
        isolated=isolated,
    )


def port(
    number: int,
    target: Pair,
    target_port: int,
    *,
    address: str = "0.0.0.0",
    protocol: str = "tcp",
    count: int = 1,
    allow: Iterable[str] = (),
) -> Published:
    """Return a published port whose target is the container's address of the family of *address*."""
    host = ip_address(address)
    [inside] = [address.ip for address in target.addresses if address.version == host.version]
    return Published(protocol, host, number, inside, target_port, count, tuple(map(ip_network, allow)))


BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


def set_bridge_filter(site: Site, on: bool) -> None:
    for sysctl in (BRIDGE_FILTER, BRIDGE_FILTER.with_name("bridge-nf-call-ip6tables")):
        if sysctl.exists():
            site.machine.run(lambda sysctl=sysctl: sysctl.write_text(str(int(on))))


@pytest.fixture(params=[False, True], ids=["", "br_netfilter"])
def bridge_filter(request: pytest.FixtureRequest) -> bool:
    """Whether bridged packets pass iptables (br_netfilter), as on hosts where Docker runs."""
    if not BRIDGE_FILTER.exists() and request.param:
        pytest.skip("this kernel has no br_netfilter")
    return request.param


@pytest.fixture(params=["nftables", "iptables"])
def backend(request: pytest.FixtureRequest) -> str:
    """The firewall backend of the site; tests that do not request this fixture use nftables."""
    return request.param


@pytest.fixture
def site(request: pytest.FixtureRequest, lab: Lab, tmp_path: Path) -> Iterator[Site]:
    backend = request.getfixturevalue("backend") if "backend" in request.fixturenames else "nftables"
    made = Site(lab, tmp_path / "run", backend)
    yield made
    made.close()
