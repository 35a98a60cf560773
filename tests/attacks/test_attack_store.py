"""A store that is emptied, truncated or lost while containers run: they are found again, and nothing is deleted."""

import os
import sqlite3
import time
from contextlib import closing

import pytest

from tests.installation import IMAGE, Installation


@pytest.fixture
def installation():
    """An installation with a running container ``web`` on the network ``shop``, and a volume."""
    place = Installation()
    try:
        place.start()
        place.load_busybox()
        place.netctl("network", "create", "shop")
        run = ("run", "-d", "--name", "web", "--network", "shop", "-v", "goods:/goods", "busybox")
        place.netctl(*run, "sh", "-c", "echo ware > /goods/list; exec sleep 1000")
        place.netctl("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "memory")
        yield place
    finally:
        place.destroy()


def kept(installation):
    """Return the state that must survive: the container's process and address, images, and folders."""
    web = installation.inspect("web")
    api = installation.docker.api
    return {
        "pid": web["State"]["Pid"],
        "address": web["NetworkSettings"]["Networks"]["shop"]["IPAddress"],
        "images": [image["RepoTags"] for image in api.images()],
        "volumes": sorted((volume["Name"], str(volume["Options"])) for volume in api.volumes()["Volumes"]),
        "networks": sorted(network["Name"] for network in api.networks()),
        "folders": folders(installation),
    }


def folders(installation):
    names = ("containers", "layers", "volumes")
    return sorted(
        str(path.relative_to(installation.state)) for name in names for path in (installation.state / name).iterdir()
    )


def links(installation):
    return {line.split(":")[1].split("@")[0] for line in installation.on_host("ip", "-o", "link").stdout.splitlines()}


def warnings(installation):
    return installation.docker.api.info()["Warnings"] or []


def lose(installation, name, *patterns):
    """Empty the database, as a file system check may, and delete the files that match the patterns."""
    os.truncate(installation.state / name, 0)
    for pattern in patterns:
        for path in installation.state.glob(pattern):
            path.unlink()


def answers(installation):
    return installation.netctl("exec", "web", "nslookup", "web", check=False).returncode == 0


def test_an_emptied_store_of_the_runtime_costs_nothing(installation):
    before = kept(installation)
    installation.kill("runtime")
    lose(installation, "runtime.db", "runtime.db-wal")
    unknown = installation.state / "containers" / ("f" * 64)
    unknown.mkdir()
    installation.start("runtime")
    assert kept(installation) == {**before, "folders": sorted([*before["folders"], f"containers/{'f' * 64}"])}
    assert installation.netctl("exec", "web", "cat", "/goods/list").stdout == "ware\n"
    assert any(
        "runtime.db was damaged" in warning and "--discard-unknown" in warning for warning in warnings(installation)
    )
    events = list(installation.docker.api.events(since=0, until=time.time(), decode=True))
    assert [event["Action"] for event in events if event["Type"] == "daemon"] == ["damaged"]
    installation.kill("runtime")
    installation.flags.append("--discard-unknown")
    installation.start("runtime")
    assert kept(installation) == before and warnings(installation) == []


def test_without_any_copy_of_the_store_containers_are_found_by_their_folders(installation):
    before = kept(installation)
    installation.kill("runtime")
    lose(installation, "runtime.db", "runtime.db?*")
    installation.start("runtime")
    after = kept(installation)
    assert {**after, "images": before["images"]} == before
    assert any("runtime.db was damaged" in warning for warning in warnings(installation))
    installation.netctl("stop", "-t", "0", "web")
    installation.netctl("start", "web")
    assert installation.netctl("exec", "web", "cat", "/goods/list").stdout == "ware\n"


def test_an_emptied_store_of_netd_costs_nothing(installation):
    before, there = kept(installation), links(installation)
    installation.kill("netd")
    lose(installation, "netd.db", "netd.db-wal")
    installation.start("netd")
    assert (kept(installation), links(installation)) == (before, there)
    assert answers(installation)
    assert any("netd.db was damaged" in warning for warning in warnings(installation))


def test_without_any_copy_of_its_store_netd_deletes_no_link_and_no_namespace(installation):
    there, spaces = links(installation), sorted(os.listdir(installation.run / "netns"))
    installation.kill("netd")
    lose(installation, "netd.db", "netd.db?*")
    for number in range(2):
        installation.start("netd")
        assert there <= links(installation)
        assert sorted(os.listdir(installation.run / "netns")) == spaces
        assert any("netd.db was damaged" in warning for warning in warnings(installation)), number
        installation.kill("netd", 15)
    installation.start("netd")


def test_a_record_that_cannot_be_read_is_kept_apart_and_its_folder_stays(installation):
    other = installation.docker.api.create_container_from_config({"Image": IMAGE, "Cmd": ["true"]}, "other")["Id"]
    before = folders(installation)
    installation.kill("runtime")
    broken = "UPDATE documents SET body = '{\"id\":7}', checksum = NULL WHERE id = ?"
    with closing(sqlite3.connect(installation.state / "runtime.db", isolation_level=None)) as db:
        changed = db.execute(broken, (other,)).rowcount
        assert changed == 1
    installation.start("runtime")
    assert installation.inspect("web")["State"]["Running"]
    assert folders(installation) == before
    assert any(f"container {other}" in warning for warning in warnings(installation))
