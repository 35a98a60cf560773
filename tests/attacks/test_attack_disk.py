"""Attack: the disk of the state directory is filled, by a container or from outside, or becomes read-only.

Both daemons start, list their objects, refuse changes in one sentence, allow removals that free space, and work as
before when the disk is writable again.
"""

import contextlib
import signal
import subprocess

import pytest
from docker.errors import APIError

from tests.installation import IMAGE, Installation, wait_until

FILL = "dd if=/dev/zero of=/fill bs=64k; dd if=/dev/zero of=/fill2 bs=1k; sleep 100000"


class SmallDisk(Installation):
    """An installation with its state on a disk of 16 MiB, which can be made read-only for daemons started later."""

    def __init__(self):
        super().__init__()
        self.read_only = False
        self.state.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", self.state], check=True)

    @property
    def within(self):
        words = super().within
        if not self.read_only:
            return words
        if "netd" in self.processes:
            return [*words, "nsenter", f"--mount=/proc/{self.processes['netd'].pid}/ns/mnt"]
        script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
        return [*words, "unshare", "--mount", "sh", "-c", script, str(self.state)]

    def make_writable(self):
        """Make the disk writable for daemons that were started with it read-only."""
        namespace = f"--mount=/proc/{self.processes['netd'].pid}/ns/mnt"
        subprocess.run(["nsenter", namespace, "mount", "-o", "remount,bind,rw", self.state], check=True)

    def fill(self):
        """Fill the disk from outside of containers."""
        with contextlib.suppress(OSError), (self.state / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))
        assert self.free() == 0

    def free(self):
        there = subprocess.run(["stat", "-f", "-c", "%a", self.state], capture_output=True, text=True, check=True)
        return int(there.stdout)

    def warnings(self):
        return self.docker.api.info()["Warnings"] or []


@pytest.fixture
def place():
    installation = SmallDisk()
    try:
        installation.start()
        installation.load_busybox()
        yield installation
    finally:
        installation.destroy()


def both_killed(place):
    for name in ("runtime", "netd"):
        place.kill(name, signal.SIGKILL)


@pytest.mark.parametrize("removes_itself", [True, False])
def test_a_container_that_fills_the_disk_is_removed_even_by_daemons_that_start_then(place, removes_itself):
    flags = ["--rm"] if removes_itself else []
    place.netctl("run", "-d", "--name", "filler", *flags, "busybox", "sh", "-c", FILL)
    wait_until(lambda: place.free() == 0)
    both_killed(place)
    place.start()
    assert [c["Names"] for c in place.docker.api.containers()] == [["/filler"]]
    place.netctl("rm", "-f", "filler")
    wait_until(lambda: place.free() > 100)
    place.netctl("run", "--rm", "busybox", "true")
    wait_until(lambda: not place.warnings())


def test_everything_can_be_removed_from_a_full_disk(place):
    place.netctl("network", "create", "n1")
    place.netctl("volume", "create", "v1")
    place.netctl("run", "-d", "--name", "c1", "--network", "n1", "-v", "v1:/v", "busybox", "sleep", "100000")
    place.docker.api.create_container_from_config({"Image": IMAGE, "Cmd": ["true"]}, "c2")
    place.fill()
    for refused in (("network", "create", "n2"), ("volume", "create", "v2"), ("run", "-d", "busybox", "sleep", "9")):
        done = place.netctl(*refused, check=False)
        assert done.returncode != 0 and "is full; free some space" in done.stderr, done.stderr
    for words in (
        ("rm", "-f", "c1"),
        ("rm", "c2"),
        ("network", "rm", "n1"),
        ("volume", "rm", "v1"),
        ("rmi", "busybox"),
    ):
        place.netctl(*words)
        place.fill()
    assert any("is full" in warning for warning in place.warnings())
    both_killed(place)
    place.start()
    client = place.docker
    assert not client.containers.list(all=True) and not client.images.list() and not client.volumes.list()
    assert {network.name for network in client.networks.list()} == {"bridge", "host", "none"}
    (place.state / "ballast").unlink()
    wait_until(lambda: not place.warnings())


def test_a_container_of_rm_that_ends_on_a_full_disk_is_gone(place):
    place.netctl("run", "-d", "--rm", "--name", "brief", "busybox", "sleep", "100000")
    place.fill()
    place.netctl("kill", "brief")
    wait_until(lambda: not place.docker.api.containers(all=True))
    assert all(process.poll() is None for process in place.processes.values())


def test_a_read_only_disk_is_read_and_told_of_and_changes_go_on_when_it_is_writable(place):
    place.netctl("network", "create", "n1")
    serve = "echo hello > /tmp/index.html; httpd -p 80 -h /tmp; echo serving; sleep 100000"
    place.netctl("run", "-d", "--name", "web", "--network", "n1", "busybox", "sh", "-c", serve)
    place.netctl("run", "-d", "--name", "client", "--network", "n1", "busybox", "sleep", "100000")
    both_killed(place)
    place.read_only = True
    place.start()
    client = place.docker
    assert {container.name for container in client.containers.list()} == {"web", "client"}
    assert "n1" in {network.name for network in client.networks.list()}
    assert place.inspect("web")["State"]["Running"] and "serving" in place.netctl("logs", "web").stdout
    assert "hello" in place.netctl("exec", "client", "wget", "-q", "-O", "-", "http://web/").stdout
    assert sorted(warning.split(":")[0] for warning in place.warnings()) == ["netd", "netd-runtime"]
    assert "disk is read-only" in place.log("netd") and "disk is read-only" in place.log("runtime")
    for call in (
        lambda: client.networks.create("n2"),
        lambda: client.volumes.create("v2"),
        lambda: client.api.create_container_from_config({"Image": IMAGE, "Cmd": ["true"]}, "c2"),
        lambda: client.api.remove_container("client", force=True),
    ):
        with pytest.raises(APIError) as error:
            call()
        assert error.value.response.status_code == 503 and "read-only; make it writable" in error.value.explanation
    place.netctl("stop", "-t", "0", "web")
    assert place.inspect("web")["State"]["Status"] == "exited"
    place.make_writable()
    client.networks.create("n2")
    place.netctl("start", "web")
    assert (
        "hello"
        in place.netctl("run", "--rm", "--network", "n1", "busybox", "wget", "-q", "-O", "-", "http://web/").stdout
    )
    assert not place.warnings()
