"""The storage drivers by name: each gives containers a root of their own; the image never changes."""

import io
import signal
import subprocess
import tarfile

import pytest

from netd.common.errors import BadRequest
from runtime.paths import Paths
from runtime.storage.deferred_delete import DeferredDelete
from runtime.storage.drivers.selection import StorageDrivers
from tests.installation import Installation, wait_until

SCRIPT = "rm /etc/passwd; rm -r /home; mkdir /new; echo text > /new/f; ln /new/f /new/g; chmod 700 /root; : > /var/f"


@pytest.fixture(scope="module", params=["overlay2", "vfs", "btrfs"])
def on_driver(request, tmp_path_factory):
    """An installation with a busybox image whose storage driver is the parameter, btrfs on a loop file."""
    made = Installation(config=f'storage_driver = "{request.param}"\n')
    try:
        if request.param == "btrfs":
            disk = tmp_path_factory.mktemp("btrfs") / "disk"
            with disk.open("wb") as file:
                file.truncate(200 << 20)
            subprocess.run(["mkfs.btrfs", "-q", disk], check=True, capture_output=True)
            made.state.mkdir()
            subprocess.run(["mount", "-o", "loop", disk, made.state], check=True)
        made.start()
        made.load_busybox()
        yield request.param, made
    finally:
        made.destroy()


def test_a_driver_gives_every_container_a_root_of_its_own(on_driver):
    name, place = on_driver
    api = place.docker.api
    assert api.info()["Driver"] == name
    place.netctl("run", "--name", "first", "--network", "none", "busybox", "sh", "-c", SCRIPT)
    shown = place.inspect("first")
    assert shown["Driver"] == name and shown["GraphDriver"]["Name"] == name
    assert api.containers(all=True, size=True)[0]["SizeRw"] > 0
    second = place.netctl(
        "run", "--rm", "--network", "none", "busybox", "sh", "-c", "cat /etc/passwd; stat -c %a /root"
    )
    assert second.stdout.startswith("root:x:0") and second.stdout.endswith("755\n")
    place.netctl("rm", "first")
    wait_until(lambda: not any((place.state / "containers").iterdir()))


def test_changes_commits_builds_and_copies_are_those_of_every_driver(on_driver, tmp_path):
    _name, place = on_driver
    api = place.docker.api
    place.netctl("run", "--name", "first", "--network", "none", "busybox", "sh", "-c", SCRIPT)
    expected = ["C /etc", "D /etc/passwd", "D /home", "A /new", "A /new/f", "A /new/g", "C /root", "C /var", "A /var/f"]
    assert place.netctl("diff", "first").stdout.splitlines() == expected
    api.commit("first", repository="second", tag="1")
    script = "ls /home /etc/passwd; stat -c %a /root; stat -c %h /new/f; cat /new/g"
    done = place.netctl("run", "--rm", "--network", "none", "second:1", "sh", "-c", script)
    assert done.stdout == "700\n2\ntext\n" and done.stderr.count("No such file") == 2
    assert api.history("second:1")[0]["Size"] < 1000
    file = io.BytesIO(b"FROM second:1\nRUN rm /new/f; echo built > /built\n")
    assert "error" not in list(api.build(fileobj=file, tag="third:1", network_mode="none", decode=True))[-1]
    done = place.netctl("run", "--name", "last", "--network", "none", "third:1", "sh", "-c", "cat /built; ls /new")
    assert done.stdout == "built\ng\n"
    place.netctl("cp", "last:/built", str(tmp_path / "out"))
    place.netctl("cp", str(tmp_path / "out"), "last:/in")
    assert place.netctl("diff", "last").stdout == "A /in\n"
    with tarfile.open(fileobj=io.BytesIO(b"".join(api.export("last")))) as archive:
        assert archive.extractfile("in").read() == b"built\n"
    for name in ("first", "last"):
        place.netctl("rm", name)


def test_a_size_limit_holds_or_is_refused_by_name(on_driver):
    name, place = on_driver
    words = ("run", "--rm", "--network", "none", "--storage-opt", "size=4m", "busybox")
    done = place.netctl(*words, "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=20", check=False)
    expected = "quota exceeded" if name == "btrfs" else f"not supported by the storage driver {name}"
    assert done.returncode and expected in done.stderr


@pytest.mark.parametrize("name", ["aufs", "zfs", "devicemapper", "fuse-overlayfs", "btrfs", "nothing"])
def test_a_driver_that_cannot_work_is_refused_by_name(name, tmp_path):
    with pytest.raises(BadRequest, match=f'storage driver {name} .*"overlay2"'):
        StorageDrivers(name, Paths(tmp_path, tmp_path), DeferredDelete(tmp_path / "scratch"))


def test_a_container_keeps_its_driver_when_the_setting_changes():
    place = Installation()
    try:
        place.start()
        place.load_busybox()
        place.netctl("create", "--name", "old", "--network", "none", "busybox", "cat", "/etc/group")
        place.kill("runtime", signal.SIGTERM)
        place.config.write_text('storage_driver = "vfs"\n')
        place.start("runtime")
        assert place.netctl("start", "-a", "old").stdout.startswith("root:x:0")
        assert place.inspect("old")["Driver"] == "overlay2"
    finally:
        place.destroy()
