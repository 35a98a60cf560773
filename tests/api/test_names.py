"""Name resolution in containers through netd and netd-dns, and the queries that reach outside resolvers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import pytest
from dnslib import QTYPE, RCODE, RR, A, DNSRecord
from scapy.layers.inet import IP, TCP, UDP

from tests.api.conftest import OUTSIDE, Box, Site
from tests.dns.dns_lab import Upstream53
from tests.lab import Lab

ASKER = Path(__file__).with_name("dns_load.py")
CORP = "127.0.0.54"
"""The host's resolver for corp.test."""


class NamedSite(Site):
    """A site with its own resolv.conf and a resolver for corp.test."""

    def spawn(self, *flags: str) -> subprocess.Popen[bytes]:
        self.root.mkdir(exist_ok=True)
        path = self.root / "names.toml"
        self.resolv_conf = self.root / "resolv.conf"
        self.resolv_conf.write_text(f"nameserver {OUTSIDE}\n")
        path.write_text(f'resolv_conf = "{self.resolv_conf}"\n[dns_domains]\n"corp.test" = ["{CORP}"]\n')
        return super().spawn("--config", str(path), *flags)


def gives(address: str):
    """Answer A queries for names in .test with an address, all others with NXDOMAIN."""

    def answer(packet: bytes) -> bytes:
        query = DNSRecord.parse(packet)
        reply = query.reply(aa=0)
        if not str(query.q.qname).lower().endswith("test."):
            reply.header.rcode = RCODE.NXDOMAIN
        elif query.q.qtype == QTYPE.A:
            reply.add_answer(RR(query.q.qname, QTYPE.A, rdata=A(address), ttl=0))
        return bytes(reply.pack())

    return answer


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    laboratory = Lab()
    made = NamedSite(laboratory, tmp_path_factory.mktemp("site"))
    servers = [
        Upstream53(made.outside.fd, OUTSIDE, gives("192.0.2.1")),
        Upstream53(made.machine.fd, CORP, gives("192.0.2.2")),
    ]
    made.start()
    yield made
    made.close()
    for server in servers:
        server.close()
    laboratory.close()


def ask(box: Box, name: str, kind: str = "A", tcp: bool = False) -> dns.message.Message:
    query = dns.message.make_query(name, kind)
    how = dns.query.tcp if tcp else dns.query.udp
    return box.node.run(lambda: how(query, "127.0.0.11", timeout=5))


def exists(box: Box, name: str, kind: str) -> bool:
    """Return whether the name exists and has no records of the type."""
    reply = ask(box, name, kind)
    return reply.rcode() == dns.rcode.NOERROR and not reply.answer


def test_every_name_of_a_container_leads_to_both_of_its_addresses(place):
    place.network("n", EnableIPv6=True, IPAM=dual("10.6.0.0/16", "fd00:6::/64"))
    c = place.sandbox("c", {"n": {"Aliases": ["alias", "*.app"]}}, Hostname="myhost")
    other = place.sandbox("other", "n")
    for name in ("c", "c.n", "C.n", "ALIAS", "alias.n", c.id[:12], "myhost", "x.app", "y.x.app", "x.app.n"):
        assert (other.resolve(name), other.resolve(name, "AAAA")) == (["10.6.0.2"], ["fd00:6::2"]), name
    for address in ("10.6.0.2", "fd00:6::2"):
        assert other.resolve(ip_address(address).reverse_pointer, "PTR") == ["c.n."]
    for name in (c.id[:13], c.id[:11], "app", "n"):
        assert other.resolve(name) in (None, []), name
    place.network("v4", "10.7.0.0/16")
    only4 = [place.sandbox(f"w{n}", {"v4": {"Aliases": ["all"]}}) for n in range(3)]
    for kind in ("AAAA", "MX", "HTTPS", "TXT"):
        assert exists(only4[0], "w1", kind), kind
    assert len({tuple(str(ask(only4[0], "all").answer[0][0])) for _ in range(9)}) == 3, "each is first in turn"
    only4[2].remove()
    assert only4[0].resolve("all") == ["10.7.0.2", "10.7.0.3"]
    assert only4[0].resolve("c") is None, "it is on no network of c's"


