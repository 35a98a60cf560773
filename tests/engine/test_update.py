"""Updates of containers: limits of a running one, the restart policy, refusals that change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from netd.common.errors import Conflict
from runtime.container_config import HostConfig, RestartPolicy
from runtime.engine.lifecycle.update import changes
from runtime.engine.options.updates import UpdateRequest, merged
from runtime.kernel import cgroups
from runtime.spec import Limits

MIB = 1 << 20


def group_files(pid: int) -> dict[str, str]:
    """Return the values of the control group files that the tests look at, under the names of version 1."""
    text = Path(f"/proc/{pid}/cgroup").read_text()
    found = {}
    for hierarchy in cgroups.find():
        for line in text.splitlines():
            _, controllers, path = line.split(":", 2)
            names = set(filter(None, controllers.split(",")))
            if names <= hierarchy.controllers if names else hierarchy.version == 2:
                for name in ("memory.limit_in_bytes", "memory.max", "pids.max", "cpu.shares", "cpu.weight"):
                    file = Path(f"{hierarchy.path}{path}/{name}")
                    if file.exists():
                        found[name] = file.read_text().strip()
    return found


def test_limits_of_a_running_container_apply_at_once_and_after_a_restart(api, raw, make):
    identifier = make(host={"Memory": 32 * MIB, "PidsLimit": 50})
    api.start(identifier)
    wanted = {"Memory": 64 * MIB, "MemorySwap": 64 * MIB, "PidsLimit": -1, "CpuShares": 300}
    code, _, answer = raw.ask("POST", f"/containers/{identifier}/update", wanted)
    assert (code, answer) == (200, {"Warnings": None})
    for _ in range(2):
        files = group_files(api.inspect_container(identifier)["State"]["Pid"])
        assert str(64 * MIB) in (files.get("memory.limit_in_bytes"), files.get("memory.max"))
        assert files["pids.max"] == "max"
        assert files.get("cpu.shares", "300") == "300"
        api.restart(identifier, timeout=0)
    host = api.inspect_container(identifier)["HostConfig"]
    assert (host["Memory"], host["PidsLimit"], host["CpuShares"]) == (64 * MIB, 0, 300)


def test_a_refused_update_changes_nothing(api, raw, make):
    identifier = make(host={"Memory": 512 * MIB})
    api.start(identifier)
    before = api.inspect_container(identifier)["HostConfig"]
    code, _, answer = raw.ask(
        "POST", f"/containers/{identifier}/update", {"CpusetCpus": "0", "Memory": 6 * MIB, "MemorySwap": 5 * MIB}
    )
    assert code == 400 and "memoryswap" in answer["message"]
    code, _, answer = raw.ask("POST", f"/containers/{identifier}/update", {"Memory": 1024 * MIB * 4})
    assert code == 409 and "already set memoryswap limit" in answer["message"]
    assert api.inspect_container(identifier)["HostConfig"] == before


def test_fields_that_cannot_be_updated_are_named_in_warnings():
    request = UpdateRequest(ulimits=[], oom_kill_disable=True, kernel_memory_tcp=5)
    assert [warning.partition(" ")[0] for warning in request.ignored()] == ["KernelMemoryTCP", "OomKillDisable"]


@pytest.mark.parametrize(
    ("before", "wanted", "words"),
    [
        (HostConfig(nano_cpus=5), HostConfig(cpu_period=1000), "CPU Period cannot be updated"),
        (HostConfig(nano_cpus=5), HostConfig(cpu_quota=1000), "CPU Quota cannot be updated"),
        (HostConfig(cpu_period=1000), HostConfig(nano_cpus=5), "as CPU Period has already been set"),
        (HostConfig(cpu_quota=1000), HostConfig(nano_cpus=5), "as CPU Quota has already been set"),
        (HostConfig(memory=5, memory_swap=10), HostConfig(memory=11), "already set memoryswap limit"),
        (HostConfig(auto_remove=True), HostConfig(restart_policy=RestartPolicy("always")), "AutoRemove is enabled"),
    ],
)
def test_updates_that_contradict_the_container_are_refused(before, wanted, words):
    with pytest.raises(Conflict, match=words):
        merged(before, wanted)


def test_only_what_differs_is_written_and_removed_limits_are_reset():
    assert changes(Limits(pids=5, memory=10, memory_swap=20), Limits(memory=10, memory_swap=30)) == Limits(
        pids=-1, memory=10, memory_swap=30
    )
    assert changes(Limits(cpu_period=5, cpu_quota=6), Limits(cpu_period=5)) == Limits(cpu_period=5, cpu_quota=-1)
    assert changes(Limits(cpu_shares=5), Limits(cpu_shares=5)) == Limits()
    old = Limits(blkio_devices=(("rbps", "/dev/a", 5), ("wbps", "/dev/a", 6)))
    new = Limits(blkio_devices=(("wbps", "/dev/a", 7),))
    assert changes(old, new).blkio_devices == (("rbps", "/dev/a", 0), ("wbps", "/dev/a", 7))
