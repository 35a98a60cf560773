"""Sysctls are those of the thread's namespace, also when the folder is looked up once for the thread."""

import os

from netd.kernel import sysctl
from netd.kernel.namespaces import netns

NAME = "net/ipv4/ip_default_ttl"


def test_a_thread_in_a_namespace_reads_and_writes_that_namespace(tmp_path):
    outside = sysctl.read(NAME)
    for name, value in (("a", "71"), ("b", "72")):
        netns.create(tmp_path / name, lambda value=value: sysctl.write(NAME, value))
    try:
        assert [netns.run_in(tmp_path / name, lambda: sysctl.read(NAME)) for name in ("a", "b")] == ["71", "72"]
        assert sysctl.read(NAME) == outside
    finally:
        for name in ("a", "b"):
            netns.remove(tmp_path / name)


def test_the_folder_is_looked_up_once_and_closed_with_the_thread(tmp_path):
    """Each lookup of /proc/sys/net compares the folders of all namespaces on the machine."""

    def folders():
        links = (os.path.join("/proc/self/fd", number) for number in os.listdir("/proc/self/fd"))
        return sum(os.path.lexists(link) and os.readlink(link).startswith("/proc/sys/net") for link in links)

    def prepare():
        counts = [folders()]
        for value in ("71", "72"):
            sysctl.write(NAME, value)
            counts.append(folders())
        return counts

    before = folders()
    try:
        assert netns.create(tmp_path / "a", prepare) == [before, before + 1, before + 1]
        assert folders() == before
    finally:
        netns.remove(tmp_path / "a")