def test_a_container_with_ipv6_alone_asks_the_same_server(place):
    place.network("six", EnableIPv4=False, EnableIPv6=True, IPAM=dual("fd00:66::/64"))
    a, b = place.sandbox("a", "six"), place.sandbox("b", "six")
    assert a.resolve("b", "AAAA") == ["fd00:66::3"] and a.resolve("b") == []
    assert b.resolve(ip_address("fd00:66::2").reverse_pointer, "PTR") == ["a.six."]
    assert a.resolve("host.docker.internal", "AAAA") == ["fd00:66::1"] and a.resolve("host.docker.internal") == []
    assert a.resolve("example.test") == ["192.0.2.1"], "the query is sent by the host"
    hosts = a.view["Hosts"].splitlines()
    assert hosts[1].startswith("::1\tlocalhost") and hosts[-1] == f"fd00:66::2\t{a.id[:12]}"


def test_the_host_is_found_on_the_askers_own_way_out(place):
    place.network("out", "10.8.0.0/16", EnableIPv6=True)
    place.network("inside", "10.9.0.0/16", Internal=True)
    inner = place.sandbox("inner", "inside")
    for name in ("host.docker.internal", "host.netd.internal"):
        assert inner.resolve(name) == ["10.9.0.1"]
        assert exists(inner, name, "AAAA")
    place.connect("out", inner.id)
    assert inner.resolve("host.docker.internal") == ["10.8.0.1"]
    assert inner.resolve("host.docker.internal", "AAAA") == [inner.settings["Networks"]["out"]["IPv6Gateway"]]
    place.disconnect("out", inner.id)
    assert inner.resolve("host.docker.internal") == ["10.9.0.1"]


def test_services_are_found_by_their_alias_and_by_number(place):
    place.network("n", "10.6.0.0/16")
    bindings = {"5353/udp": [{"HostPort": "0"}]}
    ports = {"ExposedPorts": ["80/tcp", "443/tcp"], "PortBindings": bindings}
    place.sandbox("web", {"n": {"Aliases": ["_http._tcp", "_mdns._udp"]}}, **ports)
    asker = place.sandbox("asker", "n")
    assert asker.resolve("_http._tcp", "SRV") == ["0 0 443 web.n.", "0 0 80 web.n."]
    assert asker.resolve("_HTTP._tcp.web.n", "SRV") == ["0 0 443 web.n.", "0 0 80 web.n."]
    assert asker.resolve("_mdns._udp", "SRV") == ["0 0 5353 web.n."]
    assert asker.resolve("_443._tcp.web", "SRV") == ["0 0 443 web.n."]
    assert [str(record) for rrset in ask(asker, "_443._tcp.web", "SRV").additional for record in rrset] == ["10.6.0.2"]
    assert asker.resolve("_444._tcp.web", "SRV") is None and exists(asker, "_http._tcp", "A")


def test_nothing_of_ours_is_seen_outside(place):
    place.network("front-end", EnableIPv6=True, IPAM=dual("10.6.0.0/16", "fd00:6::/64"))
    place.network("back-end", "10.7.0.0/16")
    aliases = {"Aliases": ["www", "*.app", "_http._tcp", "api.shop"]}
    web = place.sandbox("web", {"front-end": aliases}, Hostname="host1", ExposedPorts=["80/tcp"])
    asker = place.sandbox("asker", "front-end", Links=["web:store"])
    place.sandbox("other", "back-end")
    tap = place.lab.tap(place.outside, next(link for link in place.outside.links() if link.startswith("eth")))
    ours = ["web", "www", "web.front-end", "x.app", "api.shop", "host1", web.id[:12], "store", "_http._tcp", "Web"]
    ours += ["_80._tcp.web", "_81._tcp.web", "_http._tcp.web", "host.docker.internal", "host.netd.internal"]
    ours += [ip_address(f"10.{last}").reverse_pointer for last in ("6.0.2", "6.0.1", "6.9.9", "7.0.2")]
    ours += [ip_address(f"fd00:6::{last}").reverse_pointer for last in ("2", "1", "99")]
    ours += ["1.0.17.172.in-addr.arpa", "6.10.in-addr.arpa", "0.6.10.in-addr.arpa", "x.0.6.10.in-addr.arpa"]
    ours += [f"{first}0.0.0.0.0.0.0.0.6.0.0.0.0.0.d.f.ip6.arpa" for first in ("", "9.", "x.")]
    kinds = ("A", "AAAA", "PTR", "MX", "TXT", "SRV", "SOA", "NS", "CNAME", "DS", "HTTPS", "ANY")
    for name in ours:
        for kind in kinds:
            ask(asker, name, kind, tcp=kind == "TXT")
    for name in ("shop", "app", "front-end"):
        assert exists(asker, name, "A") and exists(asker, name, "AAAA"), "a name above ours"
    assert asker.resolve("last.test") == ["192.0.2.1"]
    seen = []

    def last(packet) -> bool:
        """Return all queries on the link up to the last one."""
        if IP in packet and packet[IP].dst == OUTSIDE and isinstance(packet[IP].payload, UDP | TCP):
            seen.extend(filter(None, [bytes(packet[IP].payload.payload)[12:].lower()]))
        return b"\4last\4test\0\0\1\0\1" in seen

    tap.expect(last)
    assert len(seen) == 1, seen


