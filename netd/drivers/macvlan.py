"""The macvlan driver: containers are hosts on the network to which a link of the host, the parent, is connected.

No NAT and no published ports: other hosts of that network reach containers at their own addresses.
"""

from __future__ import annotations

from ipaddress import ip_interface, ip_network

from netd.common import mac
from netd.common.addresses import Address, Family, Interface
from netd.common.errors import BadRequest
from netd.drivers import Traits, endpoint_options, options
from netd.drivers.bare import BareDriver
from netd.facts import Fact, HostLink, HostRoute, Macvlan, MacvlanMode
from netd.model import Endpoint, Network, NetworkSpec, Sandbox

PARENT = "parent"
MODE = "macvlan_mode"
ACCESS = "netd.host_access"
HOST = "host"
"""Name of the auxiliary address of the host itself, with ``netd.host_access``."""
_KNOWN = frozenset(
    (
        *(PARENT, MODE, ACCESS, options.MTU, options.INTERFACE_PREFIX),
        *(options.PREFIX + "enable_ipv4", options.PREFIX + "enable_ipv6"),
    )
)


class MacvlanDriver(BareDriver):
    """A macvlan link per endpoint, on the parent of the network."""

    traits = Traits(parent=PARENT)

    def validate(self, spec: NetworkSpec) -> None:
        options.refuse_unknown(spec.options, _KNOWN, "macvlan networks")
        parent = spec.options.get(PARENT, "")
        if not parent:
            raise BadRequest(f"option {PARENT} is missing: name the link of the host to use, as in -o {PARENT}=eth0")
        if not options.is_link_name(parent):
            raise options.unreadable(PARENT, parent, "it is not the name of a link")
        options.mtu(spec.options)
        options.interface_prefix(spec.options)
        mode = _mode(spec.options)
        if options.flag(spec.options, ACCESS, False) and mode is MacvlanMode.PRIVATE:
            raise BadRequest(
                f"option {ACCESS} needs {MODE}={MacvlanMode.BRIDGE}: private macvlan links cannot reach each other"
            )

    def has_gateway(self, spec: NetworkSpec, family: Family) -> bool:
        """Return True unless internal: the gateway is a router on the parent's network."""
        return not spec.internal

    def device(self, network: Network) -> str | None:
        return _access(network)

    def network_facts(self, network: Network) -> tuple[Fact, ...]:
        name = _access(network)
        if name is None:
            return ()
        link = HostLink(
            name=name,
            parent=network.options[PARENT],
            mac=mac.generate(bytes.fromhex(network.id[:8])),
            addresses=_host_addresses(network),
            mtu=_mtu(network),
        )
        return (link,)

    def endpoint_facts(self, network: Network, sandbox: Sandbox, endpoint: Endpoint) -> tuple[Fact, ...]:
        link = Macvlan(
            parent=network.options[PARENT],
            mode=_mode(network.options),
            sandbox=sandbox.id,
            inside=endpoint.interface,
            mac=endpoint.mac,
            addresses=endpoint.addresses,
            mtu=_mtu(network),
            sysctls=endpoint_options.sysctls(endpoint.settings.driver_opts or {}),
        )
        return (link, *_host_routes(network, endpoint))

    def binding_addresses(self, network: Network) -> tuple[Address, ...]:
        return ()


def _access(network: Network) -> str | None:
    """Return the name of the host's own macvlan link; None without host access."""
    return f"ndm{network.id[:10]}" if options.flag(network.options, ACCESS, False) else None


def _host_routes(network: Network, endpoint: Endpoint) -> list[HostRoute]:
    """Return the host's routes to the container.

    IPv6 routes only if the host's link has an IPv6 address: neighbour discovery needs one.
    """
    name = _access(network)
    families = {4, *(address.version for address in _host_addresses(network))}
    found = [address.ip for address in endpoint.addresses if address.version in families]
    return [HostRoute(link=name, destination=ip_network(address)) for address in found] if name else []


def _host_addresses(network: Network) -> tuple[Interface, ...]:
    """Return the host's addresses as /32 and /128: routes to the rest of the subnet stay unchanged."""
    found = (pool.auxiliary.get(HOST) for pool in network.pools)
    return tuple(ip_interface(address) for address in found if address is not None)


def _mode(given: dict[str, str]) -> MacvlanMode:
    text = given.get(MODE, "") or MacvlanMode.BRIDGE
    try:
        return MacvlanMode(text)
    except ValueError:
        raise BadRequest(f"option {MODE} cannot be {text}: bridge and private are supported") from None


def _mtu(network: Network) -> int:
    return options.mtu(network.options) or network.mtu or options.ORDINARY_MTU
