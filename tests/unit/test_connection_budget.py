"""Which containers are over their budget of tracked connections."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from netd.common.mac import link_local
from netd.engine.state.connection_budget import budget_of, estimate, exceeds, sample_size, sources_of
from netd.host_protocol import ConnectionTable
from tests.unit.builders import endpoint, network, sandbox

FRONT, BACK = network("front", "10.1.0.0/16"), network("back", "10.2.0.0/16")
SANDBOXES = [sandbox(f"c{last}", endpoint(FRONT, last), endpoint(BACK, last)) for last in range(2, 6)]
OWNERS = {address.packed: sandbox.id for sandbox in SANDBOXES for address in sources_of(sandbox)}
STRANGER = bytes((192, 0, 2, 1))
samples = st.dictionaries(st.sampled_from([*OWNERS, STRANGER]), st.integers(1, 10_000))
numbers = st.integers(1, 1_000_000)


@given(sample=samples)
def test_all_entries_of_a_container_count_and_no_others(sample: dict[bytes, int]) -> None:
    wanted: dict[str, int] = {}
    for source, entries in sample.items():
        if source in OWNERS:
            wanted[OWNERS[source]] = wanted.get(OWNERS[source], 0) + entries
    assert estimate(sample, sum(sample.values()), SANDBOXES) == wanted


@given(sample=samples, factor=st.integers(1, 100))
def test_a_sample_stands_for_the_whole_table(sample: dict[bytes, int], factor: int) -> None:
    read = sum(sample.values())
    exact = estimate(sample, read, SANDBOXES)
    assert estimate(sample, read * factor, SANDBOXES) == {key: number * factor for key, number in exact.items()}


@given(sample=samples, budget=numbers, entries=numbers)
def test_nobody_exceeds_a_budget_that_the_table_has_not_reached(
    sample: dict[bytes, int], budget: int, entries: int
) -> None:
    """Why a table that is smaller than the budget need not be looked at."""
    entries = max(entries, sum(sample.values()))
    assume(entries <= budget)
    assert not any(exceeds(found, budget, already=False) for found in estimate(sample, entries, SANDBOXES).values())


@given(entries=st.integers(0, 1_000_000), budget=numbers)
def test_a_container_over_its_budget_stays_so_until_it_is_below_half(entries: int, budget: int) -> None:
    assert exceeds(entries, budget, already=False) == (entries > budget)
    assert exceeds(entries, budget, already=True) == (entries > budget // 2)


@given(budget=numbers, entries=numbers)
def test_a_sample_is_as_large_as_its_precision_takes(budget: int, entries: int) -> None:
    size = sample_size(ConnectionTable(entries, 1_000_000), budget)
    assert size >= 4096 and size * budget >= (entries - 1) * 256 - budget


@given(maximum=st.integers(0, 10_000_000))
def test_the_budget_is_a_quarter_of_the_table_or_what_is_configured(maximum: int) -> None:
    table = ConnectionTable(0, maximum)
    assert budget_of(None, table) == max(maximum // 4, 16_384)
    assert (budget_of(0, table), budget_of(7, table)) == (0, 7)


def test_an_interfaces_own_link_local_address_is_its_containers() -> None:
    both = sandbox("x", endpoint(FRONT, 9))
    assert link_local(both.endpoints[0].mac) in set(sources_of(both))
