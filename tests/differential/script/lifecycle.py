"""Effects of options in a run container, states, names, wait, links and updates."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

from tests.differential.client import Engine
from tests.differential.normalize import normalized
from tests.differential.recorder import PREFIX, VERSION, Recorder, changed

MIB = 1 << 20


def runs(recorder: Recorder) -> None:
    """Commands whose output shows what an option did."""
    recorder.run("exit code", "sh", "-c", "exit 7")
    recorder.run("both streams", "sh", "-c", "echo out; echo err >&2")
    recorder.run("no such program", "nosuch")
    recorder.run("a directory as program", "/tmp")
    recorder.run("a file that is not executable", "/etc/passwd")
    recorder.run("working directory is made", "pwd", WorkingDir="/made/here")
    recorder.run("environment", "env", Env=["A=b"], Hostname="box")
    recorder.run("user", "id", User="user")
    recorder.run("user that does not exist", "true", User="nosuch")
    recorder.run("group that does not exist", "true", User="0:nosuch")
    recorder.run("hostname and domain", "sh", "-c", "hostname; cat /proc/sys/kernel/domainname", Hostname="box.example")
    recorder.run("ulimit", "sh", "-c", "ulimit -n", host={"Ulimits": [{"Name": "nofile", "Soft": 99, "Hard": 99}]})
    recorder.run("capabilities", "grep", "Cap", "/proc/self/status")
    recorder.run("capabilities dropped", "grep", "Cap", "/proc/self/status", host={"CapDrop": ["ALL"]})
    recorder.run("capabilities of a user", "grep", "Cap", "/proc/self/status", User="user")
    recorder.run(
        "no-new-privileges", "grep", "NoNewPrivs", "/proc/self/status", host={"SecurityOpt": ["no-new-privileges"]}
    )
    recorder.run("seccomp mode", "grep", "Seccomp:", "/proc/self/status")
    recorder.run(
        "seccomp unconfined", "grep", "Seccomp:", "/proc/self/status", host={"SecurityOpt": ["seccomp=unconfined"]}
    )
    recorder.run(
        "own seccomp profile",
        "sh",
        "-c",
        "mkdir /tmp/x; echo $?; rmdir /tmp; chmod 700 /etc/passwd; echo $?",
        host={"SecurityOpt": [f"seccomp={_PROFILE}"]},
    )
    recorder.run("read-only root", "touch", "/x", host={"ReadonlyRootfs": True})
    recorder.run("tmpfs", "sh", "-c", "grep ' /run ' /proc/mounts", host={"Tmpfs": {"/run": "size=1m,mode=700"}})
    recorder.run("shm size", "sh", "-c", "df -k /dev/shm | tail -1 | awk '{print $2}'", host={"ShmSize": MIB})
    recorder.run("oom score", "cat", "/proc/self/oom_score_adj", host={"OomScoreAdj": 321})
    recorder.run(
        "sysctl", "cat", "/proc/sys/net/ipv4/ip_default_ttl", host={"Sysctls": {"net.ipv4.ip_default_ttl": "33"}}
    )
    recorder.run("masked paths", "sh", "-c", "head -c 1 /proc/timer_list | wc -c; ls /proc/scsi | wc -l")
    recorder.run(
        "systempaths=unconfined",
        "sh",
        "-c",
        "grep -c '^proc /proc/' /proc/mounts; grep -c '^tmpfs /proc/' /proc/mounts",
        host={"SecurityOpt": ["systempaths=unconfined"], "MaskedPaths": [], "ReadonlyPaths": []},
    )
    recorder.run("read-only paths", "sh", "-c", "echo 1 > /proc/sys/kernel/panic")
    recorder.run("network none", "sh", "-c", "ip -o link | wc -l", host={"NetworkMode": "none"})
    recorder.run("extra hosts", "grep", "192.0.2", "/etc/hosts", host={"ExtraHosts": ["a:192.0.2.1", "b=192.0.2.2"]})
    recorder.run("dns options", "grep", "-v", "^#", "/etc/resolv.conf", host=_DNS)
    recorder.run("init", "sh", "-c", "cat /proc/1/comm", host={"Init": True})
    recorder.run("device", "sh", "-c", "ls /dev/n && echo x > /dev/n", host={"Devices": [_DEVICE]})
    recorder.run("memory limit", "cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes", host={"Memory": 64 * MIB})
    recorder.run("pids limit", "cat", "/sys/fs/cgroup/pids/pids.max", host={"PidsLimit": 50})
    recorder.run("swappiness", "cat", "/sys/fs/cgroup/memory/memory.swappiness", host={"MemorySwappiness": 7})
    recorder.run("oom kill disabled", "cat", "/sys/fs/cgroup/memory/memory.oom_control", host={"OomKillDisable": True})
    recorder.run(
        "read rate", "cat", "/sys/fs/cgroup/blkio/blkio.throttle.read_bps_device", host={"BlkioDeviceReadBps": [_RATE]}
    )
    recorder.run(
        "write operations",
        "cat",
        "/sys/fs/cgroup/blkio/blkio.throttle.write_iops_device",
        host={"BlkioDeviceWriteIOps": [_RATE]},
    )
    recorder.run("cgroup namespace host", "sh", "-c", "head -1 /proc/self/cgroup | grep -c dx-parent", host=_PARENT)
    recorder.run("cgroup namespace private", "sh", "-c", "cut -d: -f3 /proc/self/cgroup | sort -u", host=_PRIVATE)


_PROFILE = (
    '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":'
    '[{"names":["mkdir","chmod"],"action":"SCMP_ACT_ERRNO","errnoRet":95}]}'
)
_DNS = {"Dns": ["192.0.2.53"], "DnsSearch": ["example.com"], "DnsOptions": ["ndots:3"]}
_DEVICE = {"PathOnHost": "/dev/null", "PathInContainer": "/dev/n", "CgroupPermissions": "rwm"}
_RATE = {"Path": "/dev/vda", "Rate": 1048576}
_PARENT = {"CgroupParent": "/dx-parent", "CgroupnsMode": "host"}
_PRIVATE = {"CgroupnsMode": "private"}


_UPDATES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "Memory": {"Memory": 64 * MIB, "MemorySwap": 128 * MIB},
    "Memory above MemorySwap": {"Memory": 256 * MIB},
    "Memory too small": {"Memory": 1},
    "MemoryReservation": {"MemoryReservation": 32 * MIB},
    "MemorySwap -1": {"MemorySwap": -1},
    "CpuShares": {"CpuShares": 300},
    "CpuPeriod and CpuQuota": {"CpuPeriod": 50000, "CpuQuota": 25000},
    "NanoCpus after CpuPeriod": {"NanoCpus": 500000000},
    "CpusetCpus": {"CpusetCpus": "0"},
    "CpusetCpus not there": {"CpusetCpus": "4000"},
    "CpusetMems": {"CpusetMems": "0"},
    "PidsLimit": {"PidsLimit": 77},
    "PidsLimit -1": {"PidsLimit": -1},
    "BlkioWeight": {"BlkioWeight": 5},
    "RestartPolicy": {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}},
    "RestartPolicy unknown": {"RestartPolicy": {"Name": "nosuch"}},
    "RestartPolicy always": {"RestartPolicy": {"Name": "always"}},
    "RestartPolicy no": {"RestartPolicy": {"Name": "no"}},
    "wrong type": {"Memory": "1"},
    "an unknown field": {"NoSuchField": 1},
    "KernelMemory": {"KernelMemory": 64 * MIB},
    "Ulimits": {"Ulimits": [{"Name": "nofile", "Soft": 5, "Hard": 5}]},
}


def update(recorder: Recorder) -> None:
    for state in ("created", "running"):
        recorder.create("updated", start=state == "running")
        for name, body in _UPDATES.items():
            before = normalized(recorder.inspected("updated"))
            answer = recorder.send("POST", f"/containers/{PREFIX}updated/update", body)
            after = normalized(recorder.inspected("updated"))
            content = answer.body
            if name == "wrong type":
                content = content.get("message", "").partition(":")[0]
            recorder.keep(
                f"{state}: {name}", {"status": answer.status, "body": content, "changed": changed(before, after)}
            )
        recorder.remove("updated")
    recorder.create("removed", HostConfig={"AutoRemove": True})
    recorder.call(
        "RestartPolicy with AutoRemove",
        "POST",
        f"/containers/{PREFIX}removed/update",
        {"RestartPolicy": {"Name": "always"}},
    )
    recorder.remove("removed")
    recorder.call("no such container", "POST", f"/containers/{PREFIX}nosuch/update", {"Memory": 64 * MIB})


def states(recorder: Recorder) -> None:
    """Each verb in each state, and names."""
    path = f"/containers/{PREFIX}c"
    recorder.create()
    for verb in (
        "stop",
        "kill",
        "pause",
        "unpause",
        "restart?t=0",
        "pause",
        "start",
        "kill?signal=0",
        "kill?signal=NOSUCH",
    ):
        recorder.call(f"{_count(recorder, verb)}", "POST", f"{path}/{verb}")
    recorder.call("stop while paused", "POST", f"{path}/stop?t=0")
    recorder.call("state after stop", "GET", f"{path}/json", show=_state)
    for verb in (
        "stop",
        "pause",
        "unpause",
        "kill",
        "kill?signal=NOSUCH",
        "start",
        "start",
        "kill?signal=15",
        "stop?t=x",
        "stop?signal=NOSUCH",
    ):
        recorder.call(f"{_count(recorder, verb)}", "POST", f"{path}/{verb}")
    recorder.call("remove while running", "DELETE", path)
    recorder.call("resize", "POST", f"{path}/resize", query={"h": 10, "w": 20})
    recorder.call("resize without numbers", "POST", f"{path}/resize")
    recorder.call(
        "create with a name in use",
        "POST",
        "/containers/create",
        {"Image": "differential-busybox"},
        query={"name": "dx-c"},
    )
    recorder.call("kill", "POST", f"{path}/kill")
    recorder.send("POST", f"{path}/wait")
    recorder.call("state after kill", "GET", f"{path}/json", show=_state)
    recorder.create("d")
    for name, new in {
        "to itself": "dx-c",
        "to a name in use": "dx-d",
        "to an invalid name": "a b",
        "to an empty name": "",
        "with a slash": "/dx-e",
        "to a short name": "x",
        "to an id": "0" * 64,
    }.items():
        recorder.call(f"rename {name}", "POST", f"{path}/rename", query={"name": new})
        shown = recorder.send("GET", f"{path}/json")
        if shown.status == 404:
            recorder.send("POST", f"/containers/{new.lstrip('/')}/rename", query={"name": "dx-c"})
    recorder.call("rename of nothing", "POST", f"/containers/{PREFIX}nosuch/rename", query={"name": "dx-x"})
    recorder.call("remove with link", "DELETE", f"{path}?link=1")
    recorder.call("remove", "DELETE", path)
    recorder.call("remove again", "DELETE", path)
    recorder.call("remove again by force", "DELETE", path, query={"force": 1})
    recorder.remove("d")


def _count(recorder: Recorder, verb: str) -> str:
    number = sum(name.startswith(f"{verb} #") for name in recorder.answers) + 1
    return f"{verb} #{number}"


def _state(body: Any) -> Any:
    return {**body["State"], "StartedAt": "", "FinishedAt": ""}


def wait(recorder: Recorder) -> None:
    path = f"/containers/{PREFIX}c"
    recorder.create()
    recorder.call("not-running of a created container", "POST", f"{path}/wait")
    recorder.call("unknown condition", "POST", f"{path}/wait", query={"condition": "nosuch"})
    recorder.call("empty condition", "POST", f"{path}/wait", query={"condition": ""})
    for condition in ("not-running", "next-exit", "removed"):
        recorder.send("POST", f"{path}/start")
        method, target = ("DELETE", f"{path}?force=1") if condition == "removed" else ("POST", f"{path}/kill")
        answer = _while_waiting(recorder, condition, partial(recorder.send, method, target))
        recorder.keep(f"{condition} of a running container", answer)
    recorder.call("no such container", "POST", f"{path}/wait")
    recorder.create("removed", HostConfig={"AutoRemove": True}, Cmd=["sh", "-c", "exit 3"])
    answer = _while_waiting(
        recorder, "removed", lambda: recorder.send("POST", f"/containers/{PREFIX}removed/start"), name="removed"
    )
    recorder.keep("removed with AutoRemove", answer)
    recorder.call("a container that is gone", "GET", f"/containers/{PREFIX}removed/json")


def _while_waiting(recorder: Recorder, condition: str, action: Any, name: str = "c") -> dict[str, Any]:
    """Return the answer to a wait during which *action* is called: both engines send the headers at once."""
    waiting = Engine(recorder.engine.path)
    found: dict[str, Any] = {}
    begun = threading.Event()

    def run() -> None:
        response = waiting.request_open("POST", f"/v{VERSION}/containers/{PREFIX}{name}/wait?condition={condition}")
        begun.set()
        found["status"], found["body"] = response.status, response.read().decode()

    thread = threading.Thread(target=run)
    thread.start()
    begun.wait(10)
    action()
    thread.join(10)
    waiting.close()
    return found


def links(recorder: Recorder) -> None:
    recorder.create("db", start=True, Env=["SECRET=x"], ExposedPorts={"5432/tcp": {}})
    recorder.create("stopped")
    for name, value in {
        "name alone": ["dx-db"],
        "with an alias": ["dx-db:mysql"],
        "a slash": ["/dx-db:mysql"],
        "two": ["dx-db:a", "dx-db:b"],
        "no such container": ["nosuch:x"],
        "a stopped container": ["dx-stopped:x"],
        "three parts": ["a:b:c"],
        "empty": [""],
    }.items():
        recorder.option(f"Links {name}", {"Links": value})
    recorder.option("Links with the host network", {"Links": ["dx-db:x"], "NetworkMode": "host"})
    recorder.run(
        "environment of a link",
        "sh",
        "-c",
        "env | grep ^MYSQL_ | sed 's/172[.0-9]*/IP/' | sort",
        host={"Links": ["dx-db:mysql"]},
    )
    recorder.run("a link to a stopped container", "true", host={"Links": ["dx-stopped:mysql"]})
    recorder.remove("db", "stopped")
