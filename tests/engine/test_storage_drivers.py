"""The storage drivers by name: each gives containers a root of their own; the image never changes."""

import signal
import subprocess

import pytest

from tests.installation import Installation, wait_until

SCRIPT = "rm /etc/passwd; rm -r /home; mkdir /new; echo text > /new/f; ln /new/f /new/g; chmod 700 /root; : > /var/f"


@pytest.fixture(scope="module", params=["vfs", "btrfs"])
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
    assert shown["Driver"] == name and shown["GraphDriver"] == {"Name": name, "Data": None}
    assert api.containers(all=True, size=True)[0]["SizeRw"] > 0
    second = place.netctl(
        "run", "--rm", "--network", "none", "busybox", "sh", "-c", "cat /etc/passwd; stat -c %a /root"
    )
    assert second.stdout.startswith("root:x:0") and second.stdout.endswith("755\n")
    place.netctl("rm", "first")
    wait_until(lambda: not any((place.state / "containers").iterdir()))


def test_a_size_limit_holds_or_is_refused_by_name(on_driver):
    name, place = on_driver
    words = ("run", "--rm", "--network", "none", "--storage-opt", "size=4m", "busybox")
    done = place.netctl(*words, "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=20", check=False)
    expected = "quota exceeded" if name == "btrfs" else "not supported by the storage driver vfs"
    assert done.returncode and expected in done.stderr


@pytest.mark.parametrize("name", ["aufs", "zfs", "devicemapper", "btrfs", "nothing"])
def test_a_driver_that_cannot_work_is_refused_by_name(name):
    place = Installation(config=f'storage_driver = "{name}"\n')
    try:
        with pytest.raises(AssertionError) as error:
            place.start("runtime")
        assert name in str(error.value) and "overlay2" in str(error.value)
    finally:
        place.destroy()


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
