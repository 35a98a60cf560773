"""Config-only networks: templates for other networks.  Pure."""

from __future__ import annotations

from msgspec.structs import replace

from netd.common.errors import Forbidden, NotFound
from netd.engine.state.state import State
from netd.model import Network, NetworkSpec

DRIVER = "null"
"""The driver that Docker shows for config-only networks."""


def applied(state: State, requested: NetworkSpec) -> NetworkSpec:
    """Return the request completed by its template; labels of the request take precedence.  Raises NotFound."""
    if not requested.config_from:
        return requested
    found = state.network_by_name(requested.config_from)
    if found is None or found.template is None:
        raise NotFound(f'configuration network "{requested.config_from}" does not exist')
    template = found.template
    return replace(
        requested,
        ipv4=template.ipv4,
        ipv6=template.ipv6,
        pools=template.pools,
        ipam_driver=template.ipam_driver,
        ipam_options=template.ipam_options,
        options=template.options,
        labels={**template.labels, **requested.labels},
    )


def check_joinable(network: Network) -> None:
    """Raise Forbidden for a config-only network."""
    if network.template is not None:
        raise Forbidden("cannot create endpoint on configuration-only network")


def check_unused(state: State, network: Network) -> None:
    """Raise Forbidden for a config-only network from which networks were created."""
    users = [other.name for other in state.networks if other.config_from == network.name]
    if network.template is not None and users:
        raise Forbidden(
            f'error while removing network: configuration network "{network.name}" is in use'
            f" by {', '.join(users)}; remove these first"
        )
