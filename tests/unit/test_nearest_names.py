"""The name that is offered for a misspelled word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.nearest_names import nearest

VERBS = ("attach", "build", "commit", "network", "ps", "pull", "push", "rm", "run", "start", "stats", "stop", "volume")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("netwrk", "network"),
        ("ntework", "network"),
        ("Network", "network"),
        ("strat", "start"),
        ("rnu", "run"),
        ("pusj", "push"),
        ("vol", "volume"),
        ("comm", "commit"),
        ("", ""),
        ("x", ""),
        ("zork", ""),
        ("swarm", ""),
        ("sta", ""),
        ("deploy", ""),
        ("p" * 100_000, ""),
    ],
)
def test_a_near_name_is_offered_and_nothing_unrelated(word, meant):
    assert nearest(word, VERBS) == meant


@given(st.text(max_size=100), st.lists(st.text(max_size=100), max_size=8))
def test_only_known_names_are_offered(word, known):
    assert nearest(word, known) in {"", *known}
