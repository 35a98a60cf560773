"""Responses recorded from Docker 28.5.2 (API 1.51), without fields that no test reads."""

from __future__ import annotations

ID = "8285dcf41249dd175856b47bb2bccd4a0d05181f1ff7c24793d4c48d6845fbf2"
OTHER = "474b52427186ae175e0cf60160784f131050cf2a8d03fff0bdea23da3c888e2e"
IMAGE = "sha256:304f3d1631960b701ef498f05b8ae83d07d1986b0e6577eabe888cea6af6de96"


def network(name: str, id: str, driver: str = "bridge") -> dict:
    return {
        "Name": name,
        "Id": id,
        "Created": "2026-11-23T23:02:52.536607808Z",
        "Scope": "local",
        "Driver": driver,
        "EnableIPv4": True,
        "EnableIPv6": False,
        "IPAM": {
            "Driver": "default",
            "Options": None,
            "Config": [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}],
        },
        "Internal": False,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {},
        "Options": {},
        "Labels": {},
    }


NETWORKS = [
    network("none", "5774b712ce97a790889515ea6ec571570134c13d84aeb61e482c9b8f6e8e3ae4", "null"),
    network("host", "f88201f012f61e472fe165bb8f72bb299d30a2badf9c33bfc356922afff7c2a8", "host"),
    network("bridge", "260e5b67d9f2e1fbb06425cb733b5137c30303e1d114d778e4dfa6dd8e5ca33a"),
]


def port(private: int, public: int | None = None, ip: str = "", kind: str = "tcp") -> dict:
    found = {"PrivatePort": private, "Type": kind}
    if public:
        found["PublicPort"] = public
    if ip:
        found["IP"] = ip
    return found


def listed(name: str, id: str = ID, **more: object) -> dict:
    return {
        "Id": id,
        "Names": [f"/{name}"],
        "Image": "busybox",
        "ImageID": IMAGE,
        "Command": "sh -c 'i=0; while :; do echo line; done'",
        "Created": 0,
        "Ports": [],
        "Labels": {},
        "State": "running",
        "Status": "Up 2 minutes",
        "HostConfig": {"NetworkMode": "bridge"},
        "NetworkSettings": {"Networks": {}},
        "Mounts": [],
        **more,
    }


def inspected(*, tty: bool = False, stdin: bool = False, running: bool = True, removed: bool = False) -> dict:
    return {
        "Id": ID,
        "Name": "/web",
        "State": {"Status": "running" if running else "exited", "Running": running, "Paused": False},
        "Config": {"Tty": tty, "OpenStdin": stdin},
        "HostConfig": {"AutoRemove": removed},
        "NetworkSettings": {
            "Ports": {
                "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
                "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "32768"}],
                "7777/tcp": None,
            }
        },
    }


STATS = {
    "id": ID,
    "name": "/web",
    "cpu_stats": {"cpu_usage": {"total_usage": 300}, "system_cpu_usage": 2000, "online_cpus": 2},
    "precpu_stats": {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000, "online_cpus": 2},
    "memory_stats": {"usage": 3 << 20, "limit": 100 << 20, "stats": {"inactive_file": 1 << 20}},
    "networks": {"eth0": {"rx_bytes": 1000, "tx_bytes": 200}, "eth1": {"rx_bytes": 990, "tx_bytes": 52}},
    "blkio_stats": {"io_service_bytes_recursive": [{"op": "Read", "value": 5000}, {"op": "Write", "value": 7}]},
    "pids_stats": {"current": 2},
}

IMAGES = [
    {
        "Id": IMAGE,
        "RepoTags": ["busybox:latest", "localhost:5000/x/bb:t"],
        "RepoDigests": [],
        "Created": 0,
        "Size": 1983000,
    },
    {"Id": "sha256:" + "ab" * 32, "RepoTags": [], "RepoDigests": [], "Created": 0, "Size": 5},
]

EVENTS = (
    b'{"status":"kill","id":"474b","Type":"container","Action":"kill","Actor":{"ID":"474b52427186","Attributes":'
    b'{"signal":"9","name":"w3","image":"busybox"}},"scope":"local","time":1795475114,"timeNano":1795475114072225069}\n'
    b'{"Type":"network","Action":"create","Actor":{"ID":"f04c","Attributes":{"name":"n\\u001b[2J","type":"bridge"}},'
    b'"scope":"local","time":1795475115,"timeNano":1795475115000000001}\n'
)
