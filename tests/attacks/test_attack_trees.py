"""File trees written by images and containers: whatever they contain, the daemon changes nothing outside them."""

import asyncio
import errno
import io
import os
import stat
import struct
import subprocess
import tarfile
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from requests.exceptions import ChunkedEncodingError

from runtime.kernel import openat, tree
from runtime.storage import copyup
from runtime.storage.deferred_delete import DeferredDelete
from tests.installation import busybox_tar, wait_until

NESTED = 1100
"""A depth beyond Python's recursion limit and beyond PATH_MAX (4,096 bytes)."""
DEEP_SCRIPT = f"i=0; while [ $i -lt {NESTED} ]; do mkdir directory && cd directory; i=$((i+1)); done; echo bottom > f"


def image_with(api, name, *members):
    """Import busybox and *members*, (name, type, link target) each, as the image *name*."""
    data = io.BytesIO(busybox_tar())
    with tarfile.open(fileobj=data, mode="a") as archive:
        for path, kind, target in members:
            info = tarfile.TarInfo(path)
            info.type, info.linkname, info.mode = kind, target, 0o755
            archive.addfile(info)
    api.import_image_from_data(data.getvalue(), repository=name, tag="latest", changes=["VOLUME /data"])


@pytest.fixture
def tmp_path(tmp_path):
    """A folder that is emptied after the test: pytest cannot delete deeply nested folders."""
    yield tmp_path
    for left in tmp_path.iterdir():
        tree.remove_path(left)


@pytest.fixture
def canary(tmp_path):
    """A file of the host that must not change."""
    file = tmp_path / "canary"
    file.write_text("secret\n")
    file.chmod(0o600)
    return file


def assert_untouched(canary):
    status = canary.stat()
    assert canary.read_text() == "secret\n"
    assert (status.st_nlink, status.st_uid, stat.S_IMODE(status.st_mode)) == (1, 0, 0o600)