def dual(*subnets: str) -> dict:
    return {"Config": [{"Subnet": subnet} for subnet in subnets]}


def test_names_of_others_are_asked_where_the_configuration_says(place):
    web = place.sandbox("web")
    assert web.resolve("a.test") == ["192.0.2.1"] and web.resolve("a.b.corp.test") == ["192.0.2.2"]
    assert web.resolve("example.org") is None
    own = place.sandbox("own", Dns=["127.0.0.11", OUTSIDE])
    assert own.resolve("a.corp.test") == ["192.0.2.1"], "a container's own servers are asked for everything"
    circle = place.sandbox("circle", Dns=["127.0.0.11"])
    assert ask(circle, "a.test").rcode() == dns.rcode.SERVFAIL, "netd-dns does not query itself"


def test_an_internal_container_asks_its_own_server_on_its_network_and_nobody_else(place):
    place.network("inside", "10.9.0.0/16", Internal=True)
    server = place.sandbox("server", "inside")
    plain, own = place.sandbox("plain", "inside"), place.sandbox("own", "inside", Dns=[server.address("inside")])
    answering = Upstream53(server.node.fd, server.address("inside"), gives("192.0.2.9"))
    try:
        assert plain.resolve("a.test") is None and plain.resolve("a.corp.test") is None
        assert own.resolve("a.test") == ["192.0.2.9"]
        place.connect("bridge", plain.id)
        assert plain.resolve("a.test") == ["192.0.2.1"]
        place.disconnect("bridge", plain.id)
        assert plain.resolve("a.test") is None
    finally:
        answering.close()


def test_the_hosts_file_is_followed_and_ndots_keeps_single_labels_at_home(place):
    web = place.sandbox("web")
    try:
        place.resolv_conf.write_text("nameserver 127.0.0.1\n")
        local = Upstream53(place.machine.fd, "127.0.0.1", gives("192.0.2.7"))
        assert web.resolve("a.test") == ["192.0.2.7"], "a server on the host's own loopback"
        assert web.resolve("single") is None and local.names()[-1] == "single."
        place.resolv_conf.write_text("nameserver 127.0.0.1\noptions ndots:1\n")
        asked = place.sandbox("asked")
        before = len(local.asked)
        assert exists(asked, "single", "A") and exists(asked, "single", "AAAA") and len(local.asked) == before
        local.close()
    finally:
        place.resolv_conf.write_text(f"nameserver {OUTSIDE}\n")


def come_and_go(place: Site, number: int) -> None:
    body = place.request(f"c{number}", {"crowd": {"Aliases": ["all", f"a{number}"]}})
    place.ask(201, "POST", "/netd/v1/sandboxes", body)
    place.remove(body["Id"])


def test_no_query_is_lost_while_five_hundred_containers_start_and_stop(place):
    place.network("crowd", "10.20.0.0/16")
    web, client = place.sandbox("web", "crowd"), place.sandbox("client", "crowd")
    words = client.node.argv(sys.executable, str(ASKER), web.address("crowd"))
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[client.node.fd]) as asking:
        begin = time.monotonic()
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(partial(come_and_go, place), range(500)))
        took = time.monotonic() - begin
        out, _ = asking.communicate()
    found = json.loads(out)
    print(f"{took:.1f} s, {found}")
    assert (found["lost"], found["wrong"]) == (0, 0)
    assert found["sent"] > 50 * took, "queries were sent during the whole change"
    assert client.resolve("all") is None and client.resolve("c499") is None
