"""What ``-p`` and ``--expose`` take, and what it means in the words of the API.

Pure.  The grammar is Docker's: ``[address:][host port[-end]:]port[-end][/protocol]``, or
``target=…,published=…,protocol=…,host_ip=…,allow=…``.  A ValueError's text is the reason to show, in Docker's words.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    Json = dict[str, Any]

_PROTOCOLS = ("tcp", "udp", "sctp")
_LONG = 256


def publish(word: str, allow: Sequence[str] = ()) -> list[tuple[str, Json]]:
    """Return the keys and bindings of ``PortBindings`` for one ``-p``; only *allow* may come, if anybody is named."""
    own: list[str] = []
    if "=" in word:
        address, host, target, protocol = _long(word, own)
    else:
        rest, protocol = _protocol(word)
        address, host, target = _split(rest)
    if not target:
        raise ValueError(f"no port specified: {word}<empty>")
    address, allowed = _address(address), own or list(allow)
    more: Json = {"Allow": allowed} if allowed else {}
    return [
        (f"{port}/{protocol}", {"HostIp": address, "HostPort": given, **more}) for port, given in _pair(host, target)
    ]


def bindings(found: Iterable[tuple[str, Json]]) -> dict[str, list[Json]]:
    """Put what several ``-p`` mean together; what is said twice counts once."""
    whole: dict[str, list[Json]] = {}
    for port, binding in found:
        taken = whole.setdefault(port, [])
        if binding not in taken:
            taken.append(binding)
    return whole


def expose(word: str) -> list[str]:
    """Return the keys of ``ExposedPorts`` for one ``--expose``: ``80``, ``80-82/udp``."""
    ports, protocol = _protocol(word)
    first, last = _range(ports, "port")
    if last - first >= _LONG:
        return [f"{first}-{last}/{protocol}"]
    return [f"{port}/{protocol}" for port in range(first, last + 1)]


def _long(word: str, allow: list[str]) -> tuple[str, str, str, str]:
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


def _split(word: str) -> tuple[str, str, str]:
    """Return address, host ports and container ports; only an address may hold colons."""
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


def _pair(host: str, target: str) -> list[tuple[str, str]]:
    """Return each container port with its host port, which is "" for any and ``8000-8010`` for one of a range.

    Long ranges stay ranges on both sides: the daemon reads them as pairs, and thousands cost as much as one.
    """
    first, last = _range(target, "containerPort")
    if not host:
        return [(str(port), "") for port in range(first, last + 1)]
    low, high = _range(host, "hostPort", least=0)
    if first == last:
        return [(str(first), host if low != high else str(low))]
    if high - low != last - first:
        raise ValueError(f"invalid ranges specified for container and host Ports: {target} and {host}")
    if last - first >= _LONG:
        return [(target, host)]
    return [(str(port), str(low + port - first)) for port in range(first, last + 1)]


def _range(text: str, what: str, least: int = 1) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    low, high = _number(first, text, what), _number(last if dash else first, text, what)
    if not least <= low <= high:
        raise ValueError(f"invalid {what}: {text}")
    return low, high


def _number(text: str, whole: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise ValueError(f"invalid {what}: {whole}")
    return int(text)
