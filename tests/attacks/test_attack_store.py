"""A store that is emptied, cut or lost while containers run: they are found again, and nothing is deleted."""

import os
import sqlite3
import time
from contextlib import closing

import pytest

from tests.installation import IMAGE, Installation


@pytest.fixture
def house():
    """An installation with a running container ``web`` on the network ``shop``, and a volume."""
    place = Installation()
    try:
        place.start()
        place.load_busybox()
        place.netctl("network", "create", "shop")
        run = ("run", "-d", "--name", "web", "--network", "shop", "-v", "goods:/goods", "busybox")
        place.netctl(*run, "sh", "-c", "echo ware > /goods/list; exec sleep 1000")
        yield place
    finally:
        place.destroy()


def kept(house):
    """Return what is to survive: the container's process and address, images, and folders."""
    web = house.inspect("web")
    api = house.docker.api
    return {
        "pid": web["State"]["Pid"],
        "address": web["NetworkSettings"]["Networks"]["shop"]["IPAddress"],
        "images": [image["RepoTags"] for image in api.images()],
        "volumes": [volume["Name"] for volume in api.volumes()["Volumes"]],
        "networks": sorted(network["Name"] for network in api.networks()),
        "folders": folders(house),
    }


def folders(house):
    names = ("containers", "layers", "volumes")
    return sorted(str(path.relative_to(house.state)) for name in names for path in (house.state / name).iterdir())


def links(house):
    return {line.split(":")[1].split("@")[0] for line in house.on_host("ip", "-o", "link").stdout.splitlines()}


def warnings(house):
    return house.docker.api.info()["Warnings"] or []


def lose(house, name, *patterns):
    """Empty the database, as after a file system check, and delete what the patterns name."""
    os.truncate(house.state / name, 0)
    for pattern in patterns:
        for path in house.state.glob(pattern):
            path.unlink()


def answers(house):
    return house.netctl("exec", "web", "nslookup", "web", check=False).returncode == 0


def test_an_emptied_store_of_the_runtime_costs_nothing(house):
    before = kept(house)
    house.kill("runtime")
    lose(house, "runtime.db", "runtime.db-wal")
    unknown = house.state / "containers" / ("f" * 64)
    unknown.mkdir()
    house.start("runtime")
    assert kept(house) == {**before, "folders": sorted([*before["folders"], f"containers/{'f' * 64}"])}
    assert house.netctl("exec", "web", "cat", "/goods/list").stdout == "ware\n"
    assert any("runtime.db was damaged" in warning and "--discard-unknown" in warning for warning in warnings(house))
    events = list(house.docker.api.events(since=0, until=time.time(), decode=True))
    assert [event["Action"] for event in events if event["Type"] == "daemon"] == ["damaged"]
    house.kill("runtime")
    house.flags.append("--discard-unknown")
    house.start("runtime")
    assert kept(house) == before and warnings(house) == []


def test_without_any_copy_of_the_store_containers_are_found_by_their_folders(house):
    before = kept(house)
    house.kill("runtime")
    lose(house, "runtime.db", "runtime.db?*")
    house.start("runtime")
    after = kept(house)
    assert {**after, "images": before["images"]} == before
    assert any("runtime.db was damaged" in warning for warning in warnings(house))
    house.netctl("stop", "-t", "0", "web")
    house.netctl("start", "web")
    assert house.netctl("exec", "web", "cat", "/goods/list").stdout == "ware\n"


def test_an_emptied_store_of_netd_costs_nothing(house):
    before, there = kept(house), links(house)
    house.kill("netd")
    lose(house, "netd.db", "netd.db-wal")
    house.start("netd")
    assert (kept(house), links(house)) == (before, there)
    assert answers(house)
    assert any("netd.db was damaged" in warning for warning in warnings(house))


def test_without_any_copy_of_its_store_netd_deletes_no_link_and_no_namespace(house):
    there, spaces = links(house), sorted(os.listdir(house.run / "netns"))
    house.kill("netd")
    lose(house, "netd.db", "netd.db?*")
    for number in range(2):
        house.start("netd")
        assert there <= links(house)
        assert sorted(os.listdir(house.run / "netns")) == spaces
        assert any("netd.db was damaged" in warning for warning in warnings(house)), number
        house.kill("netd", 15)
    house.start("netd")


def test_a_record_that_cannot_be_read_is_kept_apart_and_its_folder_stays(house):
    other = house.docker.api.create_container_from_config({"Image": IMAGE, "Cmd": ["true"]}, "other")["Id"]
    before = folders(house)
    house.kill("runtime")
    broken = "UPDATE documents SET body = '{\"id\":7}', checksum = NULL WHERE id = ?"
    with closing(sqlite3.connect(house.state / "runtime.db", isolation_level=None)) as db:
        changed = db.execute(broken, (other,)).rowcount
        assert changed == 1
    house.start("runtime")
    assert house.inspect("web")["State"]["Running"]
    assert folders(house) == before
    assert any(f"container {other}" in warning for warning in warnings(house))
