"""Generates requests with type confusion: valid ones with a replaced value, key, path segment, query or header."""

from __future__ import annotations

import copy
import importlib
import json
import pkgutil
import random
from urllib.parse import quote

DEEP = "@deep@"
"""A placeholder for an array nested a few thousand times, which no encoder can write."""
VALUES = [
    None, True, False, 0, -1, 1, 65536, 2**31, 2**63, 2**64, -(2**63) - 1, 1.5, -0.0, 1e308, "", " ", "\0", "a\nb",
    "é", "\ud800", "x" * 5000, "-1", "0", "1e9", "٣", "../..", "a/b", "*", "null", "10.0.0.0/8", "::/0", "300.1.1.1/33",
    "[", "sha256:", ":", "=", ",", "80/tcp", "99999/udp", "65536-1/tcp", [], [None], [[]], ["a", 1], {}, {"": ""},
    {"a": None}, {"a": {"b": []}}, DEEP, {"a": DEEP}, "/" + "x" * 300, "/x" * 3000,
]  # fmt: skip
PARTS = [
    "absent", "bridge", "none", "busybox:latest", "..", ".", "%2e%2e%2f", "%00", "%ff", "a" * 4000, "é", "a%0ab", "a/b",
    "sha256:" + "0" * 64, "-", "*", "?", "[", "%25s", "{}", "//", "%",
]  # fmt: skip
_KEYS = (
    "all limit size filters stream stdout stderr stdin follow tail since until timestamps t signal force "
    "v link name platform h w condition detachKeys logs ps_args fromSrc fromImage repo tag message "
    "changes dangling noprune verbose scope one-shot type before filter "
)
KEYS = _KEYS.split()
_FILTERS = "id name label status type driver dangling until volume network before since scope health ancestor event "
FILTERS = _FILTERS.split()
HEADERS = [
    {}, {}, {}, {"X-Registry-Auth": "x" * 3000}, {"Content-Type": "text/plain"},
    {"Content-Type": "application/json; x"}, {"Content-Type": "\\x00"}, {"Content-Encoding": "gzip"},
    {"Content-Encoding": "deflate"}, {"Content-Encoding": "br"},
    {"Upgrade": "tcp", "Connection": "Upgrade"}, {"Upgrade": "websocket", "Connection": "Upgrade"},
    {"Expect": "100-continue"}, {"Expect": "x"}, {"Accept-Encoding": "gzip;q=x"}, {"Host": ""}, {"Range": "bytes=9-1"},
]  # fmt: skip

_ENDPOINT = {
    "IPAMConfig": {"IPv4Address": "10.77.0.9", "IPv6Address": "", "LinkLocalIPs": []},
    "Aliases": ["a"],
    "Links": ["a:b"],
    "MacAddress": "02:42:00:00:00:01",
    "DriverOpts": {"com.docker.network.endpoint.ifname": "eth5"},
    "GwPriority": 1,
}
_HOST = {
    "NetworkMode": "none", "Binds": ["v3:/b"], "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "0"}]},
    "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "AutoRemove": False, "Memory": 1 << 26, "NanoCpus": 10**9,
    "CapAdd": ["NET_ADMIN"], "CapDrop": ["ALL"], "Dns": ["10.0.0.1"], "DnsSearch": ["x"], "DnsOptions": ["ndots:1"],
    "ExtraHosts": ["a:10.0.0.1"], "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}}, "Mounts": [
        {"Type": "volume", "Source": "v", "Target": "/v", "ReadOnly": True, "VolumeOptions": {"NoCopy": True}},
        {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 65536, "Mode": 511}},
    ], "Tmpfs": {"/u": "size=64k"}, "Sysctls": {"net.ipv4.ip_forward": "1"}, "Ulimits": [
        {"Name": "nofile", "Soft": 10, "Hard": 20}
    ], "ShmSize": 65536, "PidsLimit": 10, "GroupAdd": ["1"], "Devices": [], "SecurityOpt": ["no-new-privileges"],
    "VolumesFrom": [], "Links": [], "CpusetCpus": "0", "Init": True, "ConsoleSize": [1, 2], "Annotations": {"a": "b"},
    "ReadonlyPaths": [], "MaskedPaths": [], "IpcMode": "private", "UsernsMode": "", "BlkioWeight": 0,
}  # fmt: skip
_CREATE = {
    "Image": "busybox:latest", "Cmd": ["true"], "Entrypoint": [], "Env": ["A=b"], "Labels": {"a": "b"}, "Tty": False,
    "OpenStdin": False, "User": "0", "WorkingDir": "/", "Hostname": "h", "Domainname": "d", "StopSignal": "TERM",
    "StopTimeout": 1, "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/w": {}}, "Shell": ["/bin/sh", "-c"],
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 10**9, "Timeout": 10**9, "Retries": 1, "StartPeriod": 0},
    "HostConfig": _HOST, "NetworkingConfig": {"EndpointsConfig": {"bridge": _ENDPOINT}},
}  # fmt: skip
_NETWORK = {
    "Name": "n", "Driver": "bridge", "Internal": False, "Attachable": True, "EnableIPv4": True, "EnableIPv6": False,
    "Options": {"com.docker.network.driver.mtu": "1400"}, "Labels": {"a": "b"}, "Scope": "local", "ConfigOnly": False,
    "ConfigFrom": {"Network": ""}, "IPAM": {"Driver": "default", "Options": {}, "Config": [
        {"Subnet": "10.77.0.0/24", "IPRange": "10.77.0.0/25", "Gateway": "10.77.0.1",
         "AuxiliaryAddresses": {"a": "10.77.0.3"}}
    ]},
}  # fmt: skip
BODIES = {
    "/containers/create": _CREATE,
    "/networks/create": _NETWORK,
    "/connect": {"Container": "absent", "EndpointConfig": _ENDPOINT},
    "/disconnect": {"Container": "absent", "Force": True},
    "/volumes/create": {"Name": "v2", "Driver": "local", "DriverOpts": {"type": "tmpfs"}, "Labels": {"a": "b"}},
    "/exec": {
        "Cmd": ["true"], "AttachStdin": False, "AttachStdout": True, "Env": ["A=b"], "User": "0", "WorkingDir": "/",
        "Tty": False, "Privileged": False, "DetachKeys": "ctrl-p", "ConsoleSize": [1, 2],
    },
    "/start": {"Detach": True, "Tty": False, "ConsoleSize": [1, 2]},
    "/ports": {"ports": [{"port": 80, "protocol": "tcp", "host_ip": "", "host_port": 0}]},
    "/sandboxes": {
        "id": "0" * 64, "name": "s", "netns": "", "hostname": "h", "labels": {}, "networks": [], "ports": [],
        "endpoints": {"bridge": {}},
    },
    "/rename": {"name": "x"},
    "/reservations/{id}": {"networks": {"bridge": {"IPAMConfig": {"IPv4Address": "172.17.0.9"}}}},
}  # fmt: skip


