"""Conversion of ``-p`` and ``--expose`` into ``PortBindings`` and ``ExposedPorts``.

Pure.  The grammar is Docker's: ``[address:][host port[-end]:]port[-end][/protocol]``, or
``target=…,published=…,protocol=…,host_ip=…,allow=…``.  Functions raise ValueError with the
reason to show, in Docker's words.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    Json = dict[str, Any]

_PROTOCOLS = ("tcp", "udp", "sctp")
_LONG_RANGE = 256


def publish(word: str, allow: Sequence[str] = ()) -> list[tuple[str, Json]]:
    """Return keys and bindings of ``PortBindings`` for one ``-p``; *allow* lists the permitted client networks."""
    own: list[str] = []
    if "=" in word:
        address, host, target, protocol = _parse_long_form(word, own)
    else:
        rest, protocol = _protocol(word)
        address, host, target = _split_addresses(rest)
    if not target:
        raise ValueError(f"no port specified: {word}<empty>")
    address, allowed = _address(address), own or list(allow)
    extra: Json = {"Allow": allowed} if allowed else {}
    return [
        (f"{port}/{protocol}", {"HostIp": address, "HostPort": given, **extra})
        for port, given in _port_pairs(host, target)
    ]


def bindings(found: Iterable[tuple[str, Json]]) -> dict[str, list[Json]]:
    """Merge the bindings of several ``-p`` and drop duplicates."""
    merged: dict[str, list[Json]] = {}
    for port, binding in found:
        same_port = merged.setdefault(port, [])
        if binding not in same_port:
            same_port.append(binding)
    return merged


def expose(word: str) -> list[str]:
    """Return the keys of ``ExposedPorts`` for one ``--expose``: ``80``, ``80-82/udp``."""
    ports, protocol = _protocol(word)
    first, last = _range(ports, "port")
    if last - first >= _LONG_RANGE:
        return [f"{first}-{last}/{protocol}"]
    return [f"{port}/{protocol}" for port in range(first, last + 1)]


def _parse_long_form(word: str, allow: list[str]) -> tuple[str, str, str, str]:
    fields = {"protocol": "tcp", "published": "", "target": "", "host_ip": ""}
    for part in word.split(","):
        key, equals, value = part.partition("=")
        if not equals or key not in (*fields, "mode", "allow"):
            raise ValueError(f"invalid field: {part}")
        if key == "allow":
            allow.append(value)
        else:
            fields[key] = value.lower()
    if not fields["target"]:
        raise ValueError("target is required, such as target=80,published=8080")
    _protocol(f"/{fields['protocol']}")
    return fields["host_ip"], fields["published"], fields["target"], fields["protocol"]


def _protocol(word: str) -> tuple[str, str]:
    ports, _, protocol = word.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        raise ValueError(f"invalid proto: {protocol}")
    return ports, protocol


def _split_addresses(word: str) -> tuple[str, str, str]:
    """Return address, host ports and container ports; only the address may contain colons."""
    rest, _, target = word.rpartition(":")
    address, _, host = rest.rpartition(":")
    return address, host, target


def _address(text: str) -> str:
    if not text:
        return ""
    from ipaddress import ip_address

    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        ip_address(bare)
    except ValueError:
        raise ValueError(f"invalid IP address: {bare}") from None
    return bare


def _port_pairs(host: str, target: str) -> list[tuple[str, str]]:
    """Return each container port with its host port: "" for any port, ``8000-8010`` for any port of a range.

    Ranges of 256 ports or more are returned as one pair of ranges, which costs the daemon as much as a single port.
    """
    first, last = _range(target, "containerPort")
    if not host:
        return [(str(port), "") for port in range(first, last + 1)]
    low, high = _range(host, "hostPort", minimum=0)
    if first == last:
        return [(str(first), host if low != high else str(low))]
    if high - low != last - first:
        raise ValueError(f"invalid ranges specified for container and host Ports: {target} and {host}")
    if last - first >= _LONG_RANGE:
        return [(target, host)]
    return [(str(port), str(low + port - first)) for port in range(first, last + 1)]


def _range(text: str, what: str, minimum: int = 1) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    low, high = _number(first, text, what), _number(last if dash else first, text, what)
    if not minimum <= low <= high:
        raise ValueError(f"invalid {what}: {text}")
    return low, high


def _number(text: str, whole: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise ValueError(f"invalid {what}: {whole}")
    return int(text)
