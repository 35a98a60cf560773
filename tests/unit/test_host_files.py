"""The content of a container's resolv.conf and hosts files."""

from ipaddress import IPv6Interface

import pytest
from msgspec.structs import replace

from netd.container_files import HostFiles
from netd.engine.views import files
from tests.unit.builders import endpoint, network, sandbox

HOST = HostFiles(
    "# mine\nnameserver 10.0.0.53\nnameserver 10.0.0.54\ndomain old.test\nsearch ex.test b.test\noptions timeout:3\n",
    "127.0.0.1 localhost\n192.0.2.1 printer\n",
)

BASE = [
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::\tip6-localnet",
    "ff00::\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
]


def words(text, key):
    return [line.split()[1:] for line in text.splitlines() if line.startswith(key)]


def resolv(host=HOST, default=(), **kwargs):
    return files.resolv_conf(sandbox("c", **kwargs), host, default)


def test_containers_use_127_0_0_11_with_the_hosts_search_and_options():
    text = resolv()
    assert words(text, "nameserver") == [["127.0.0.11"]]
    assert words(text, "search") == [["ex.test", "b.test"]]
    assert words(text, "options") == [["timeout:3", "ndots:0"]]


def test_a_containers_settings_replace_the_hosts():
    text = resolv(dns=("192.0.2.9",), dns_search=("c.test",), dns_options=("ndots:2",))
    assert words(text, "nameserver") == [["127.0.0.11"]] and "192.0.2.9" in text
    assert words(text, "search") == [["c.test"]]
    assert words(text, "options") == [["ndots:2"]]


def test_a_dot_means_no_search_at_all():
    assert words(resolv(dns_search=(".",)), "search") == []


def test_an_invalid_ndots_is_replaced_by_0():
    asked = sandbox("c", dns_options=("ndots:x",))
    assert words(files.resolv_conf(asked, HOST), "options") == [["ndots:0"]]
    assert files.asks_for_dots(asked, HOST)
    assert not files.asks_for_dots(sandbox("c"), HOST)
    assert files.asks_for_dots(sandbox("c"), HostFiles("options ndots:1\n"))


def test_a_container_on_the_host_has_the_hosts_file_as_it_is():
    assert resolv(on_host=True) == HOST.resolv_conf


def test_a_host_mode_container_with_dns_settings_uses_the_servers_directly():
    text = resolv(on_host=True, dns=("192.0.2.9",))
    assert words(text, "nameserver") == [["192.0.2.9"]] and words(text, "search") == [["ex.test", "b.test"]]
    assert words(resolv(on_host=True, dns_search=("c.test",)), "nameserver") == [["10.0.0.53"], ["10.0.0.54"]]


@pytest.mark.parametrize("text", ["", "nameserver\n\n#x\noptions\n"])
def test_an_empty_or_unusual_host_file_is_accepted(text):
    assert words(resolv(HostFiles(text)), "nameserver") == [["127.0.0.11"]]


def hosts(made, host=HOST):
    return files.hosts(made, host, ("172.17.0.1", "fd00::1")).splitlines()


def test_hosts_has_base_lines_extra_hosts_and_own_addresses():
    first, two = network("a", "10.1.0.0/16"), network("b", "10.2.0.0/16")
    made = sandbox(
        "c",
        endpoint(first, 2),
        endpoint(two, 3),
        hostname="foo",
        domainname="bar.test",
        extra_hosts=(("db", "1.2.3.4"), ("gw", "host-gateway")),
    )
    lines = hosts(made)
    assert lines == [
        *BASE,
        "1.2.3.4\tdb",
        "172.17.0.1\tgw",
        "10.1.0.2\tfoo.bar.test foo",
        "10.2.0.3\tfoo.bar.test foo",
    ]


@pytest.mark.parametrize(
    ("hostname", "domainname", "names"),
    [("foo", "", "foo"), ("foo.ex.test", "", "foo.ex.test foo"), ("a.b", "c.d", "a.b.c.d a")],
)
def test_a_qualified_hostname_is_followed_by_the_short_one(hostname, domainname, names):
    made = sandbox("c", endpoint(network("a"), 2), hostname=hostname, domainname=domainname)
    assert hosts(made)[-1] == f"10.0.0.2\t{names}"


def test_a_container_on_the_host_has_the_hosts_hosts_and_its_own_extra_ones():
    assert files.hosts(sandbox("c", on_host=True), HOST, ()) == HOST.hosts
    assert hosts(sandbox("c", on_host=True, extra_hosts=(("db", "1.2.3.4"),)))[-1] == "1.2.3.4\tdb"


def test_only_a_container_with_ipv6_has_its_addresses_and_every_loopback_has_a_name_of_it():
    first, two = network("a", "10.1.0.0/16"), network("b", "10.2.0.0/16")
    dual = replace(endpoint(two, 3), address6=IPv6Interface("fd00::3/64"))
    extra = (("gw", "host-gateway"), ("six", "2001:db8::1"))
    plain = hosts(sandbox("c", endpoint(first, 2), hostname="foo", extra_hosts=extra))
    assert plain == [*BASE, "172.17.0.1\tgw", "10.1.0.2\tfoo"]
    both = hosts(sandbox("c", endpoint(first, 2), dual, hostname="foo", extra_hosts=extra))
    assert both == [
        *BASE,
        "172.17.0.1\tgw",
        "fd00::1\tgw",
        "2001:db8::1\tsix",
        "10.1.0.2\tfoo",
        "10.2.0.3\tfoo",
        "fd00::3\tfoo",
    ]


def test_directives_that_nobody_knows_are_kept():
    host = HostFiles("; x\nsortlist 130.155.160.0\nnameserver 10.0.0.53\nlookup  file bind\n")
    assert resolv(host).splitlines()[-2:] == ["sortlist 130.155.160.0", "lookup file bind"]
