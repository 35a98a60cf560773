"""The container's root is the root of its mount namespace, with nothing of the host or of the skeleton above it."""

from __future__ import annotations

from low_box import Box, needs_host_root

from runtime.kernel import capabilities

ALL = {"process": {"capabilities": capabilities.all_of_host(), "seccomp": b""}}


def test_one_mount_is_the_root(box: Box) -> None:
    points = box.shell("cut -d ' ' -f 5 /proc/self/mountinfo").split()
    assert points.count("/") == 1 and "/root" not in points
    assert box.shell("ls -d /proc/self/cwd/.. /bin").split() == ["/bin", "/proc/self/cwd/.."]


@needs_host_root
def test_the_kernel_does_not_take_the_container_for_a_chroot(box: Box) -> None:
    """It refuses user namespaces to processes that are in a chroot."""
    assert box.shell("unshare -U echo made", privileged=True, **ALL) == "made\n"


@needs_host_root
def test_a_privileged_container_can_change_its_root(box: Box) -> None:
    script = (
        "mkdir /tmp/new; mount -t tmpfs none /tmp/new; cd /tmp/new; mkdir old; pivot_root . old;"
        " exec /old/bin/busybox ls /old/bin/busybox"
    )
    assert box.shell(script, privileged=True, **ALL) == "/old/bin/busybox\n"


def test_an_exec_has_the_same_root(box: Box) -> None:
    spec = box.spec("sh", "-c", "echo here > /mark; sleep 1000")
    running = box.start(spec)
    box.until(lambda: box.exec(spec, running.pid, box.process("cat", "/mark"))[1] == "here\n")
