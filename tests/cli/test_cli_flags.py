"""Parsing of command lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.cli.errors import UsageFault
from netd.cli.index import ALIASES, VERBS, find
from netd.cli.main import load
from netd.cli.parse.flags import many, parse, switch, text

FLAGS = (
    switch("interactive", "i", "x"),
    switch("tty", "t", "x"),
    switch("rm", "", "x"),
    many("publish", "p", "PORTS", "x"),
    text("name", "n", "NAME", "x", aliases=("called",)),
)


@pytest.mark.parametrize(
    ("words", "values", "args"),
    [
        (["-it", "img"], {"interactive": ["true"], "tty": ["true"]}, ["img"]),
        (["-itp", "80", "img"], {"interactive": ["true"], "tty": ["true"], "publish": ["80"]}, ["img"]),
        (["-p80:80", "-p=81", "-p", "82"], {"publish": ["80:80", "81", "82"]}, []),
        (["--name", "a", "--name=b"], {"name": ["a", "b"]}, []),
        (["--called=c"], {"name": ["c"]}, []),
        (["--name="], {"name": [""]}, []),
        (["--name", "--rm"], {"name": ["--rm"]}, []),
        (["--rm=false", "-t=0"], {"rm": ["false"], "tty": ["0"]}, []),
        (["a", "--rm", "b"], {"rm": ["true"]}, ["a", "b"]),
        (["a", "--", "--rm", "-"], {}, ["a", "--rm", "-"]),
        (["-"], {}, ["-"]),
    ],
)
def test_words_become_flags_and_plain_words(words, values, args):
    found = parse(words, FLAGS)
    assert {flag.name: found.many(flag.name) for flag in FLAGS if found.given(flag.name)} == values
    assert found.args == args


def test_flags_end_at_the_first_plain_word_where_a_command_follows():
    found = parse(["-i", "img", "-t", "--rm", "--", "x"], FLAGS, flags_first=True)
    assert (found.on("interactive"), found.on("tty"), found.args) == (True, False, ["img", "-t", "--rm", "--", "x"])


def test_the_last_of_repeated_values_counts():
    found = parse(["--name=a", "--name=b", "--rm", "--rm=false"], FLAGS)
    assert (found.text("name"), found.on("rm"), found.on("tty", default=True)) == ("b", False, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nam", "x"], "unknown flag: --nam (did you mean --name?)"),
        (["--zork"], "unknown flag: --zork"),
        (["-itx"], "unknown shorthand flag: 'x' in -itx"),
        (["--name"], "flag needs an argument: --name"),
        (["-itp"], "flag needs an argument: 'p' in -itp"),
        (["--rm=maybe"], 'invalid argument "maybe" for "--rm" flag: use true or false'),
    ],
)
def test_a_word_that_does_not_fit_is_named(words, message):
    with pytest.raises(UsageFault) as caught:
        parse(words, FLAGS)
    assert (caught.value.message, caught.value.code) == (message, 125)


def test_numbers_are_checked_where_they_are_used():
    assert parse(["--name", "7"], FLAGS).number("name") == 7
    assert parse([], FLAGS).number("name") is None
    with pytest.raises(UsageFault, match='invalid argument "x" for "-n, --name" flag: not a whole number'):
        parse(["-nx"], FLAGS).number("name")


@given(st.lists(st.text(max_size=6), max_size=6))
def test_any_words_are_either_understood_or_refused(words):
    try:
        found = parse(words, FLAGS)
    except UsageFault:
        return
    assert len(found.args) <= len(words)


@given(st.lists(st.text(max_size=6), max_size=6))
def test_all_words_after_two_dashes_are_plain(words):
    assert parse(["--", *words], FLAGS).args == words


def test_every_verb_loads_and_its_flags_are_unambiguous():
    for name in VERBS:
        command = load(name)
        assert command.usage.startswith(name)
        names = [known for flag in command.flags for known in (flag.name, *flag.aliases)]
        letters = [flag.short for flag in command.flags if flag.short]
        assert len(set(names)) == len(names) and len(set(letters)) == len(letters), name


def test_every_alias_leads_to_a_verb():
    assert set(ALIASES.values()) <= set(VERBS)
    assert find(["container", "ls", "-a"]) == ("ps", ["-a"])
    assert find(["images"]) == ("image ls", [])
    assert find(["network", "zork"]) == ("", ["network", "zork"])


def test_every_verb_has_help(netctl):
    for name in VERBS:
        if name != "__complete":
            said = netctl(*name.split(), "--help")
            assert said.code == 0 and said.out.startswith(f"Usage:  netctl {name}") and VERBS[name][1] in said.out


@pytest.mark.parametrize("words", [[], ["--help"], ["help"], ["-h"]])
def test_the_overview_names_every_verb(netctl, words):
    said = netctl(*words)
    assert said.code == 0
    for name in VERBS:
        assert name in said.out or name.startswith(("__", "compose ")) or name == "container inspect"


def test_the_help_of_compose_names_its_verbs_and_the_flags_before_them(netctl):
    for words in (["compose"], ["compose", "--help"], ["compose", "-f", "x.yaml"]):
        said = netctl(*words)
        assert said.code == 0 and "--project-directory" in said.out
        assert all(f"  {name} " in said.out for name in VERBS if name.startswith("compose "))


def test_a_verb_of_docker_that_compose_does_not_have_is_refused_with_the_reason(netctl):
    said = netctl("compose", "-p", "x", "publish")
    assert said.code == 1 and "netctl has no 'compose publish': projects are not stored" in said.err
    said = netctl("compose", "upp")
    assert said.code == 1 and "did you mean 'netctl compose up'?" in said.err
