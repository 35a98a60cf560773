"""Many calls leave nothing behind in the daemons: no descriptors, and no records of ended processes."""

import asyncio
import errno
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from netd.common.errors import Problem
from runtime.engine.containers.container import Container
from runtime.engine.lifecycle import execs as execs_module
from runtime.engine.lifecycle.execs import Exec, Execs
from runtime.record import ExecConfig
from tests.installation import IMAGE, wait_until


def descriptors(process) -> dict[str, int]:
    """Return the number of open descriptors by kind."""
    found: dict[str, int] = {}
    for name in os.listdir(f"/proc/{process.pid}/fd"):
        try:
            kind = os.readlink(f"/proc/{process.pid}/fd/{name}").split(":")[0]
        except OSError:
            continue
        found[kind] = found.get(kind, 0) + 1
    return found


def storm(place, long_lived) -> None:
    def work(number):
        client = place.docker
        for turn in range(2):
            name = f"storm-{number}-{turn}"
            made = client.containers.run(IMAGE, "true", detach=True, name=name, ports={"80/tcp": None})
            made.wait()
            made.logs()
            made.remove(force=True)
            client.api.exec_start(client.api.exec_create(long_lived, ["true"])["Id"])
            network = client.networks.create(name)
            network.remove()
        client.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))


def more(now: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    """Return the kinds with more descriptors than before; connections between the daemons are kept for a minute."""
    slack = {"socket": 6}
    return {kind: count for kind, count in now.items() if count > before.get(kind, 0) + slack.get(kind, 0)}


def test_a_second_storm_leaves_no_more_descriptors_than_the_first(place, api, run):
    made = run()
    storm(place, made)
    # The shim pool is refilled after the calls.
    wait_until(lambda: all(descriptors(p).get("socket", 0) < 60 for p in place.processes.values()))
    before = {name: descriptors(process) for name, process in place.processes.items()}
    for _ in range(2):
        storm(place, made)
    for name, process in place.processes.items():
        wait_until(lambda name=name, process=process: not more(descriptors(process), before[name]))


class AllContainers:
    """A substitute for ``Containers``: every container exists except the removed ones."""

    def __init__(self) -> None:
        self.removed: set[str] = set()

    def get(self, identifier):
        return None if identifier in self.removed else identifier


@pytest.fixture
def kept():
    containers = AllContainers()
    return containers, Execs(containers, None, None)


def ended(execs: Execs, container: Container, number: int) -> Exec:
    made = Exec(f"{container.id}-{number}", container.id, ExecConfig(cmd=["true"]))
    execs._sweep()
    execs._drop_unstarted(container)
    execs._execs[made.id] = made
    container.execs.add(made.id)
    execs._record_exit(container, made, 0)
    return made


class Record:
    def __init__(self, identifier: str) -> None:
        self.id = identifier


def test_of_ended_execs_the_latest_are_known(kept):
    _, execs = kept
    container = Container(Record("c"))
    made = [ended(execs, container, number) for number in range(1000)]
    assert len(execs._execs) == execs_module._MAX_KEPT
    assert made[-1].id in execs._execs and made[0].id not in execs._execs and not container.execs


def test_execs_are_dropped_after_a_while_and_with_their_container(kept, monkeypatch):
    containers, execs = kept
    old, removed, young = Container(Record("old")), Container(Record("removed")), Container(Record("young"))
    for number in range(50):
        ended(execs, old, number)
        ended(execs, removed, number)
    for known in execs._execs.values():
        if known.container == "old":
            known.changed_at -= execs_module._KEPT_SECONDS + 1
    containers.removed.add("removed")
    for number in range(64):
        ended(execs, young, number)
    assert {known.container for known in execs._execs.values()} == {"young"}


def test_execs_that_nobody_starts_are_dropped(kept):
    _, execs = kept
    container = Container(Record("c"))
    for number in range(execs_module._MAX_ACTIVE):
        made = Exec(str(number), "c", ExecConfig(cmd=["true"]), changed_at=-1000.0)
        execs._execs[made.id] = made
        container.execs.add(made.id)
    ended(execs, container, -1)
    assert len(execs._execs) == 1 and not container.execs


def test_an_exec_that_fails_for_a_lack_of_resources_has_exited(kept, monkeypatch):
    fleet, execs = kept
    container = Container(Record("c"))
    fleet.find = lambda _: container
    made = Exec("e", "c", ExecConfig(cmd=["true"]), started=True)
    execs._execs[made.id] = made
    container.execs.add(made.id)

    async def fail(*_):
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(execs, "_run", fail)
    with pytest.raises(Problem, match="file descriptor"):
        asyncio.run(execs.start(made, attached=False))
    assert made.code is not None and not container.execs and list(container.exited_execs) == [made.id]