class _Anything:
    def __getattr__(self, name: str) -> _Anything:
        return self

    def __call__(self, *words: object) -> None:
        return None


def routes(package: str) -> list[tuple[str, str]]:
    """Return (method, pattern) of every route that a class or function of the modules of *package* declares."""
    found = []
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        module = importlib.import_module(f"{package}.{info.name}")
        kinds = [
            kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == module.__name__
        ]
        tables = [kind.routes(_Anything()) for kind in kinds if isinstance(kind, type) and hasattr(kind, "routes")]
        if callable(getattr(module, "routes", None)):
            tables.append(module.routes())
        found += [(route.method, route.pattern) for table in tables for route in table]
    return found


class Maker:
    """Generates requests for the routes; a seed determines the sequence."""

    def __init__(self, seed: int, names: list[str]) -> None:
        self._random = random.Random(seed)
        self._names = names

    def request(self, method: str, pattern: str) -> bytes:
        body = self._body(pattern) if method in ("POST", "PUT") and self._random.random() < 0.8 else b""
        headers = {"Host": "d", "Content-Type": "application/json", **self._random.choice(HEADERS)}
        headers["Content-Length"] = str(len(body))
        lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        return f"{method} {self._path(pattern)}{self._query()} HTTP/1.1\r\n{lines}\r\n".encode() + body

    def _path(self, pattern: str) -> str:
        for part in ("{name:path}", "{name}", "{id}"):
            if part in pattern:
                known = self._random.random() < 0.6
                word = self._random.choice(self._names) if known else self._random.choice(PARTS)
                pattern = pattern.replace(part, word if known or "%" in word else quote(word))
        return self._random.choice(("", "/v1.47", "/v1.40", "/v9.9")) + pattern

    def _query(self) -> str:
        count = self._random.choice((0, 0, 1, 2, 4))
        pairs = [f"{key}={self._query_value(key)}" for key in self._random.sample(KEYS, count)]
        return f"?{'&'.join(pairs)}" if pairs else ""

    def _query_value(self, key: str) -> str:
        value = self._random.choice(VALUES)
        if key == "filters" and self._random.random() < 0.9:
            name = self._random.choice(FILTERS)
            value = {name: self._random.choice((value, [value], {"x": value}, {str(value)[:50]: True}))}
        text = value if isinstance(value, str) else _encoded(value)
        return quote(text.encode("utf-8", "surrogatepass"))[:7000]

    def _body(self, pattern: str) -> bytes:
        seed = next((body for end, body in BODIES.items() if pattern.endswith(end)), {"a": 1})
        body = copy.deepcopy(seed)
        chance = self._random.random()
        if chance < 0.05:
            body = self._random.choice(VALUES)
        elif chance > 0.1:
            for _ in range(self._random.choice((1, 1, 1, 2, 3))):
                self._confuse(body)
        data = _encoded(body).encode()
        if self._random.random() < 0.04:
            data = self._random.choice((data[:-1], data + b"}", b"\xff" + data, b"[" * 100_000, data[: len(data) // 2]))
        return data

    def _confuse(self, body: object) -> None:
        """Replace one value or key anywhere in *body*."""
        places = list(_places(body))
        if not places:
            return
        holder, key = self._random.choice(places)
        value = copy.deepcopy(self._random.choice(VALUES))
        if isinstance(holder, dict) and self._random.random() < 0.15:
            holder[str(value)[:300]] = holder.pop(key)
        else:
            holder[key] = value


def _encoded(value: object) -> str:
    return json.dumps(value).replace(f'"{DEEP}"', "[" * 3000 + "]" * 3000)


def _places(value: object, depth: int = 0):
    if depth > 8:
        return
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key], depth + 1)