@pytest.fixture
def trash(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return DeferredDelete(scratch)


def make_deep(folder, levels=NESTED, name="directory"):
    """Nest folders below *folder*, by descriptor because of PATH_MAX, with a file in every hundredth."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for level in range(levels):
        os.mkdir(name, dir_fd=handle)
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=handle)
        os.close(handle)
        handle = inner
        if level % 100 == 99:
            os.close(os.open(b"f\xff", os.O_WRONLY | os.O_CREAT, dir_fd=handle))
            os.truncate(f"/proc/self/fd/{handle}/".encode() + b"f\xff", 5)
    os.close(handle)


# Copy-up


def test_hard_linked_links_of_an_image_do_not_give_it_files_of_the_host(api, output, canary):
    link, hard = tarfile.SYMTYPE, tarfile.LNKTYPE
    image_with(api, "evil", ("data", tarfile.DIRTYPE, ""), ("data/s", link, str(canary)), ("data/t", hard, "data/s"))
    script = "{ for f in /data/*; do echo owned > $f; done; } 2>/dev/null; readlink /data/s; readlink /data/t"
    _, text = output("sh", "-c", script, Image="evil")
    assert_untouched(canary)
    assert text.splitlines() == [str(canary)] * 2, "both are still links"


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFLNK])
def test_files_with_several_names_are_one_file_in_the_volume_too(tmp_path, trash, canary, kind):
    layer, volume = tmp_path / "layer", tmp_path / "volume"
    (layer / "data/inner").mkdir(parents=True)
    volume.mkdir()
    if kind == stat.S_IFLNK:
        (layer / "data/a").symlink_to(canary)
    else:
        os.mknod(layer / "data/a", kind | 0o640)
    for name in ("data/b", "data/inner/c"):
        os.link(layer / "data/a", layer / name, follow_symlinks=False)
    assert copyup.fill(volume, [str(layer)], "/data", trash)
    found = [(volume / name).lstat() for name in ("a", "b", "inner/c")]
    assert len({status.st_ino for status in found}) == 1 and found[0].st_nlink == 3
    assert stat.S_IFMT(found[0].st_mode) == kind
    assert_untouched(canary)


def test_a_container_that_shares_the_volume_cannot_lead_the_copy_away(tmp_path, trash, canary):
    """Another container replaces every new name in the volume by a link to a file of the host."""
    layer, volume = tmp_path / "layer", tmp_path / "volume"
    (layer / "data").mkdir(parents=True)
    for number in range(200):
        os.mkfifo(layer / f"data/{number}", 0o666)
    over = threading.Event()

    def swap():
        while not over.is_set():
            for name in os.listdir(volume):
                os.symlink(canary, tmp_path / "scratch-link")
                os.rename(tmp_path / "scratch-link", volume / name)

    for _ in range(3):
        volume.mkdir()
        over.clear()
        attacker = threading.Thread(target=swap)
        attacker.start()
        try:
            copyup.fill(volume, [str(layer)], "/data", trash)
        finally:
            over.set()
            attacker.join()
        assert_untouched(canary)
        tree.remove_path(volume)


def test_what_a_container_wrote_meanwhile_stays(tmp_path, trash, monkeypatch):
    layer, volume = tmp_path / "layer", tmp_path / "volume"
    (layer / "data").mkdir(parents=True)
    (layer / "data/mine").write_text("of the image")
    (layer / "data/other").write_text("of the image")
    volume.mkdir()
    original = tree.walk

    def walk(root):
        (volume / "mine").write_text("of the container")
        yield from original(root)

    monkeypatch.setattr(tree, "walk", walk)
    assert copyup.fill(volume, [str(layer)], "/data", trash)
    assert (volume / "mine").read_text() == "of the container" and (volume / "other").read_text() == "of the image"
    assert not any((tmp_path / "scratch").iterdir())


def test_a_volume_is_filled_from_a_tree_of_any_depth(tmp_path, trash):
    layer, volume = tmp_path / "layer", tmp_path / "volume"
    (layer / "data").mkdir(parents=True)
    volume.mkdir()
    make_deep(layer / "data")
    assert copyup.fill(volume, [str(layer)], "/data", trash)
    assert tree.size(volume) == tree.size(layer) == 5 * (NESTED // 100)
    for folder in (layer, volume):
        tree.remove_path(folder)


@pytest.fixture
def mounted(tmp_path):
    """A volume on a file system of its own, and a layer with folders and linked files."""
    layer, volume = tmp_path / "layer", tmp_path / "volume"
    (layer / "data/a/b").mkdir(parents=True), volume.mkdir()
    (layer / "data/a/b/f").write_text("x")
    os.link(layer / "data/a/b/f", layer / "data/g")
    subprocess.run(["mount", "-t", "tmpfs", "none", volume], check=True)
    yield layer, volume
    subprocess.run(["umount", volume], check=True)


def test_a_volume_on_another_file_system_is_filled_too(mounted, trash):
    layer, volume = mounted
    assert copyup.fill(volume, [str(layer)], "/data", trash)
    assert (volume / "a/b/f").read_text() == (volume / "g").read_text() == "x"


def test_folders_that_a_container_moves_while_a_volume_is_filled_lead_the_copy_nowhere_else(
    mounted, trash, tmp_path, monkeypatch
):
    """After a folder was moved up, its ``..`` would lead out of the volume."""
    layer, volume = mounted
    (layer / "data/z").mkdir()
    original = tree.walk

    def walk(root):
        for step in original(root):
            yield step
            if step.name == b"b" and step.kind == "enter" and (volume / "a/b").exists():
                os.rename(volume / "a/b", volume / "moved")

    monkeypatch.setattr(tree, "walk", walk)
    with pytest.raises(OSError, match="moved during the copy"):
        copyup.fill(volume, [str(layer)], "/data", trash)
    assert {path.name for path in tmp_path.iterdir()} == {"layer", "volume", "scratch"}


def test_whiteouts_of_the_only_layer_are_no_devices_of_the_volume(tmp_path, trash):
    layer, volume = tmp_path / "layer", tmp_path / "volume"
    (layer / "data").mkdir(parents=True), volume.mkdir()
    os.mknod(layer / "data/hidden", stat.S_IFCHR, os.makedev(0, 0))
    os.mknod(layer / "data/shown", stat.S_IFCHR, os.makedev(1, 3))
    assert copyup.fill(volume, [str(layer)], "/data", trash)
    assert os.listdir(volume) == ["shown"]


def test_a_volume_has_everything_that_the_files_of_the_image_have(tmp_path, trash):
    layer, volume = tmp_path / "layer", tmp_path / "volume"
    data = layer / "data"
    (data / "sub").mkdir(parents=True), volume.mkdir()
    (data / "tool").write_bytes(b"tool")
    os.link(data / "tool", data / "sub/again")
    os.chown(data / "tool", 3, 4), os.chmod(data / "tool", 0o4711)
    os.setxattr(data / "tool", "user.note", b"\xff\n"), os.setxattr(data / "sub", "user.note", b"folder")
    os.setxattr(data / "tool", "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0))
    os.symlink("../etc", data / "link"), os.lchown(data / "link", 5, 6)
    os.mkfifo(data / "pipe", 0o620), os.mknod(data / "null", stat.S_IFCHR | 0o640, os.makedev(1, 3))
    with (data / "sparse").open("wb") as file:
        file.seek(64 << 20)
        file.write(b"end")
    os.chown(data, 7, 8), os.chmod(data, 0o1750)
    for name in ("tool", "link", "pipe", "sub"):
        os.utime(data / name, ns=(10**18, 10**18 + 7), follow_symlinks=False)
    assert copyup.fill(volume, [str(layer)], "/data", trash)

    def facts(root):
        found = {}
        for path in [root, *sorted(root.rglob("*"))]:
            status = path.lstat()
            kept = {
                key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)
            }
            fields = (status.st_mode, status.st_uid, status.st_gid, status.st_rdev, kept)
            moment = status.st_mtime_ns if path.name in ("tool", "link", "pipe", "sub", "again") else 0
            found[str(path.relative_to(root))] = (*fields, moment, path.is_file() and path.read_bytes())
        return found

    assert facts(volume) == facts(data) and os.readlink(volume / "link") == "../etc"
    assert (volume / "tool").stat().st_ino == (volume / "sub/again").stat().st_ino
    assert (volume / "sparse").stat().st_blocks * 512 < 1 << 20


# Walks and removal


def _usage(api):
    """Return the disk usage in the form of API version 1.51, which has all objects."""
    return api.get(f"{api.base_url}/v1.51/system/df").json()


def test_a_container_with_folders_nested_deeper_than_any_path_is_measured_and_removed(api, run, place):
    made = run("sh", "-c", DEEP_SCRIPT)
    assert api.wait(made, timeout=60)["StatusCode"] == 0
    (shown,) = api.containers(all=True, filters={"id": made}, size=True)
    assert shown["SizeRw"] == len("bottom\n")
    assert _usage(api)["Containers"] and api.diff(made)[0]["Kind"] == 1
    with pytest.raises(ChunkedEncodingError):
        b"".join(api.export(made))
    api.remove_container(made)
    assert api.ping() and not (place.state / "containers" / made).exists()


def test_a_deep_volume_is_measured_and_removed(api, output, place):
    assert output("sh", "-c", f"cd /v; {DEEP_SCRIPT}", host={"Binds": ["deep:/v"]})[0] == 0
    assert [volume["UsageData"]["Size"] for volume in _usage(api)["Volumes"]] == [len("bottom\n")]
    api.remove_container(api.containers(all=True)[0]["Id"])
    api.remove_volume("deep")
    assert not (place.state / "volumes/deep").exists() and api.ping()


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_walks_and_removals_keep_few_descriptors_open(tmp_path):
    make_deep(tmp_path, 2000, "d")
    before = most = open_descriptors()
    root = openat.open_tree_root(tmp_path)
    for step in tree.walk(root):
        if step.kind == "enter":
            most = max(most, open_descriptors())
    os.close(root)
    assert most - before < 80
    tree.remove_path(tmp_path / "d")
    assert not any(tmp_path.iterdir()) and open_descriptors() == before


def test_a_walk_sees_everything_once_though_it_goes_deep_from_wide_folders(tmp_path):
    expected = set()
    for number in range(3000):
        (tmp_path / f"file{number}").touch()
        expected.add(f"file{number}".encode())
    for number in range(3):
        (tmp_path / f"folder{number}").mkdir()
        make_deep(tmp_path / f"folder{number}", 100)
    root = openat.open_tree_root(tmp_path)
    found = [step.name for step in tree.walk(root) if step.kind == "file"]
    os.close(root)
    assert len(found) == 3003 and set(found) == expected | {b"f\xff"}
    assert tree.size(tmp_path) == 15


names = st.binary(min_size=1, max_size=8).filter(lambda name: not {0, 0x2F} & set(name) and name not in (b".", b".."))
shapes = st.recursive(st.none(), lambda inner: st.dictionaries(names, inner, max_size=4), max_leaves=25)


def build(folder, shape):
    for name, inner in (shape or {}).items():
        if inner is None:
            os.close(os.open(name, os.O_CREAT, dir_fd=folder))
        else:
            os.mkdir(name, dir_fd=folder)
            handle = os.open(name, os.O_RDONLY, dir_fd=folder)
            build(handle, inner)
            os.close(handle)


def rebuilt(root):
    """Return the shape of the tree as derived from the steps of a walk."""
    found = [{}]
    for step in tree.walk(root):
        if step.kind == "file":
            found[-1][step.name] = None
        elif step.kind == "enter":
            found.append(found[-1].setdefault(step.name, {}))
        else:
            found.pop()
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("near", [2, 3, 32])
@given(shape=shapes)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_walks_see_all_and_removals_leave_nothing_however_few_folders_stay_open(tmp_path, monkeypatch, near, shape):
    monkeypatch.setattr(tree, "_MAX_OPEN", near)
    (tmp_path / "tree").mkdir()
    root = openat.open_tree_root(tmp_path / "tree")
    build(root, shape)
    assert rebuilt(root) == (shape or {})
    os.close(root)
    tree.remove_path(tmp_path / "tree")
    assert not any(tmp_path.iterdir())


def test_folders_that_move_during_a_walk_lead_it_nowhere_else(tmp_path):
    """The deepest folder is moved out of the tree: the walk must not continue in its new parent."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir(), outside.mkdir()
    (outside / "secret").touch()
    make_deep(inside, 60, "d")
    root = openat.open_tree_root(inside)
    seen, depth = [], 0
    for step in tree.walk(root):
        seen.append(step.name)
        depth += step.kind == "enter"
        if depth == 60:
            os.rename(inside / "/".join("d" * 25), outside / "moved")
            depth += 1
    os.close(root)
    assert b"secret" not in seen
    tree.remove_path(inside), tree.remove_path(outside)


def test_files_that_vanish_during_a_walk_are_no_error(tmp_path):
    for number in range(2000):
        (tmp_path / f"f{number}").touch()
    over = threading.Thread(target=lambda: [path.unlink() for path in tmp_path.iterdir()])
    over.start()
    assert tree.size(tmp_path) == 0
    over.join()
    assert tree.size(tmp_path / "never there") == 0


def test_links_in_a_tree_are_removed_and_what_they_lead_to_stays(tmp_path, canary):
    victim = tmp_path / "victim"
    (victim / "d").mkdir(parents=True)
    (victim / "d/file").symlink_to(canary)
    (victim / "folder").symlink_to(tmp_path)
    tree.remove_path(victim)
    assert_untouched(canary)
    (tmp_path / "link").symlink_to(tmp_path / "scratch")
    (tmp_path / "scratch").mkdir()
    tree.remove_path(tmp_path / "link")
    assert (tmp_path / "scratch").is_dir()


def test_what_chattr_protects_is_removed_too(tmp_path):
    victim = tmp_path / "victim"
    make_deep_and_flagged(victim)
    tree.remove_path(victim)
    assert not victim.exists() and sorted(path.name for path in tmp_path.iterdir()) == []


def make_deep_and_flagged(victim):
    victim.mkdir()
    make_deep(victim, 40, "d")
    (victim / "file").touch()
    protected = [victim / "file", victim / "d", victim / "/".join("d" * 33), victim / "/".join("d" * 34)]
    for path, flag in zip(reversed(protected), ("+i", "+a", "+i", "+a"), strict=True):
        done = subprocess.run(["chattr", flag, path], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("the file system of the tests has no such flags")


def test_a_mount_in_a_tree_is_left_alone_and_told(tmp_path):
    victim, treasure = tmp_path / "victim", tmp_path / "treasure"
    (victim / "d").mkdir(parents=True), treasure.mkdir()
    (victim / "gone").touch(), (treasure / "kept").touch()
    subprocess.run(["mount", "--bind", treasure, victim / "d"], check=True)
    try:
        with pytest.raises(OSError) as raised:
            tree.remove_path(victim)
    finally:
        subprocess.run(["umount", victim / "d"], check=True)
    assert raised.value.errno in (errno.EBUSY, errno.EXDEV)
    assert (treasure / "kept").exists() and not (victim / "gone").exists()


def test_left_overs_of_a_crash_that_are_deep_do_not_stop_the_next_start(api, place):
    """Such a tree made the daemon fail at each start, because it tried to delete it again."""
    made = place.state / "tmp" / "gone-left"
    made.mkdir()
    make_deep(made)
    place.kill("runtime")
    place.start("runtime")
    assert api.ping()
    wait_until(lambda: not made.exists())


def test_deletions_of_huge_trees_leave_threads_for_everything_else(tmp_path, monkeypatch):
    """In an earlier version each removal occupied one of the few threads until all files were deleted."""
    (tmp_path / "scratch").mkdir()
    release = threading.Event()
    monkeypatch.setattr(tree, "remove_path", lambda path: release.wait(20))

    async def main():
        trash = DeferredDelete(tmp_path / "scratch")
        for number in range(40):
            trash.delete(tmp_path / str(number))
        try:
            await asyncio.wait_for(asyncio.to_thread(str), 5)
        finally:
            release.set()
        await trash.wait()

    asyncio.run(main())
