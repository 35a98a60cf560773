"""Hashes of services, networks and volumes, equal to those of Docker's compose (``pkg/compose/hash.go``).  Pure.

They are labels of what compose creates; an object with another hash has another configuration.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec

from netd.compose.model import Canonical, ComposeService, ProjectNetwork, ProjectVolume, encode


def service_hash(service: ComposeService) -> str:
    """Return the hash of all that requires a new container; references to other services must be resolved."""
    deploy = service.deploy
    if deploy is not None:
        deploy = msgspec.structs.replace(deploy, replicas=None)
    return _digest(
        msgspec.structs.replace(
            service, build=None, pull_policy="", scale=None, deploy=deploy, depends_on={}, profiles=[]
        )
    )


def network_hash(network: ProjectNetwork) -> str:
    return _digest(network)


def volume_hash(volume: ProjectVolume) -> str:
    return _digest(msgspec.structs.replace(volume, driver=volume.driver or "local"))


def _digest(value: Canonical) -> str:
    return sha256(encode(value)).hexdigest()
