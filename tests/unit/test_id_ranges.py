"""Id ranges of user namespaces: pools, entries of /etc/subuid, and ranges that never overlap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.common.errors import BadRequest
from runtime.container_config import HostConfig
from runtime.engine.network.user_namespaces import check, inherited_ids
from runtime.engine.options import id_ranges
from runtime.engine.options.id_ranges import RANGE_SIZE
from runtime.record import IdRange

POOLS = st.builds(
    lambda first, pieces, rest: IdRange(first=first, count=pieces * RANGE_SIZE + rest),
    st.integers(RANGE_SIZE, 2**30),
    st.integers(1, 12),
    st.integers(0, RANGE_SIZE - 1),
)
TAKEN = st.lists(
    st.builds(IdRange, first=st.integers(0, 2**31), count=st.integers(1, 4 * RANGE_SIZE), shared=st.booleans()),
    max_size=8,
)


def overlap(left, right):
    return left.first < right.first + right.count and right.first < left.first + left.count


@given(POOLS, TAKEN)
def test_a_new_range_is_in_the_pool_and_overlaps_no_other(pool, taken):
    try:
        found = id_ranges.lowest_free_range(pool, taken)
    except BadRequest as problem:
        assert "userns_range" in problem.message
        return
    assert found.count == RANGE_SIZE
    assert pool.first <= found.first and found.first + RANGE_SIZE <= pool.first + pool.count
    assert not any(overlap(found, piece) for piece in taken)


@given(POOLS)
def test_the_pool_is_used_up_to_its_last_range(pool):
    taken = []
    for _ in range(pool.count // RANGE_SIZE):
        taken.append(id_ranges.lowest_free_range(pool, taken))
    with pytest.raises(BadRequest):
        id_ranges.lowest_free_range(pool, taken)
    taken.pop(len(taken) // 2)
    assert len({piece.first for piece in (*taken, id_ranges.lowest_free_range(pool, taken))}) == len(taken) + 1


@given(POOLS, TAKEN)
def test_the_shared_range_is_never_one_that_a_container_has_alone(pool, taken):
    try:
        found = id_ranges.shared_range(pool, taken)
    except BadRequest:
        assert any(not piece.shared for piece in taken)
        return
    assert found.shared and (found.first, found.count) == (pool.first, RANGE_SIZE)
    assert not any(overlap(found, piece) and not piece.shared for piece in taken)


@given(st.text(max_size=40))
def test_no_text_is_read_as_a_range_of_the_hosts_own_users(text):
    try:
        found = id_ranges.parse(text, "userns_range")
    except BadRequest as problem:
        assert "userns_range" in problem.message
        return
    assert found.first >= RANGE_SIZE and found.count >= RANGE_SIZE and found.first + found.count < 2**32


@pytest.mark.parametrize(
    "text",
    [
        "", "100000", "100000:", ":65536", "0:65536", "1000:65536", "65535:65536", "100000:65535", "100000:0",
        "4294901760:65536", "4294967295:4294967295", "-1:65536", "+100000:65536", "100_000:65536", "100000:65536:1",
        " 100000:65536", "\u0661\u0660\u0660\u0660\u0660\u0660:65536", "9" * 5000 + ":65536",
    ],
)  # fmt: skip
def test_an_unusable_range_is_refused_with_its_source(text):
    with pytest.raises(BadRequest, match="userns_range"):
        id_ranges.parse(text, "userns_range")


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("netd:100000:65536\n", 100000),
        ("# comment\n\nal:1:2\ncontainers:300000:65536\nnetd:200000:65536\nnetd:400000:65536\n", 200000),
        ("containers:300000:65536", 300000),
    ],
)
def test_the_first_entry_of_netd_counts_then_that_of_containers(text, first):
    assert id_ranges.subordinate_range(text, text).first == first


@pytest.mark.parametrize("text", ["", "al:100000:65536\n", "netd\n", "netd:x:y\n", "netd:0:65536\n"])
def test_without_an_entry_that_serves_the_file_and_the_remedy_are_named(text):
    with pytest.raises(BadRequest, match="/etc/subuid"):
        id_ranges.subordinate_range(text, text)


def test_users_and_groups_have_to_have_the_same_range():
    with pytest.raises(BadRequest, match="/etc/subgid"):
        id_ranges.subordinate_range("netd:100000:65536", "netd:200000:65536")


A, B = IdRange(first=100000, count=RANGE_SIZE), IdRange(first=200000, count=RANGE_SIZE)


@pytest.mark.parametrize(
    ("wanted", "mode", "donors", "found"),
    [
        ("none", "", [], None), ("auto", "", [], None), ("none", "", [None], None), ("none", "host", [None], None),
        ("none", "", [A], A), ("auto", "", [A], A), ("auto", "auto", [A, A], A),
        ("none", "host", [A], BadRequest), ("auto", "", [None], BadRequest), ("auto", "auto", [None], BadRequest),
        ("remap", "", [None], BadRequest), ("auto", "", [A, B], BadRequest), ("none", "", [A, None], BadRequest),
    ],
)  # fmt: skip
def test_a_container_joins_only_those_with_the_same_ids(wanted, mode, donors, found):
    named = [(f"c{number}", ids) for number, ids in enumerate(donors)]
    if found is BadRequest:
        with pytest.raises(BadRequest, match="cannot join namespaces"):
            inherited_ids(wanted, mode, named)
    else:
        assert inherited_ids(wanted, mode, named) == found


@pytest.mark.parametrize(
    "host", [{"privileged": True}, {"network_mode": "host"}, {"pid_mode": "host"}, {"ipc_mode": "host"}]
)
def test_settings_that_need_the_hosts_namespaces_are_refused(host):
    with pytest.raises(BadRequest, match="user namespaces"):
        check(HostConfig(**host))
