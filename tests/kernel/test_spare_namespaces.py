"""Namespaces that are made in advance: used once, with the sysctls of most containers, and gone with netd."""

import os

import pytest

from netd.facts import Namespace
from netd.kernel import sysctl
from netd.kernel.namespaces import netns
from netd.kernel.namespaces.sandbox_namespaces import SandboxNamespaces


@pytest.fixture
def sandboxes(tmp_path):
    opened = SandboxNamespaces(tmp_path)
    opened.open()
    yield opened
    for found in list(opened.all()):
        opened.delete(found.sandbox)
    opened.close()


def redirect(address, udp, tcp):
    """Redirect nothing."""


def sandbox(number):
    return f"{number:012x}".ljust(64, "0")


USUAL = (("net.ipv4.ip_unprivileged_port_start", "0"),)


def inode(sandboxes, number):
    return os.stat(sandboxes.path(sandbox(number))).st_ino


def test_a_spare_is_used_for_one_sandbox_with_its_sockets_and_sysctls(sandboxes):
    sandboxes.put(Namespace(sandbox=sandbox(1), sysctls=USUAL), with_links=True)
    assert sandboxes.take_resolver(sandbox(1)) is None
    while sandboxes.make_spare(redirect):
        pass
    for number in (2, 3):
        sandboxes.put(Namespace(sandbox=sandbox(number), sysctls=USUAL), with_links=True)
        resolver = sandboxes.take_resolver(sandbox(number))
        assert os.fstat(resolver.netns).st_ino == inode(sandboxes, number)
        assert resolver.udp.getsockname()[0] == "127.0.0.11"
        resolver.close()
        found = sandboxes.run_in(sandbox(number), lambda: sysctl.read("net/ipv4/ip_unprivileged_port_start"))
        assert found == "0"
    sandboxes.put(Namespace(sandbox=sandbox(4), sysctls=USUAL), with_links=True)
    assert sandboxes.take_resolver(sandbox(4)) is None
    assert len({inode(sandboxes, number) for number in (1, 2, 3, 4)}) == 4


@pytest.mark.parametrize("name", ["net/ipv4/conf/default/log_martians", "net/ipv4/tcp_rmem"])
def test_spares_with_former_sysctls_of_the_host_are_not_used(sandboxes, name):
    """A new namespace copies them from the host."""
    sandboxes.put(Namespace(sandbox=sandbox(1)), with_links=True)
    sandboxes.make_spare(redirect)
    before = sysctl.read(name)
    try:
        sysctl.write(name, "4096 65536 1048576" if "tcp" in name else str(1 - int(before)))
        sandboxes.put(Namespace(sandbox=sandbox(2)), with_links=True)
        assert sandboxes.take_resolver(sandbox(2)) is None
        sandboxes.make_spare(redirect)
        sandboxes.put(Namespace(sandbox=sandbox(3)), with_links=True)
        sandboxes.take_resolver(sandbox(3)).close()
    finally:
        sysctl.write(name, before)


def test_other_sysctls_get_no_spare_until_they_are_usual(sandboxes):
    sandboxes.put(Namespace(sandbox=sandbox(1), sysctls=USUAL), with_links=True)
    sandboxes.make_spare(redirect)
    for number in (2, 3, 4):
        sandboxes.put(Namespace(sandbox=sandbox(number)), with_links=True)
        assert sandboxes.take_resolver(sandbox(number)) is None
    sandboxes.make_spare(redirect)
    sandboxes.put(Namespace(sandbox=sandbox(5)), with_links=True)
    sandboxes.take_resolver(sandbox(5)).close()


def test_a_sandbox_without_links_leaves_the_spares(sandboxes):
    sandboxes.put(Namespace(sandbox=sandbox(1)), with_links=True)
    sandboxes.make_spare(redirect)
    sandboxes.put(Namespace(sandbox=sandbox(2)))
    assert sandboxes.take_resolver(sandbox(2)) is None
    sandboxes.put(Namespace(sandbox=sandbox(3)), with_links=True)
    sandboxes.take_resolver(sandbox(3)).close()


def test_a_deleted_sandbox_leaves_no_namespace_behind(sandboxes):
    """Neither the kept socket nor the DNS sockets that nothing took may keep it alive."""
    sandboxes.put(Namespace(sandbox=sandbox(1)), with_links=True)
    sandboxes.make_spare(redirect)
    sandboxes.put(Namespace(sandbox=sandbox(2)), with_links=True)
    before = len(os.listdir("/proc/self/fd"))
    assert sandboxes.rtnl(sandbox(2)) is sandboxes.rtnl(sandbox(2))
    sandboxes.delete(sandbox(2))
    assert len(os.listdir("/proc/self/fd")) == before - 4
    assert not netns.exists(sandboxes.path(sandbox(2)))


def test_the_kept_socket_is_that_of_the_namespace_which_is_there_now(sandboxes):
    """A namespace may be deleted and made again under the same name, by netd or not."""
    sandboxes.put(Namespace(sandbox=sandbox(1)))
    first = sandboxes.rtnl(sandbox(1))
    netns.remove(sandboxes.path(sandbox(1)))
    sandboxes.put(Namespace(sandbox=sandbox(1)))
    assert sandboxes.rtnl(sandbox(1)) is not first
    assert [link.name for link in sandboxes.rtnl(sandbox(1)).links()] == ["lo"]
