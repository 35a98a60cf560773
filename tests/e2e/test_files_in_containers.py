"""hosts, resolv.conf and hostname of a running container while networks are connected and disconnected."""

from __future__ import annotations

import pytest


@pytest.fixture
def inside(installation):
    """Return the output of a command in the container."""

    def run(*command: str) -> str:
        return installation.netctl("exec", "c", *command).stdout

    return run


def address(installation, network: str, key: str = "IPAddress") -> str:
    return installation.inspect("c")["NetworkSettings"]["Networks"][network][key]


LOOPBACK = [
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::\tip6-localnet",
    "ff00::\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
]


def test_connecting_changes_exactly_its_lines_and_users_keep_theirs(installation, inside):
    for name, more in (("one", ()), ("two", ("--ipv6",))):
        installation.netctl("network", "create", *more, name)
    installation.netctl("run", "-d", "--name", "c", "--network", "one", "--hostname", "foo",
                 "--add-host", "gw:host-gateway",
                 "--dns-search", "ex.test", "--dns-opt", "timeout:3", "busybox", "sleep", "1000")  # fmt: skip
    first = [*LOOPBACK, "172.17.0.1\tgw", f"{address(installation, 'one')}\tfoo"]
    assert inside("cat", "/etc/hosts").splitlines() == first
    assert inside("cat", "/etc/hostname") == "foo\n"
    resolv = inside("cat", "/etc/resolv.conf")
    assert "nameserver 127.0.0.11\nsearch ex.test\noptions timeout:3 ndots:0\n" in resolv
    inside("sh", "-c", "echo '192.0.2.9 mine' >> /etc/hosts; echo '# mine' >> /etc/resolv.conf")
    installation.netctl("network", "connect", "two", "c")
    lines = inside("cat", "/etc/hosts").splitlines()
    known = [*first, "192.0.2.9 mine"]
    assert lines[: len(known)] == known, "what was there stays where it was"
    own = {f"{address(installation, 'two', key)}\tfoo" for key in ("IPAddress", "GlobalIPv6Address")}
    assert own == set(lines[len(known) :])
    assert inside("cat", "/etc/resolv.conf") == resolv + "# mine\n"
    installation.netctl("network", "disconnect", "two", "c")
    assert inside("cat", "/etc/hosts").splitlines() == [*first, "192.0.2.9 mine"]
    installation.netctl("restart", "-t", "0", "c")
    assert inside("cat", "/etc/hosts").splitlines() == [*first[:-1], f"{address(installation, 'one')}\tfoo"]
    assert inside("cat", "/etc/resolv.conf") == resolv, "edits end with the container's life"


def test_a_link_follows_its_container_under_every_name(installation, inside):
    installation.netctl("run", "-d", "--name", "target", "--hostname", "deep", "busybox", "sleep", "1000")
    installation.netctl("run", "-d", "--name", "c", "--link", "target:db", "busybox", "sleep", "1000")

    def found() -> None:
        where = installation.inspect("target")["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        for name in ("db", "deep", "target"):
            assert where in inside("nslookup", name, "127.0.0.11")

    found()
    installation.netctl("stop", "-t", "0", "target")
    installation.netctl("run", "-d", "--name", "thief", "busybox", "sleep", "1000")
    installation.netctl("start", "target")
    found()


def test_a_domain_name_follows_the_hostname(installation, inside):
    installation.netctl(
        "run", "-d", "--name", "c", "--hostname", "foo", "--domainname", "bar.com", "busybox", "sleep", "1000"
    )
    assert inside("cat", "/etc/hosts").splitlines()[-1] == f"{address(installation, 'bridge')}\tfoo.bar.com foo"
    assert inside("cat", "/etc/hostname") == "foo\n"
