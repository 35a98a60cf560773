"""Properties of interpolation, merging and reading that hold for all values."""

from __future__ import annotations

import string

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from netd.compose.errors import ComposeError
from netd.compose.files.merging import merge
from netd.compose.files.quantities import go_duration, nanoseconds
from netd.compose.files.rendering import escaped
from netd.compose.files.unique import enforce
from netd.compose.reading import env_files
from netd.compose.reading.interpolation import InvalidTemplate, MissingVariable, Variables, substitute
from netd.compose.reading.positions import Positions
from netd.compose.reading.yaml_reader import read

NAMES = st.text(string.ascii_letters, min_size=1, max_size=5)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=30)
VALUES = st.dictionaries(NAMES, TEXTS, max_size=4)
SCALARS = st.one_of(st.integers(-(2**63), 2**64 - 1), st.booleans(), st.text(string.printable, max_size=8))
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=12
)
MAPPINGS = st.dictionaries(NAMES, TREES, max_size=4)


@given(TEXTS, VALUES)
def test_an_escaped_text_is_what_it_was_after_interpolation(text, values):
    assert substitute(escaped(text), Variables(values)) == text


@given(st.text("${}:-?+A\\x", max_size=25), st.dictionaries(st.sampled_from("AX"), TEXTS))
def test_interpolation_gives_a_text_or_an_error_of_its_own(text, values):
    try:
        assert isinstance(substitute(text, Variables(values)), str)
    except (InvalidTemplate, MissingVariable):
        pass


@given(NAMES, TEXTS, st.text(string.ascii_letters, max_size=5))
def test_defaults_replace_what_is_unset_or_empty(name, value, default):
    values = Variables({name: value})
    assert substitute(f"${{{name}:-{default}}}", values) == (value or default)
    assert substitute(f"${{{name}-{default}}}", values) == value
    assert substitute(f"${{{name}:+{default}}}", values) == (default if value else "")
    assert substitute(f"${{{name}-{default}}}", Variables({})) == default


@given(MAPPINGS)
def test_merging_with_nothing_changes_nothing(tree):
    assert merge(tree, {}, Positions()) == tree
    assert merge({}, tree, Positions()) == tree
    assert merge(tree, None, Positions()) == tree


@given(MAPPINGS, MAPPINGS)
def test_merging_leaves_its_arguments_and_keeps_all_keys(base, over):
    before = repr((base, over))
    try:
        merged = merge(base, over, Positions())
    except ComposeError:
        return
    finally:
        assert repr((base, over)) == before
    assert merged.keys() == base.keys() | over.keys()


@given(st.lists(st.integers(0, 5), max_size=6), st.lists(st.integers(0, 5), max_size=6))
def test_a_list_with_unique_entries_has_the_last_value_of_each_key(first, second):
    environment = [f"K{number}={index}" for index, number in enumerate([*first, *second])]
    tree = {"services": {"a": {"environment": environment}}}
    once = enforce(tree)
    expected = dict(entry.split("=") for entry in environment)
    assert dict(entry.split("=") for entry in once["services"]["a"]["environment"]) == expected
    assert enforce(once) == once


@given(MAPPINGS)
def test_what_a_yaml_library_writes_is_read_as_it_was(tree):
    text = yaml.safe_dump(tree, default_style='"', allow_unicode=True)
    documents = read(text, "f")
    assert documents[0].value == tree
    assert () in documents[0].positions


@given(st.text(string.printable + "é\0", max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        read(text, "f")
    except ComposeError as error:
        assert "\n" not in str(error)


@given(st.text(string.printable, max_size=60))
def test_any_env_file_is_read_or_refused(text):
    try:
        env_files.parse(text, "f", {"A": "1"})
    except ComposeError as error:
        assert "\n" not in str(error)


@given(st.integers(0, 2**63 - 1))
def test_durations_are_read_as_they_are_written(total):
    assert nanoseconds(go_duration(total)) == total


@pytest.mark.parametrize(
    ("total", "text"),
    [(0, "0s"), (1, "1ns"), (1500, "1.5µs"), (10**9, "1s"), (90 * 10**9, "1m30s"), (3600 * 10**9, "1h0m0s")],
)
def test_durations_are_written_as_go_writes_them(total, text):
    assert go_duration(total) == text
