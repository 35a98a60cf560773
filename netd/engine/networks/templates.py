"""Config-only networks: templates that others are made by.  Pure."""

from __future__ import annotations

from msgspec.structs import replace

from netd.common.errors import Forbidden, NotFound
from netd.engine.state.state import State
from netd.model import Network, NetworkSpec

DRIVER = "null"
"""What templates show as theirs."""


def applied(state: State, asked: NetworkSpec) -> NetworkSpec:
    """Return what is asked for with what its template says; labels of its own win.  Raises NotFound."""
    if not asked.config_from:
        return asked
    found = state.network_by_name(asked.config_from)
    if found is None or found.template is None:
        raise NotFound(f'configuration network "{asked.config_from}" does not exist')
    template = found.template
    return replace(
        asked,
        ipv4=template.ipv4,
        ipv6=template.ipv6,
        pools=template.pools,
        ipam_driver=template.ipam_driver,
        ipam_options=template.ipam_options,
        options=template.options,
        labels={**template.labels, **asked.labels},
    )


def check_joinable(network: Network) -> None:
    """Raise Forbidden for what is no network but a template."""
    if network.template is not None:
        raise Forbidden("cannot create endpoint on configuration-only network")


def check_unused(state: State, network: Network) -> None:
    """Raise Forbidden for a template that networks follow."""
    users = [one.name for one in state.networks if one.config_from == network.name]
    if network.template is not None and users:
        raise Forbidden(
            f'error while removing network: configuration network "{network.name}" is in use'
            f" by {', '.join(users)}; remove these first"
        )
