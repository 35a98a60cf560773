"""Bodies of the requests that create a project's networks and volumes.  Pure."""

from __future__ import annotations

from netd.compose import project_names as names
from netd.compose.config_hash import network_hash, volume_hash
from netd.compose.model import ComposeProject, Json


def network_body(project: ComposeProject, key: str) -> Json:
    network = project.networks[key]
    body: Json = {
        "Name": network.name,
        "Driver": network.driver,
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Options": network.driver_opts or None,
        "Labels": {
            **network.labels,
            **names.project_label(project),
            names.NETWORK: key,
            names.CONFIG_HASH: network_hash(network),
        },
    }
    if network.ipam.driver or network.ipam.config:
        pools = [
            _filled({
                "Subnet": pool.subnet,
                "IPRange": pool.ip_range,
                "Gateway": pool.gateway,
                "AuxiliaryAddresses": pool.aux_addresses,
            })
            for pool in network.ipam.config
        ]  # fmt: skip
        body["IPAM"] = {"Driver": network.ipam.driver, "Config": pools, "Options": network.ipam.options or None}
    for field, wanted in (("EnableIPv4", network.enable_ipv4), ("EnableIPv6", network.enable_ipv6)):
        if wanted is not None:
            body[field] = wanted
    return body


def volume_body(project: ComposeProject, key: str) -> Json:
    volume = project.volumes[key]
    return {
        "Name": volume.name,
        "Driver": volume.driver,
        "DriverOpts": volume.driver_opts or None,
        "Labels": {
            **volume.labels,
            **names.project_label(project),
            names.VOLUME: key,
            names.CONFIG_HASH: volume_hash(volume),
        },
    }


def _filled(fields: Json) -> Json:
    return {name: value for name, value in fields.items() if value}
