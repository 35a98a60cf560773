"""Parsing of mounts in create requests."""

import pytest

from netd.common.errors import Problem
from runtime.container_config import BindOptions, Config, Empty, HostConfig, Mount, TmpfsOptions, VolumeOptions
from runtime.engine.options.mount_options import MountRequest, mount_requests, parse_bind


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/x", MountRequest(kind="volume", target="/x")),
        ("data:/x", MountRequest(kind="volume", source="data", target="/x")),
        (
            "data:/x:ro,nocopy",
            MountRequest(kind="volume", source="data", target="/x", read_only=True, mode="ro,nocopy", copy=False),
        ),
        ("/h:/x", MountRequest(kind="bind", source="/h", target="/x", propagation="rprivate", create_source=True)),
        (
            "/h/../i/:/x/./y/:rslave,z",
            MountRequest(
                kind="bind", source="/i", target="/x/y", mode="rslave,z", propagation="rslave", create_source=True
            ),
        ),
    ],
)
def test_a_bind_string_is_read_as_docker_reads_it(text, expected):
    assert parse_bind(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "a:b:c:d", "x:/", "x:relative", "relative", "/h:/x:rw,ro", "/h:/x:nocopy", "v:/x:shared", "v:/x:sync",
        "./h:/x", "a b:/x", "/h:/proc", "/h:/proc/sys", "/h:/sys", "v:/dev", "/h::/x", "/h:/x:",
    ],
)  # fmt: skip
def test_a_bind_string_that_means_nothing_is_refused_by_name(text):
    with pytest.raises(Problem) as problem:
        parse_bind(text)
    assert (
        text in problem.value.message
        or repr(text)[1:-1] in problem.value.message
        or "includes invalid" in problem.value.message
    )


def host(*mounts: Mount, **more: object) -> HostConfig:
    return HostConfig(mounts=list(mounts), **more)


def test_mount_objects_are_read():
    found = mount_requests(
        Config(),
        host(
            Mount(
                type="bind", source="/h", target="/b", read_only=True, bind_options=BindOptions(propagation="shared")
            ),
            Mount(
                type="volume", source="vol", target="/v", volume_options=VolumeOptions(no_copy=True, labels={"a": "b"})
            ),
            Mount(type="tmpfs", target="/t", tmpfs_options=TmpfsOptions(size_bytes=4096, mode=0o1700)),
        ),
    )
    assert found == (
        MountRequest(kind="bind", source="/h", target="/b", read_only=True, propagation="shared"),
        MountRequest(kind="tmpfs", target="/t", options="size=4096,mode=1700"),
        MountRequest(kind="volume", source="vol", target="/v", mode="z", copy=False, labels=(("a", "b"),)),
    )


@pytest.mark.parametrize(
    "mount",
    [
        Mount(type="bind", target="/x"),
        Mount(type="bind", source="rel", target="/x"),
        Mount(type="bind", source="/h", target="x"),
        Mount(type="bind", source="/h"),
        Mount(type="tmpfs", source="/h", target="/x"),
        Mount(type="volume", source="a/b", target="/x"),
        Mount(type="npipe", source="a", target="/x"),
        Mount(type="what", source="a", target="/x"),
        Mount(type="volume", target="/x", volume_options=VolumeOptions(subpath="a")),
        Mount(type="volume", source="v", target="/x", volume_options=VolumeOptions(subpath="a/../../b")),
        Mount(type="volume", source="v", target="/x", volume_options=VolumeOptions(subpath="/a")),
        Mount(type="volume", source="v", target="/x", bind_options=BindOptions()),
        Mount(type="bind", source="/h", target="/x", bind_options=BindOptions(read_only_non_recursive=True)),
        Mount(type="bind", source="/h", target="/x", bind_options=BindOptions(read_only_force_recursive=True)),
        Mount(type="image", target="/x"),
        Mount(type="bind", source="/h", target="/x", bind_options=BindOptions(propagation="no")),
    ],
)
def test_mount_objects_that_cannot_be_done_are_refused(mount):
    with pytest.raises(Problem):
        mount_requests(Config(), host(mount))


def test_volumes_of_the_image_give_way_to_mounts_at_their_place():
    config = Config(volumes={"/data": Empty(), "/other": Empty()})
    found = mount_requests(config, HostConfig(binds=["named:/data"]))
    assert [(mount.source, mount.target) for mount in found] == [("named", "/data"), ("", "/other")]


def test_one_place_cannot_be_mounted_twice():
    with pytest.raises(Problem, match="Duplicate mount point: /x"):
        mount_requests(Config(), host(Mount(type="tmpfs", target="/x"), binds=["/h:/x/"]))


def test_parents_come_before_children():
    found = mount_requests(Config(), HostConfig(binds=["/h:/a/b/c", "/h:/a", "/h:/a/b"]))
    assert [mount.target for mount in found] == ["/a", "/a/b", "/a/b/c"]
