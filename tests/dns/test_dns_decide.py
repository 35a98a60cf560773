"""What a question deserves, as properties."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import assume, given
from hypothesis import strategies as st

from netd.dns.decide import Code, Forward, Question, Refuse, Reply, Type, decide, reversed_address
from netd.dns.records import Ledger, NetworkRecords, Upstream, View, difference, fold

labels = st.text("abxyz-", min_size=1, max_size=3)
names = st.lists(labels, min_size=1, max_size=3).map(".".join)
v4 = st.ip_addresses(v=4).map(str)
v6 = st.ip_addresses(v=6).map(str)
addresses = st.lists(v4 | v6, min_size=1, max_size=4).map(tuple)
records = st.builds(
    NetworkRecords, names, st.dictionaries(names, addresses, max_size=6), st.dictionaries(v4 | v6, names, max_size=3)
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
types = st.sampled_from([*Type, 15, 16, 33, 65, 0])


@given(names, types, views, networks)
def test_an_answer_comes_from_a_network_of_the_asker(name, kind, view, known):
    decision = decide(Question(name, kind), view, known)
    if isinstance(decision, Reply):
        shared = [known[network] for network in view.networks if network in known]
        allowed = {address for network in shared for found in network.names.values() for address in found}
        assert set(decision.addresses) <= allowed


@given(names, types, views, networks)
def test_a_name_of_ours_is_never_asked_elsewhere(name, kind, view, known):
    assume(kind not in (Type.AXFR, Type.IXFR))
    shared = [known[network] for network in view.networks if network in known]
    ours = any(name in network.names for network in shared) or any(
        name == f"{one}.{network.name}" for network in shared for one in network.names
    )
    if ours:
        assert isinstance(decide(Question(name, kind), view, known), Reply)


@given(names, views, networks)
def test_the_first_network_that_knows_a_name_answers_alone(name, view, known):
    first = next((known[n] for n in view.networks if n in known and name in known[n].names), None)
    if first is not None:
        decision = decide(Question(name, Type.ANY), view, known)
        assert decision == Reply(addresses=first.names[name])


@given(names, views, networks)
def test_families_share_the_addresses_between_them(name, view, known):
    every, four, six = (decide(Question(name, kind), view, known) for kind in (Type.ANY, Type.A, Type.AAAA))
    assert type(every) is type(four) is type(six)
    if isinstance(every, Reply):
        assert sorted(four.addresses + six.addresses) == sorted(every.addresses)
        assert all(ip_address(one).version == 4 for one in four.addresses)


@given(names, types, views, networks)
def test_without_a_way_outside_only_resolvers_inside_are_asked(name, kind, view, known):
    decision = decide(Question(name, kind), view, known)
    if isinstance(decision, Forward) and not view.forward:
        assert decision.upstreams and all(upstream.inside for upstream in decision.upstreams)
    if isinstance(decision, Forward):
        assert set(decision.upstreams) <= set(view.upstreams)
        assert decision.upstreams or not view.upstreams, "the host's resolvers do not stand in for the container's own"


@given(names, st.sampled_from(["n1", "n2"]), records)
def test_a_name_is_found_with_its_network_in_any_case(name, network, known):
    for one, found in known.names.items():
        wanted = fold(f"{one}.{known.name.upper()}")
        if wanted not in known.names and not any(
            wanted == f"{other}.{known.name}" for other in known.names if other != one
        ):
            assert decide(Question(wanted, Type.ANY), View((network,)), {network: known}) == Reply(addresses=found)


@given(st.ip_addresses())
def test_reverse_names_lead_to_their_address(address):
    assert reversed_address(address.reverse_pointer) == str(address)


@given(st.ip_addresses(), views)
def test_pointers_answer_and_unknown_addresses_of_our_subnets_do_not_exist(address, view):
    subnet = f"{address}/{address.max_prefixlen}"
    known = {"n1": NetworkRecords("net", {}, {str(address): "web.net"}), "n2": NetworkRecords("two", {}, {}, (subnet,))}
    question = Question(address.reverse_pointer, Type.PTR)
    assert decide(question, View(("n1", "n2")), known) == Reply(pointers=("web.net",))
    assert decide(Question(question.name, Type.A), View(("n1",)), known) == Reply()
    assert decide(question, View(("n2",)), known) == Refuse(Code.NXDOMAIN)
    assert isinstance(decide(question, View(()), known), Forward)


def test_an_address_that_is_not_whole_is_somebody_elses():
    for name in ("1.10.in-addr.arpa", "x.1.2.10.in-addr.arpa", "in-addr.arpa", "1.ip6.arpa", "300.0.0.10.in-addr.arpa"):
        assert reversed_address(name) is None
        assert isinstance(decide(Question(name, Type.PTR), View(), {}), Forward)


def test_links_are_the_askers_own_and_come_before_names():
    known = {"n1": NetworkRecords("net", {"db": ("10.0.0.1",), "web": ("10.0.0.2",)})}
    view = View(("n1",), links={"web": "DB", "gone": "stopped"})
    assert decide(Question("web", Type.A), view, known) == Reply(("10.0.0.1",))
    assert decide(Question("web.net", Type.A), view, known) == Reply(("10.0.0.1",))
    assert decide(Question("web", Type.A), View(("n1",)), known) == Reply(("10.0.0.2",))
    assert decide(Question("gone", Type.A), view, known) == Refuse(Code.NXDOMAIN), "it is nobody else's name"


def test_zone_transfers_are_refused():
    known = {"n1": NetworkRecords("net", {"db": ("10.0.0.1",)})}
    for kind in (Type.AXFR, Type.IXFR):
        assert decide(Question("db", kind), View(("n1",)), known) == Refuse(Code.REFUSED)


@given(records, records)
def test_a_difference_applied_gives_the_new_records(old, new):
    ledger = Ledger(NetworkRecords(new.name, old.names, old.pointers))
    ledger.apply(difference(ledger.records, new))
    assert ledger.records == new
