"""MaskedPaths and ReadonlyPaths: what they hide and protect, and that links of the image lead nowhere else."""

from __future__ import annotations

import pytest


def output(api, made) -> str:
    api.start(made)
    api.wait(made)
    return api.logs(made).decode()


def test_own_paths_take_the_place_of_the_default_ones(api, make):
    script = "wc -c </etc/passwd; touch /tmp/x; touch /var/x; echo x >/proc/sys/kernel/hostname; wc -c </proc/meminfo"
    host = {"MaskedPaths": ["/etc/passwd", "/tmp", "/nosuch", "/proc/meminfo"], "ReadonlyPaths": ["/var", "/proc/sys"]}
    shown = output(api, make("sh", "-c", script, host=host))
    assert shown.count("0\n") == 2 and shown.count("Read-only file system") == 3
    shown = output(
        api, make("sh", "-c", "grep -c ' /proc/' /proc/mounts", host={"MaskedPaths": [], "ReadonlyPaths": []})
    )
    assert shown == "0\n"


def test_links_of_the_image_are_resolved_inside_it(api, make):
    """/bin/ls is a link to busybox, which is hidden then."""
    made = make("/bin/true", host={"MaskedPaths": ["/bin/ls"]})
    with pytest.raises(Exception, match=r"permission denied|not found|exec format"):
        api.start(made)


def test_privileged_containers_have_none(api, make):
    made = make("wc", "-c", "/etc/passwd", host={"Privileged": True, "MaskedPaths": ["/etc/passwd"]})
    assert not output(api, made).startswith("0")
    assert api.inspect_container(made)["HostConfig"]["MaskedPaths"] == ["/etc/passwd"]
