"""A plan leads from any state to any other, parents first, and an interrupted plan can be completed."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface

from hypothesis import given
from hypothesis import strategies as st

from netd.facts import Bridge, DefaultRoute, Fact, Namespace, Pair, State, Step, Verb, plan, state

NAMES = ("a", "b", "c")
addresses = st.sampled_from([(IPv4Interface("10.0.0.1/24"),), (IPv4Interface("10.0.0.2/24"),)])
mtus = st.sampled_from([1400, 1500])
names = st.sampled_from(NAMES)
bridges = st.builds(
    Bridge, name=names, addresses=addresses | st.just(()), mtu=mtus, localnet=st.booleans(), owned=st.booleans()
)
namespaces = st.builds(Namespace, sandbox=names, sysctls=st.sampled_from([(), (("net.core.somaxconn", "1"),)]))
pairs = st.builds(
    Pair,
    host=st.sampled_from(["p", "q", "r", "s"]),
    bridge=names,
    alias=st.sampled_from(["", "x.y"]),
    sandbox=names,
    inside=st.sampled_from(["eth0", "eth1"]),
    mac=st.just("02:42:0a:00:00:02"),
    addresses=addresses,
    mtu=mtus,
)
routes = st.builds(
    DefaultRoute, sandbox=names, gateway=st.sampled_from([IPv4Address("10.0.0.1"), IPv4Address("10.0.0.9")])
)


def parents(fact: Fact) -> set[tuple[str, ...]]:
    match fact:
        case Pair():
            return {("bridge", fact.bridge), ("namespace", fact.sandbox)}
        case DefaultRoute():
            return {("namespace", fact.sandbox)}
    return set()


def whole(facts: list[Fact]) -> State:
    """Return the facts whose parents are also in *facts*: a state that a kernel can be in."""
    found = state(facts)
    return {key: fact for key, fact in found.items() if parents(fact) <= found.keys()}


states = st.lists(bridges | namespaces | pairs | routes, max_size=12).map(whole)


def replay(have: State, steps: tuple[Step, ...]) -> State:
    """Apply the steps to *have* as a kernel would, with the kernel's refusals."""
    kernel = dict(have)
    for step in steps:
        key = step.fact.key
        if step.verb is Verb.DEL:
            assert key in kernel
            del kernel[key]
            continue
        assert (key in kernel) == (step.verb is Verb.SET)
        assert kernel.get(key) == step.previous
        assert parents(step.fact) <= kernel.keys(), "a child is created before its parent"
        kernel[key] = step.fact
    return kernel


@given(want=states, have=states)
def test_applying_a_plan_gives_the_desired_state(want: State, have: State) -> None:
    assert replay(have, plan(want, have)) == want


@given(want=states, have=states, cut=st.integers(0, 20))
def test_a_new_plan_completes_an_interrupted_one(want: State, have: State, cut: int) -> None:
    kernel = replay(have, plan(want, have)[:cut])
    assert replay(kernel, plan(want, kernel)) == want


@given(have=states)
def test_the_plan_for_the_current_state_is_empty(have: State) -> None:
    assert plan(have, have) == ()


@given(want=states, have=states)
def test_each_object_is_touched_at_most_once(want: State, have: State) -> None:
    keys = [step.fact.key for step in plan(want, have)]
    assert len(keys) == len(set(keys))
    assert not {key for key in keys if want.get(key) == have.get(key)}


@given(have=states)
def test_children_are_removed_before_their_parents(have: State) -> None:
    gone: set[tuple[str, ...]] = set()
    for step in plan({}, have):
        assert not parents(step.fact) & gone
        gone.add(step.fact.key)


@given(want=states, have=states)
def test_removals_come_first_because_names_are_exclusive(want: State, have: State) -> None:
    verbs = [step.verb is Verb.DEL for step in plan(want, have)]
    assert verbs == sorted(verbs, reverse=True)
