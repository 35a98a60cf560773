"""Properties of the decision about a query: answer, forward, or refuse."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from netd.dns.messages import special_names
from netd.dns.messages.decide import (
    Answer,
    EmptyResponse,
    Forward,
    QueryType,
    Question,
    Rcode,
    decide,
    holds_for_siblings,
)
from netd.dns.messages.name_lookup import ServicePort
from netd.dns.messages.reverse import Zones, parse
from netd.dns.records import MutableRecords, NetworkRecords, Service, Upstream, View, difference, fold

labels = st.text("abxyz-", min_size=1, max_size=3)
names = st.lists(labels, min_size=1, max_size=3).map(".".join)
v4 = st.ip_addresses(v=4).map(str)
v6 = st.ip_addresses(v=6).map(str)
addresses = st.lists(v4 | v6, min_size=1, max_size=4).map(tuple)
offers = st.lists(st.builds(Service, names, st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=2).map(tuple)
records = st.builds(
    NetworkRecords,
    names,
    st.dictionaries(names, addresses, max_size=6),
    st.dictionaries(v4 | v6, names, max_size=3),
    services=st.dictionaries(names.map("_{0}._tcp".format), offers, max_size=3),
)
networks = st.dictionaries(st.sampled_from(["n1", "n2", "n3"]), records)
upstreams = st.lists(st.builds(Upstream, v4, st.booleans()), max_size=3).map(tuple)
views = st.builds(
    View,
    st.lists(st.sampled_from(["n1", "n2", "n3"]), unique=True).map(tuple),
    st.just({}),
    upstreams,
    st.booleans(),
)
types = st.sampled_from([*QueryType, 15, 16, 33, 65, 0])


dotted = st.lists(labels | st.sampled_from(["*", "_tcp", "internal", "host", "docker"]), min_size=1, max_size=4).map(
    ".".join
)


@given(dotted, labels, types, views, networks, st.booleans(), st.lists(dotted, max_size=2), st.data())
def test_a_decision_to_forward_that_is_kept_for_a_domain_is_that_of_each_name_in_it(
    name, sibling, kind, view, known, has_gateway, domains, data
):
    domain_servers = tuple((domain, (Upstream("192.0.2.9"),)) for domain in domains)
    view = replace(view, gateways=("10.0.0.1",) if has_gateway else (), domains=domain_servers)
    wild = {data.draw(dotted): ("10.0.0.2",) for _ in range(data.draw(st.integers(0, 2)))}
    known = {**known, "n1": NetworkRecords(data.draw(dotted), wild)}
    question = Question(name, kind)
    decision = decide(question, view, known)
    assume(isinstance(decision, Forward) and holds_for_siblings(question, view, known))
    other = Question(".".join((sibling, *name.split(".")[1:])), kind)
    assert decide(other, view, known) == decision


@given(names, types, views, networks)
def test_an_answer_comes_from_a_network_of_the_asker(name, kind, view, known):
    decision = decide(Question(name, kind), view, known)
    if isinstance(decision, Answer):
        shared = [known[network] for network in view.networks if network in known]
        allowed = {address for network in shared for found in network.names.values() for address in found}
        assert set(decision.addresses) <= allowed


@given(names, types, views, networks)
def test_a_name_of_ours_is_never_asked_elsewhere(name, kind, view, known):
    assume(kind not in (QueryType.AXFR, QueryType.IXFR))
    shared = [known[network] for network in view.networks if network in known]
    ours = any(name in network.names for network in shared) or any(
        name == f"{alias}.{network.name}" for network in shared for alias in network.names
    )
    if ours:
        assert isinstance(decide(Question(name, kind), view, known), Answer)


@given(names, views, networks)
def test_the_first_network_that_knows_a_name_answers_alone(name, view, known):
    first = next((known[n] for n in view.networks if n in known and name in known[n].names), None)
    if first is not None:
        decision = decide(Question(name, QueryType.ANY), view, known)
        assert decision == Answer(addresses=first.names[name])


@given(names, views, networks)
def test_families_share_the_addresses_between_them(name, view, known):
    every, four, six = (
        decide(Question(name, kind), view, known) for kind in (QueryType.ANY, QueryType.A, QueryType.AAAA)
    )
    if isinstance(every, Answer):
        assert isinstance(four, Answer) and isinstance(six, Answer)
        assert sorted(four.addresses + six.addresses) == sorted(every.addresses)
        assert all(ip_address(server).version == 4 for server in four.addresses)


@given(names, types, views, networks)
def test_without_a_way_outside_only_resolvers_inside_are_asked(name, kind, view, known):
    decision = decide(Question(name, kind), view, known)
    if isinstance(decision, Forward) and not view.forward:
        assert decision.upstreams and all(upstream.inside for upstream in decision.upstreams)
    if isinstance(decision, Forward):
        assert set(decision.upstreams) <= set(view.upstreams)
        assert decision.upstreams or not view.upstreams, "the host's resolvers do not replace the container's own"


@given(names, st.sampled_from(["n1", "n2"]), records)
def test_a_name_is_found_with_its_network_in_any_case(name, network, known):
    for known_name, found in known.names.items():
        wanted = fold(f"{known_name}.{known.name.upper()}")
        if wanted not in known.names and not any(
            wanted == f"{other}.{known.name}" for other in known.names if other != known_name
        ):
            assert decide(Question(wanted, QueryType.ANY), View((network,)), {network: known}) == Answer(
                addresses=found
            )


@given(st.ip_addresses())
def test_reverse_names_lead_to_their_address(address):
    found = parse(address.reverse_pointer)
    assert found is not None and found.address == str(address)


outside = st.ip_addresses().filter(lambda address: not special_names.is_local(parse(address.reverse_pointer)))
"""Addresses other than loopback and unspecified ones."""


@given(outside, views)
def test_pointers_answer_and_unknown_addresses_of_our_subnets_do_not_exist(address, view):
    subnet = f"{address}/{address.max_prefixlen}"
    known = {"n1": NetworkRecords("net", {}, {str(address): "web.net"}), "n2": NetworkRecords("two", {}, {}, (subnet,))}
    question = Question(address.reverse_pointer, QueryType.PTR)
    assert decide(question, View(("n1", "n2")), known) == Answer(pointers=("web.net",))
    assert decide(Question(question.name, QueryType.A), View(("n1",)), known) == Answer()
    assert decide(question, View(("n2",)), known) == EmptyResponse(Rcode.NXDOMAIN)
    assert decide(question, View(()), known) == EmptyResponse(Rcode.NXDOMAIN), (
        "outside resolvers have no records of this host's networks"
    )
    assert isinstance(decide(question, View(("n1",)), {"n1": known["n1"]}, Zones()), Answer)
    assert isinstance(decide(question, View(()), {}), Forward)


@given(outside, st.data())
def test_the_zone_of_a_subnet_stays_here_and_what_is_above_exists(address, data):
    step = 8 if address.version == 4 else 4
    labels = address.reverse_pointer.split(".")
    most = len(labels) - 2
    whole = data.draw(st.integers(1, most - 1))
    subnet = str(ip_network(f"{address}/{whole * step}", strict=False))
    known, view = {"n1": NetworkRecords("net", subnets=(subnet,))}, View(("n1",))
    for digits in range(1, most + 1):
        name = ".".join(labels[most - digits :])
        decision = decide(Question(name, QueryType.PTR), view, known)
        if digits < whole:
            assert decision == Forward((), Rcode.NOERROR, exists=True), name
        else:
            assert decision == (EmptyResponse(Rcode.NXDOMAIN) if digits == most else Answer()), name
            assert decide(Question(f"_x.{name}", QueryType.PTR), view, known) == EmptyResponse(Rcode.NXDOMAIN)


@pytest.mark.parametrize(
    "name", ["1.10.in-addr.arpa", "x.1.2.10.in-addr.arpa", "in-addr.arpa", "1.ip6.arpa", "300.0.0.10.in-addr.arpa"]
)
def test_an_address_that_is_none_of_ours_is_somebody_elses(name):
    assert isinstance(decide(Question(name, QueryType.PTR), View(), {}), Forward)
    known = {"n1": NetworkRecords("net", subnets=("172.16.0.0/12", "fd00::/8"))}
    assert isinstance(decide(Question(name, QueryType.PTR), View(("n1",)), known), Forward)


def test_odd_reverse_names_inside_a_subnet_do_not_leave():
    known = {"n1": NetworkRecords("net", subnets=("10.1.0.0/16", "10.1.0.0/20"))}
    for name in (
        "x.1.10.in-addr.arpa",
        "300.0.1.10.in-addr.arpa",
        "0-25.0.1.10.in-addr.arpa",
        "5.4.3.1.10.in-addr.arpa",
    ):
        assert decide(Question(name, QueryType.PTR), View(("n1",)), known) == EmptyResponse(Rcode.NXDOMAIN), name


@given(st.lists(st.ip_addresses(v=4) | st.ip_addresses(v=6), max_size=6), st.data())
def test_zones_forget_what_is_taken_back(found, data):
    subnets = [
        str(ip_network(f"{address}/{data.draw(st.integers(0, address.max_prefixlen))}", strict=False))
        for address in found
    ]
    zones = Zones(subnets)
    zones.add(subnets)
    zones.remove(subnets)
    for address in found:
        assert zones.contains(parse(address.reverse_pointer))
    zones.remove(subnets)
    assert not any(zones.contains(parse(address.reverse_pointer)) for address in found)


def test_links_are_the_askers_own_and_come_before_names():
    known = {"n1": NetworkRecords("net", {"db": ("10.0.0.1",), "web": ("10.0.0.2",)})}
    view = View(("n1",), links={"web": "DB", "gone": "stopped"})
    assert decide(Question("web", QueryType.A), view, known) == Answer(("10.0.0.1",))
    assert decide(Question("web.net", QueryType.A), view, known) == Answer(("10.0.0.1",))
    assert decide(Question("web", QueryType.A), View(("n1",)), known) == Answer(("10.0.0.2",))
    assert decide(Question("gone", QueryType.A), view, known) == EmptyResponse(Rcode.NXDOMAIN), (
        "the name is not forwarded"
    )


def test_zone_transfers_are_refused():
    known = {"n1": NetworkRecords("net", {"db": ("10.0.0.1",)})}
    for kind in (QueryType.AXFR, QueryType.IXFR):
        assert decide(Question("db", kind), View(("n1",)), known) == EmptyResponse(Rcode.REFUSED)


@given(records, records)
def test_a_difference_applied_gives_the_new_records(old, new):
    ledger = MutableRecords(NetworkRecords(new.name, old.names, old.pointers, (), old.services))
    ledger.apply(difference(ledger.records, new))
    assert ledger.records == new
    assert ledger.records.ancestors == new.ancestors, "what is above names follows them"


NET = {
    "n1": NetworkRecords(
        "net",
        {
            "db.shop": ("10.0.0.1",),
            "*.app": ("10.0.0.2",),
            "*.deep.app": ("10.0.0.3",),
            "web.app": ("10.0.0.4",),
            "web": ("10.0.0.4", "fd00::4"),
            "c.example.com": ("10.0.0.5",),
        },
        services={
            "_web._tcp": (Service("web.net", 80, 2),),
            "_web._tcp.web": (Service("web.net", 80, 2),),
            "_tcp.web": (Service("web.net", 80, 2),),
            "_idle._udp": (Service("web.net", 0, 0),),
        },
    ),
    "n2": NetworkRecords("my.net", {"*.x.app": ("10.9.0.1",), "other": ("10.9.0.2",)}),
}
BOTH = View(("n1", "n2"))


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("web.app", "10.0.0.4"),
        ("other.app", "10.0.0.2"),
        ("a.b.app", "10.0.0.2"),
        ("a.deep.app", "10.0.0.3"),
        ("a.deep.app.net", "10.0.0.3"),
        ("a.x.app", "10.9.0.1"),
        ("a.x.app.my.net", "10.9.0.1"),
        ("*.app", "10.0.0.2"),
    ],
)
def test_exact_names_win_over_wildcards_and_the_longest_wildcard_wins(name, address):
    assert decide(Question(name, QueryType.A), BOTH, NET) == Answer((address,))
    assert decide(Question(name, QueryType.AAAA), BOTH, NET) == Answer()


@pytest.mark.parametrize("name", ["shop", "app", "net", "shop.net", "com", "_tcp.web"])
def test_a_name_above_one_of_ours_exists(name):
    """RFC 8020: NXDOMAIN would also deny the names below."""
    assert decide(Question(name, QueryType.A), View(("n1", "n2"), forward=False), NET) in (
        Answer(),
        EmptyResponse(Rcode.NOERROR),
    )


def test_a_name_above_ours_is_somebody_elses_all_the_same():
    """A host named ``c.example.com`` can query ``example.com`` and the DNSKEY records of ``com``."""
    for name, kind in (("example.com", QueryType.A), ("com", 48), ("example.com.net", QueryType.A)):
        assert decide(Question(name, kind), BOTH, NET) == Forward((), Rcode.NOERROR, exists=True), name
    assert decide(Question("app", QueryType.A), BOTH, NET) == Answer(), "no host outside has a name of one label"
    assert decide(Question("b.example.com", QueryType.A), BOTH, NET) == Forward(), "what is beside ours is not ours"


def test_services_are_found_by_alias_and_by_number():
    both = (ServicePort("web.net", 80, ("10.0.0.4", "fd00::4")), ServicePort("web.net", 81, ("10.0.0.4", "fd00::4")))
    for name in ("_web._tcp", "_web._tcp.web", "_web._tcp.net", "_web._tcp.web.net"):
        assert decide(Question(name, QueryType.SRV), BOTH, NET) == Answer(services=both), name
        assert decide(Question(name, QueryType.A), BOTH, NET) == Answer(), name
    assert decide(Question("_81._tcp.web.net", QueryType.SRV), BOTH, NET) == Answer(services=both[1:])
    assert decide(Question("_idle._udp", QueryType.SRV), BOTH, NET) == Answer(), "it exists and offers nothing"
    for name in ("_82._tcp.web", "_x._tcp.web", "_x._udp.web", "_80._tcp.other"):
        assert decide(Question(name, QueryType.SRV), BOTH, NET) == EmptyResponse(Rcode.NXDOMAIN), name
    for name in ("_web._tcp.example.org", "_x._tcp", "_82._tcp.example.com"):
        assert isinstance(decide(Question(name, QueryType.SRV), BOTH, NET), Forward), name


def test_the_host_has_names_that_give_way_to_a_containers():
    view = View(("n1",), gateways=("10.0.0.1", "fd00::1"), forward=False)
    for name in ("host.docker.internal", "host.netd.internal"):
        assert decide(Question(name, QueryType.A), view, NET) == Answer(("10.0.0.1",))
        assert decide(Question(name, QueryType.AAAA), view, NET) == Answer(("fd00::1",))
        assert decide(Question(name, 15), view, NET) == Answer()
        own = {"n1": NetworkRecords("net", {name: ("10.0.0.7",)})}
        assert decide(Question(name, QueryType.A), view, own) == Answer(("10.0.0.7",))
    assert decide(Question("docker.internal", QueryType.A), view, NET) == EmptyResponse(Rcode.NOERROR)


def test_the_longest_domain_says_who_is_asked():
    corp, lab, own = ((Upstream(f"192.0.2.{n}", inside=n == 3),) for n in (1, 2, 3))
    view = View(("n1",), upstreams=own, domains=(("corp", corp), ("lab.corp", lab), ("10.in-addr.arpa", lab)))
    for name, asked in {
        "a.corp": corp,
        "corp": corp,
        "lab.corp": lab,
        "b.a.lab.corp": lab,
        "xlab.corp": corp,
        "a.test": own,
        "acorp": own,
        "4.3.2.10.in-addr.arpa": lab,
    }.items():
        decision = decide(Question(name, QueryType.A), view, NET)
        assert isinstance(decision, Forward) and decision.upstreams == asked, name
    assert decide(Question("web", QueryType.A), view, NET) == Answer(("10.0.0.4",))
    inside = replace(view, forward=False)
    assert decide(Question("a.corp", QueryType.A), inside, NET) == Forward(own), "the host does not resolve it"
