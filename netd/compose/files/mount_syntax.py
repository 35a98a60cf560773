"""The short forms of volumes, devices, ports, secrets and configs as mappings.  Pure.

Functions raise ValueError with the reason; the caller adds the path.
"""

from __future__ import annotations

import posixpath
from typing import Any

Json = dict[str, Any]

_PROPAGATION = ("rprivate", "private", "rshared", "shared", "rslave", "slave")


def volume(text: str) -> Json:
    """Return the long form of ``[SOURCE:]TARGET[:OPTIONS]``.

    A source that begins with ``.``, ``/`` or ``~`` is a path, whose folder is created if it does not exist; other
    sources are names of volumes; without a source the volume is anonymous.
    """
    parts = text.split(":")
    if not all(parts):
        raise ValueError(f"invalid spec: {text}: empty section between colons")
    if len(parts) > 3:
        raise ValueError(f"invalid spec: {text}: too many colons")
    if len(parts) == 1:
        return {"type": "volume", "target": posixpath.normpath(text), "volume": {}}
    source, target = parts[0], posixpath.normpath(parts[1])
    found: Json = {"source": source, "target": target}
    options = _volume_options(parts[2] if len(parts) == 3 else "")
    if options.pop("read_only", False):
        found["read_only"] = True
    if is_path(source):
        return {"type": "bind", **found, "bind": {**options.get("bind", {}), "create_host_path": True}}
    bind = {"bind": options["bind"]} if "bind" in options else {}
    return {"type": "volume", **found, **bind, "volume": options.get("volume", {})}


def is_path(source: str) -> bool:
    return source[:1] in (".", "/", "~")


def _volume_options(text: str) -> Json:
    found: Json = {}
    for option in text.split(","):
        if option in ("ro", "rw"):
            found["read_only"] = option == "ro"
        elif option == "nocopy":
            found["volume"] = {"nocopy": True}
        elif option in _PROPAGATION:
            found.setdefault("bind", {})["propagation"] = option
        elif option in ("z", "Z"):
            found.setdefault("bind", {})["selinux"] = option
    return found


def device(text: str) -> Json:
    """Return the long form of ``SOURCE[:TARGET[:PERMISSIONS]]``."""
    parts = text.split(":")
    if len(parts) > 3 or not parts[0]:
        raise ValueError(f"confusing device mapping, please use long syntax: {text}")
    return {
        "source": parts[0],
        "target": parts[1] if len(parts) > 1 else parts[0],
        "permissions": parts[2] if len(parts) > 2 else "rwm",
    }


def ports(text: str) -> list[Json]:
    """Return the long forms of ``[[ADDRESS:]PUBLISHED:]TARGET[/PROTOCOL]``, one for each target."""
    from netd.cli.parse.port_flags import publish

    if "=" in text:
        raise ValueError(f"invalid port {text!r}: use [[ADDRESS:]PUBLISHED:]TARGET[/PROTOCOL]")
    found: list[Json] = []
    for key, binding in sorted(publish(text), key=lambda pair: pair[0]):
        target, _, protocol = key.partition("/")
        first, dash, last = target.partition("-")
        start = binding["HostPort"].partition("-")[0]
        for number in range(int(first), int(last or first) + 1):
            port: Json = {"mode": "ingress", "target": number, "protocol": protocol}
            if start:
                # A range of one port may be published on any port of a longer range.
                port["published"] = str(int(start) + number - int(first)) if dash else binding["HostPort"]
            if binding["HostIp"]:
                port["host_ip"] = binding["HostIp"]
            found.append(port)
    return found
