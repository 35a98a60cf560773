"""Options of ``HostConfig``, each alone: valid values, bounds, wrong values and wrong types."""

from __future__ import annotations

from typing import Any

from tests.differential.recorder import IMAGE, PREFIX, Recorder

MIB = 1 << 20
_NULL = "/dev/null"

_PLAIN: dict[str, dict[str, Any]] = {
    "ContainerIDFile": {"ContainerIDFile": "/tmp/cid"},
    "LogConfig json-file": {"LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "3"}}},
    "LogConfig none": {"LogConfig": {"Type": "none"}},
    "LogConfig unknown driver": {"LogConfig": {"Type": "nosuch"}},
    "LogConfig unknown option": {"LogConfig": {"Type": "json-file", "Config": {"nosuch": "1"}}},
    "LogConfig max-size invalid": {"LogConfig": {"Type": "json-file", "Config": {"max-size": "x"}}},
    "LogConfig max-size 0": {"LogConfig": {"Type": "json-file", "Config": {"max-size": "0"}}},
    "LogConfig max-size negative": {"LogConfig": {"Type": "json-file", "Config": {"max-size": "-2"}}},
    "LogConfig max-file 0": {"LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "0"}}},
    "LogConfig max-file invalid": {"LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "x"}}},
    "LogConfig compress": {"LogConfig": {"Type": "json-file", "Config": {"compress": "true"}}},
    "LogConfig mode non-blocking": {"LogConfig": {"Type": "json-file", "Config": {"mode": "non-blocking"}}},
    "LogConfig mode invalid": {"LogConfig": {"Type": "json-file", "Config": {"mode": "x"}}},
    "LogConfig max-buffer-size alone": {"LogConfig": {"Type": "json-file", "Config": {"max-buffer-size": "1m"}}},
    "RestartPolicy always": {"RestartPolicy": {"Name": "always"}},
    "RestartPolicy unless-stopped": {"RestartPolicy": {"Name": "unless-stopped"}},
    "RestartPolicy on-failure": {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}},
    "RestartPolicy no": {"RestartPolicy": {"Name": "no"}},
    "RestartPolicy unknown": {"RestartPolicy": {"Name": "nosuch"}},
    "RestartPolicy always with a count": {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 1}},
    "RestartPolicy negative count": {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": -1}},
    "RestartPolicy count without a name": {"RestartPolicy": {"MaximumRetryCount": 1}},
    "AutoRemove with RestartPolicy": {"AutoRemove": True, "RestartPolicy": {"Name": "always"}},
    "AutoRemove": {"AutoRemove": True},
    "VolumeDriver local": {"VolumeDriver": "local"},
    "VolumesFrom a container that is not there": {"VolumesFrom": ["nosuch"]},
    "VolumesFrom invalid mode": {"VolumesFrom": ["nosuch:x"]},
    "VolumesFrom empty": {"VolumesFrom": [""]},
    "ConsoleSize": {"ConsoleSize": [24, 80]},
    "Annotations": {"Annotations": {"a": "b"}},
    "Annotations empty name": {"Annotations": {"": "b"}},
    "Dns": {"Dns": ["192.0.2.1"]},
    "Dns invalid": {"Dns": ["nosuch"]},
    "DnsOptions": {"DnsOptions": ["ndots:2"]},
    "DnsSearch": {"DnsSearch": ["example.com"]},
    "DnsSearch invalid": {"DnsSearch": ["a b"]},
    "ExtraHosts": {"ExtraHosts": ["a:192.0.2.1", "b:::1", "c:host-gateway"]},
    "ExtraHosts without an address": {"ExtraHosts": ["a"]},
    "ExtraHosts invalid address": {"ExtraHosts": ["a:nosuch"]},
    "GroupAdd": {"GroupAdd": ["user", "5"]},
    "OomScoreAdj": {"OomScoreAdj": 500},
    "OomScoreAdj 1001": {"OomScoreAdj": 1001},
    "OomScoreAdj -1001": {"OomScoreAdj": -1001},
    "PidMode host": {"PidMode": "host"},
    "PidMode unknown": {"PidMode": "nosuch"},
    "PidMode container that is not there": {"PidMode": "container:nosuch"},
    "PidMode container without a name": {"PidMode": "container:"},
    "IpcMode host": {"IpcMode": "host"},
    "IpcMode none": {"IpcMode": "none"},
    "IpcMode shareable": {"IpcMode": "shareable"},
    "IpcMode private": {"IpcMode": "private"},
    "IpcMode unknown": {"IpcMode": "nosuch"},
    "IpcMode container that is not there": {"IpcMode": "container:nosuch"},
    "UTSMode host": {"UTSMode": "host"},
    "UTSMode unknown": {"UTSMode": "nosuch"},
    "UsernsMode host": {"UsernsMode": "host"},
    "UsernsMode unknown": {"UsernsMode": "nosuch"},
    "CgroupnsMode host": {"CgroupnsMode": "host"},
    "CgroupnsMode private": {"CgroupnsMode": "private"},
    "CgroupnsMode unknown": {"CgroupnsMode": "nosuch"},
    "PublishAllPorts": {"PublishAllPorts": True},
    "ReadonlyRootfs": {"ReadonlyRootfs": True},
    "ShmSize": {"ShmSize": MIB},
    "ShmSize negative": {"ShmSize": -1},
    "Sysctls": {"Sysctls": {"net.ipv4.ip_forward": "0"}},
    "Sysctls not namespaced": {"Sysctls": {"kernel.nosuch": "1"}},
    "Sysctls vm": {"Sysctls": {"vm.swappiness": "1"}},
    "Sysctls of the host network": {"NetworkMode": "host", "Sysctls": {"net.ipv4.ip_forward": "0"}},
    "Runtime runc": {"Runtime": "runc"},
    "Runtime unknown": {"Runtime": "nosuch"},
    "Isolation default": {"Isolation": "default"},
    "Isolation hyperv": {"Isolation": "hyperv"},
    "StorageOpt": {"StorageOpt": {"size": "1G"}},
    "Init": {"Init": True},
    "Init false": {"Init": False},
    "Tmpfs": {"Tmpfs": {"/run": "rw,size=1m"}},
    "Tmpfs relative": {"Tmpfs": {"run": ""}},
    "Tmpfs unknown option": {"Tmpfs": {"/run": "nosuch"}},
    "MaskedPaths empty": {"MaskedPaths": []},
    "MaskedPaths own": {"MaskedPaths": ["/proc/timer_list"]},
    "ReadonlyPaths empty": {"ReadonlyPaths": []},
    "ReadonlyPaths own": {"ReadonlyPaths": ["/proc/sys"]},
    "Privileged": {"Privileged": True},
    "an unknown field": {"NoSuchField": 1},
}
_RESOURCES: dict[str, dict[str, Any]] = {
    "CpuShares": {"CpuShares": 512},
    "CpuShares 1": {"CpuShares": 1},
    "CpuShares 262145": {"CpuShares": 262145},
    "CpuShares negative": {"CpuShares": -1},
    "Memory": {"Memory": 100 * MIB},
    "Memory 6 MiB": {"Memory": 6 * MIB},
    "Memory below 6 MiB": {"Memory": 6 * MIB - 1},
    "Memory negative": {"Memory": -1},
    "MemorySwap": {"Memory": 100 * MIB, "MemorySwap": 200 * MIB},
    "MemorySwap equal": {"Memory": 100 * MIB, "MemorySwap": 100 * MIB},
    "MemorySwap -1": {"Memory": 100 * MIB, "MemorySwap": -1},
    "MemorySwap -2": {"Memory": 100 * MIB, "MemorySwap": -2},
    "MemorySwap -1 without Memory": {"MemorySwap": -1},
    "MemorySwap without Memory": {"MemorySwap": 100 * MIB},
    "MemorySwap smaller": {"Memory": 100 * MIB, "MemorySwap": 50 * MIB},
    "MemoryReservation": {"MemoryReservation": 50 * MIB},
    "MemoryReservation too small": {"MemoryReservation": MIB},
    "MemoryReservation larger than Memory": {"Memory": 50 * MIB, "MemoryReservation": 100 * MIB},
    "MemoryReservation negative": {"MemoryReservation": -1},
    "MemorySwappiness 0": {"MemorySwappiness": 0},
    "MemorySwappiness 60": {"MemorySwappiness": 60},
    "MemorySwappiness 100": {"MemorySwappiness": 100},
    "MemorySwappiness 101": {"MemorySwappiness": 101},
    "MemorySwappiness -1": {"MemorySwappiness": -1},
    "MemorySwappiness -2": {"MemorySwappiness": -2},
    "KernelMemory": {"KernelMemory": 50 * MIB},
    "KernelMemoryTCP": {"KernelMemoryTCP": 50 * MIB},
    "KernelMemoryTCP negative": {"KernelMemoryTCP": -5},
    "OomKillDisable": {"OomKillDisable": True},
    "OomKillDisable with Memory": {"OomKillDisable": True, "Memory": 100 * MIB},
    "OomKillDisable false": {"OomKillDisable": False},
    "NanoCpus": {"NanoCpus": 500000000},
    "NanoCpus negative": {"NanoCpus": -1},
    "NanoCpus too many": {"NanoCpus": 10**13},
    "NanoCpus 0.001": {"NanoCpus": 1000000},
    "NanoCpus with CpuQuota": {"NanoCpus": 500000000, "CpuQuota": 50000},
    "NanoCpus with CpuPeriod": {"NanoCpus": 500000000, "CpuPeriod": 50000},
    "CpuPeriod": {"CpuPeriod": 50000},
    "CpuPeriod 999": {"CpuPeriod": 999},
    "CpuPeriod 1000001": {"CpuPeriod": 1000001},
    "CpuPeriod negative": {"CpuPeriod": -1},
    "CpuQuota": {"CpuQuota": 50000},
    "CpuQuota 999": {"CpuQuota": 999},
    "CpuQuota -1": {"CpuQuota": -1},
    "CpuRealtimePeriod": {"CpuRealtimePeriod": 1000000},
    "CpuRealtimeRuntime": {"CpuRealtimeRuntime": 950000},
    "CpuRealtimeRuntime larger": {"CpuRealtimePeriod": 1000, "CpuRealtimeRuntime": 2000},
    "CpusetCpus": {"CpusetCpus": "0"},
    "CpusetCpus range": {"CpusetCpus": "0-0"},
    "CpusetCpus not there": {"CpusetCpus": "4000"},
    "CpusetCpus invalid": {"CpusetCpus": "x"},
    "CpusetMems": {"CpusetMems": "0"},
    "CpusetMems not there": {"CpusetMems": "4000"},
    "CpusetMems invalid": {"CpusetMems": "x"},
    "PidsLimit": {"PidsLimit": 10},
    "PidsLimit 0": {"PidsLimit": 0},
    "PidsLimit -1": {"PidsLimit": -1},
    "PidsLimit -5": {"PidsLimit": -5},
    "BlkioWeight": {"BlkioWeight": 300},
    "BlkioWeight 9": {"BlkioWeight": 9},
    "BlkioWeight 10": {"BlkioWeight": 10},
    "BlkioWeight 1000": {"BlkioWeight": 1000},
    "BlkioWeight 1001": {"BlkioWeight": 1001},
    "BlkioWeight negative": {"BlkioWeight": -1},
    "BlkioWeightDevice": {"BlkioWeightDevice": [{"Path": "/dev/vda", "Weight": 200}]},
    "BlkioWeightDevice not there": {"BlkioWeightDevice": [{"Path": "/dev/nosuch", "Weight": 200}]},
    "BlkioWeightDevice weight 9": {"BlkioWeightDevice": [{"Path": _NULL, "Weight": 9}]},
    "BlkioDeviceReadBps": {"BlkioDeviceReadBps": [{"Path": "/dev/vda", "Rate": MIB}]},
    "BlkioDeviceReadBps not there": {"BlkioDeviceReadBps": [{"Path": "/dev/nosuch", "Rate": MIB}]},
    "BlkioDeviceReadBps negative": {"BlkioDeviceReadBps": [{"Path": "/dev/vda", "Rate": -1}]},
    "BlkioDeviceWriteBps": {"BlkioDeviceWriteBps": [{"Path": "/dev/vda", "Rate": MIB}]},
    "BlkioDeviceReadIOps": {"BlkioDeviceReadIOps": [{"Path": "/dev/vda", "Rate": 100}]},
    "BlkioDeviceWriteIOps": {"BlkioDeviceWriteIOps": [{"Path": "/dev/vda", "Rate": 100}]},
    "Ulimits": {"Ulimits": [{"Name": "nofile", "Soft": 10, "Hard": 20}]},
    "Ulimits unlimited": {"Ulimits": [{"Name": "core", "Soft": -1, "Hard": -1}]},
    "Ulimits unknown": {"Ulimits": [{"Name": "nosuch", "Soft": 1, "Hard": 1}]},
    "Ulimits soft above hard": {"Ulimits": [{"Name": "nofile", "Soft": 20, "Hard": 10}]},
    "Devices": {"Devices": [{"PathOnHost": _NULL, "PathInContainer": "/dev/n", "CgroupPermissions": "rwm"}]},
    "Devices path alone": {"Devices": [{"PathOnHost": _NULL}]},
    "Devices invalid permissions": {
        "Devices": [{"PathOnHost": _NULL, "PathInContainer": "/dev/n", "CgroupPermissions": "x"}]
    },
    "Devices not there": {
        "Devices": [{"PathOnHost": "/dev/nosuch", "PathInContainer": "/dev/n", "CgroupPermissions": "rwm"}]
    },
    "DeviceCgroupRules": {"DeviceCgroupRules": ["c 1:3 mr"]},
    "DeviceCgroupRules invalid": {"DeviceCgroupRules": ["nosuch"]},
    "DeviceRequests gpu": {"DeviceRequests": [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}]},
    "DeviceRequests unknown driver": {"DeviceRequests": [{"Driver": "nosuch", "Count": 1}]},
    "CgroupParent": {"CgroupParent": "/dx-parent"},
    "CgroupParent relative": {"CgroupParent": "dx-parent"},
    "CpuCount": {"CpuCount": 1},
    "CpuPercent": {"CpuPercent": 50},
    "IOMaximumIOps": {"IOMaximumIOps": 100},
    "IOMaximumBandwidth": {"IOMaximumBandwidth": 100},
}
_PROFILE = '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}'
_SECURITY: dict[str, dict[str, Any]] = {
    "CapAdd": {"CapAdd": ["NET_ADMIN"]},
    "CapAdd with prefix and lower case": {"CapAdd": ["cap_net_admin"]},
    "CapAdd ALL": {"CapAdd": ["ALL"]},
    "CapAdd unknown": {"CapAdd": ["NOSUCH"]},
    "CapDrop": {"CapDrop": ["CHOWN"]},
    "CapDrop ALL": {"CapDrop": ["all"]},
    "CapDrop unknown": {"CapDrop": ["NOSUCH"]},
    "SecurityOpt no-new-privileges": {"SecurityOpt": ["no-new-privileges"]},
    "SecurityOpt no-new-privileges=false": {"SecurityOpt": ["no-new-privileges=false"]},
    "SecurityOpt no-new-privileges=x": {"SecurityOpt": ["no-new-privileges=x"]},
    "SecurityOpt no-new-privileges:true": {"SecurityOpt": ["no-new-privileges:true"]},
    "SecurityOpt seccomp=unconfined": {"SecurityOpt": ["seccomp=unconfined"]},
    "SecurityOpt seccomp:unconfined": {"SecurityOpt": ["seccomp:unconfined"]},
    "SecurityOpt seccomp=builtin": {"SecurityOpt": ["seccomp=builtin"]},
    "SecurityOpt seccomp own": {"SecurityOpt": [f"seccomp={_PROFILE}"]},
    "SecurityOpt seccomp not JSON": {"SecurityOpt": ["seccomp=nosuch"]},
    "SecurityOpt apparmor=unconfined": {"SecurityOpt": ["apparmor=unconfined"]},
    "SecurityOpt apparmor=docker-default": {"SecurityOpt": ["apparmor=docker-default"]},
    "SecurityOpt apparmor=nosuch": {"SecurityOpt": ["apparmor=nosuch"]},
    "SecurityOpt label=disable": {"SecurityOpt": ["label=disable"]},
    "SecurityOpt label=type:t": {"SecurityOpt": ["label=type:svirt_t"]},
    "SecurityOpt label=level:s0": {"SecurityOpt": ["label=level:s0:c1,c2"]},
    "SecurityOpt label:disable": {"SecurityOpt": ["label:disable"]},
    "SecurityOpt label=nosuch": {"SecurityOpt": ["label=nosuch"]},
    "SecurityOpt systempaths=unconfined": {"SecurityOpt": ["systempaths=unconfined"]},
    "SecurityOpt writable-cgroups": {"SecurityOpt": ["writable-cgroups"]},
    "SecurityOpt writable-cgroups=true": {"SecurityOpt": ["writable-cgroups=true"]},
    "SecurityOpt writable-cgroups=x": {"SecurityOpt": ["writable-cgroups=x"]},
    "SecurityOpt unknown": {"SecurityOpt": ["nosuch"]},
    "SecurityOpt unknown with a value": {"SecurityOpt": ["nosuch=x"]},
    "SecurityOpt empty": {"SecurityOpt": [""]},
}
_MOUNTS: dict[str, dict[str, Any]] = {
    "Binds of a directory": {"Binds": ["/tmp:/data"]},
    "Binds read-only": {"Binds": ["/tmp:/data:ro"]},
    "Binds of a volume": {"Binds": ["dx-mounted:/data"]},
    "Binds of a volume nocopy": {"Binds": ["dx-mounted:/data:nocopy"]},
    "Binds anonymous": {"Binds": ["/data"]},
    "Binds propagation": {"Binds": ["/tmp:/data:rslave"]},
    "Binds relabel": {"Binds": ["/tmp:/data:z"]},
    "Binds to the root": {"Binds": ["/tmp:/"]},
    "Binds relative target": {"Binds": ["/tmp:data"]},
    "Binds relative source": {"Binds": ["./tmp:/data"]},
    "Binds unknown mode": {"Binds": ["/tmp:/data:nosuch"]},
    "Binds two access modes": {"Binds": ["/tmp:/data:ro,rw"]},
    "Binds four parts": {"Binds": ["/tmp:/data:ro:x"]},
    "Binds empty": {"Binds": [""]},
    "Binds one target twice": {"Binds": ["/tmp:/data", "/var:/data"]},
    "Binds dots in the target": {"Binds": ["/tmp:/data/../x/"]},
    "Mounts bind": {"Mounts": [{"Type": "bind", "Source": "/tmp", "Target": "/data"}]},
    "Mounts bind read-only": {"Mounts": [{"Type": "bind", "Source": "/tmp", "Target": "/data", "ReadOnly": True}]},
    "Mounts bind source not there": {"Mounts": [{"Type": "bind", "Source": "/nosuch-dx", "Target": "/data"}]},
    "Mounts bind without source": {"Mounts": [{"Type": "bind", "Target": "/data"}]},
    "Mounts bind relative": {"Mounts": [{"Type": "bind", "Source": "tmp", "Target": "/data"}]},
    "Mounts bind with VolumeOptions": {
        "Mounts": [{"Type": "bind", "Source": "/tmp", "Target": "/data", "VolumeOptions": {"NoCopy": True}}]
    },
    "Mounts bind propagation": {
        "Mounts": [{"Type": "bind", "Source": "/tmp", "Target": "/data", "BindOptions": {"Propagation": "rshared"}}]
    },
    "Mounts bind unknown propagation": {
        "Mounts": [{"Type": "bind", "Source": "/tmp", "Target": "/data", "BindOptions": {"Propagation": "nosuch"}}]
    },
    "Mounts volume": {"Mounts": [{"Type": "volume", "Source": "dx-mounted", "Target": "/data"}]},
    "Mounts volume anonymous": {"Mounts": [{"Type": "volume", "Target": "/data"}]},
    "Mounts volume with labels": {
        "Mounts": [
            {"Type": "volume", "Source": "dx-labels", "Target": "/data", "VolumeOptions": {"Labels": {"a": "b"}}}
        ]
    },
    "Mounts volume with BindOptions": {
        "Mounts": [{"Type": "volume", "Source": "dx-mounted", "Target": "/data", "BindOptions": {}}]
    },
    "Mounts tmpfs": {"Mounts": [{"Type": "tmpfs", "Target": "/data", "TmpfsOptions": {"SizeBytes": MIB, "Mode": 448}}]},
    "Mounts tmpfs with source": {"Mounts": [{"Type": "tmpfs", "Source": "/x", "Target": "/data"}]},
    "Mounts without target": {"Mounts": [{"Type": "tmpfs"}]},
    "Mounts without type": {"Mounts": [{"Target": "/data"}]},
    "Mounts unknown type": {"Mounts": [{"Type": "nosuch", "Target": "/data"}]},
    "Mounts and Binds to one target": {
        "Binds": ["/tmp:/data"],
        "Mounts": [{"Type": "tmpfs", "Target": "/data"}],
    },
    "Mounts to the root": {"Mounts": [{"Type": "tmpfs", "Target": "/"}]},
}
_WRONG_TYPES: dict[str, dict[str, Any]] = {
    "Memory a string": {"HostConfig": {"Memory": "1"}},
    "Memory a float": {"HostConfig": {"Memory": 1.5}},
    "Memory too large": {"HostConfig": {"Memory": 1 << 63}},
    "Privileged a number": {"HostConfig": {"Privileged": 1}},
    "Binds a string": {"HostConfig": {"Binds": "/a:/b"}},
    "Binds a list of numbers": {"HostConfig": {"Binds": [1]}},
    "Sysctls a list": {"HostConfig": {"Sysctls": []}},
    "PortBindings a list": {"HostConfig": {"PortBindings": []}},
    "RestartPolicy a string": {"HostConfig": {"RestartPolicy": "always"}},
    "HostConfig a list": {"HostConfig": []},
    "HostConfig null": {"HostConfig": None},
    "NetworkingConfig a list": {"NetworkingConfig": []},
    "EndpointsConfig null": {"NetworkingConfig": {"EndpointsConfig": None}},
    "Env a string": {"Env": "A=b"},
    "Env an object": {"Env": {"A": "b"}},
    "Cmd a number": {"Cmd": 1},
    "Cmd a list of numbers": {"Cmd": [1]},
    "Labels a list": {"Labels": ["a=b"]},
    "Labels with a number": {"Labels": {"a": 1}},
    "Tty a string": {"Tty": "true"},
    "StopTimeout a string": {"StopTimeout": "1"},
    "ExposedPorts a list": {"ExposedPorts": ["80"]},
    "ExposedPorts with a string": {"ExposedPorts": {"80/tcp": "x"}},
    "Healthcheck a string": {"Healthcheck": "true"},
    "Hostname a number": {"Hostname": 1},
}


def plain(recorder: Recorder) -> None:
    _each(recorder, _PLAIN)


def resources(recorder: Recorder) -> None:
    _each(recorder, _RESOURCES)


def security(recorder: Recorder) -> None:
    _each(recorder, _SECURITY)


def mounts(recorder: Recorder) -> None:
    _each(recorder, _MOUNTS)


def wrong_types(recorder: Recorder) -> None:
    """Values of another JSON type; of the messages only the beginning is kept, the rest names types of Go."""
    for name, body in _WRONG_TYPES.items():
        answer = recorder.send(
            "POST", "/containers/create", {"Image": IMAGE, "Cmd": ["true"], **body}, query={"name": PREFIX + "option"}
        )
        message = answer.body.get("message", "")
        recorder.keep(name, {"status": answer.status, "message": message.partition(":")[0]})
        recorder.remove("option")


def _each(recorder: Recorder, options: dict[str, dict[str, Any]]) -> None:
    for name, host in options.items():
        recorder.option(name, host)
