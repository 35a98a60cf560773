"""The keys of ``--filter`` of each verb, with the kind of completion of each key's values.  Pure data.

A kind is that of ``Flag.values``.  The keys are those of the daemons' calls, which a test compares.
"""

from __future__ import annotations

from netd.cli.parse.flags import Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_BOOLEAN = "words:true false"
_PRUNE = {"label": "", "label!": "", "until": ""}

CONTAINERS = {
    "ancestor": "image",
    "annotation": "",
    "before": "container",
    "exited": "",
    "expose": "",
    "health": "words:none starting healthy unhealthy",
    "id": "",
    "is-task": _BOOLEAN,
    "isolation": "words:default",
    "label": "",
    "name": "container",
    "network": "network",
    "publish": "",
    "since": "container",
    "status": "words:created restarting running removing paused exited dead",
    "volume": "volume",
}
CONTAINER_PRUNE = _PRUNE
IMAGES = {
    "before": "image",
    "dangling": _BOOLEAN,
    "label": "",
    "reference": "image",
    "since": "image",
    "until": "",
}
IMAGE_PRUNE = {"dangling": _BOOLEAN, **_PRUNE}
NETWORKS = {
    "dangling": _BOOLEAN,
    "driver": "network-driver",
    "id": "",
    "label": "",
    "name": "network",
    "scope": "words:local",
    "type": "words:builtin custom",
}
NETWORK_PRUNE = _PRUNE
VOLUMES = {"dangling": _BOOLEAN, "driver": "words:local", "label": "", "label!": "", "name": "volume"}
VOLUME_PRUNE = {"all": _BOOLEAN, "label": "", "label!": ""}
SEARCH = {"is-automated": _BOOLEAN, "is-official": _BOOLEAN, "stars": ""}
BUILD_CACHE = {
    "all": _BOOLEAN,
    "description": "",
    "id": "",
    "inuse": _BOOLEAN,
    "private": _BOOLEAN,
    "shared": _BOOLEAN,
    "type": "",
    "until": "",
    "unused-for": "",
}
SYSTEM_PRUNE = _PRUNE
EVENTS = {
    "container": "container",
    "daemon": "",
    "event": (
        "words:attach build commit connect copy create delete destroy detach die disconnect exec_create exec_detach"
        " exec_die exec_start export health_status import kill load mount oom pause prune pull push reload remove"
        " rename resize restart save start stop tag top unmount unpause untag update"
    ),
    "image": "image",
    "label": "",
    "network": "network",
    "node": "",
    "plugin": "",
    "scope": "words:local swarm",
    "service": "",
    "type": "words:builder container daemon image network volume",
    "volume": "volume",
}


def filter_flag(keys: Mapping[str, str], *, short: str = "f", what: str = "Filter the list") -> Flag:
    """Return the flag ``--filter`` with the known *keys*; *what* begins the help text."""
    return Flag("filter", short, f"{what}: {', '.join(keys)}", "KEY=VALUE", kind="many", keys=keys)
