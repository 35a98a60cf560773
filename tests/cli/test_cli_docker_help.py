"""netctl's commands, flags and filters beside those of docker 28.5.2, of compose 2.40.3 and of the daemons."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netd.cli.compose.global_flags import AFTER_VERB
from netd.cli.compose.global_flags import FLAGS as COMPOSE
from netd.cli.index import find
from netd.cli.left_out import COMMANDS, FLAGS
from netd.cli.main import GLOBAL, load
from netd.cli.parse import filter_flags
from netd.common.events import FILTERS as EVENT_FILTERS
from netd.engine.networks import network_filters
from runtime.api import build, registries, volumes
from runtime.engine.views import image_filters, listing

RECORDED = {
    command: flags
    for file in ("docker_help.json", "compose_help.json")
    for command, flags in json.loads(Path(__file__).with_name(file).read_text()).items()
}
LONG_ONLY = {("", "help"), ("h", "help")}


def flags_of(verb: str) -> set[tuple[str, str]]:
    flags = COMPOSE if verb == "compose" else load(verb).flags if verb else GLOBAL
    if verb.startswith("compose "):
        flags = (*flags, *AFTER_VERB)
    return {(short, name) for flag in flags for name in (flag.name, *flag.aliases) for short in (flag.short, "")}


@pytest.mark.parametrize("command", RECORDED)
def test_each_command_and_flag_of_docker_is_there_or_left_out_with_a_reason(command):
    words = command.split()
    if any(" ".join(words[:length]) in COMMANDS for length in (1, 2, 3) if words):
        return
    verb, rest = (command, []) if command == "compose" else find(words) if words else ("", [])
    assert (verb or not words) and not rest, f"netctl has no {command}"
    known = flags_of(verb) | LONG_ONLY
    wanted = {(letter, name) for letter, _, name in (flag.partition(":") for flag in RECORDED[command])}
    wanted = {pair for pair in wanted if (verb, pair[1]) not in FLAGS and not (not verb and pair[1] == "version")}
    assert not wanted - known


def test_nothing_is_left_out_that_is_there():
    for verb, flag in FLAGS:
        assert flag not in {name for _, name in flags_of(verb)}
        assert any(find(command.split() if command else [])[0] == verb for command in RECORDED)
    assert not [name for name in COMMANDS if find(name.split())[0]]


def test_a_command_that_is_left_out_is_answered_with_the_reason(netctl):
    for words in (["swarm", "init"], ["context", "ls"], ["trust", "inspect"]):
        said = netctl(*words)
        assert said.code == 1 and said.err == f"netctl: netctl has no '{words[0]}': {COMMANDS[words[0]]}\n"


def test_a_flag_that_is_left_out_is_answered_with_the_reason(netctl):
    for words, flag, verb in (
        (["compose", "build", "--sbom", "x"], "sbom", "compose build"),
        (["image", "ls", "--tree"], "tree", "image ls"),
        (["--host", "tcp://x", "ps"], "host", ""),
    ):
        said = netctl(*words)
        place = f" for {verb}" if verb else ""
        assert (said.code, said.err) == (125, f"netctl: netctl has no flag --{flag}{place}: {FLAGS[verb, flag]}\n")


@pytest.mark.parametrize(
    ("keys", "accepted"),
    [
        (filter_flags.CONTAINERS, listing.KEYS),
        (filter_flags.CONTAINER_PRUNE, listing.PRUNE_KEYS),
        (filter_flags.IMAGES, image_filters.LIST_KEYS),
        (filter_flags.IMAGE_PRUNE, image_filters.PRUNE_KEYS),
        (filter_flags.NETWORKS, network_filters.LIST_FILTERS),
        (filter_flags.NETWORK_PRUNE, network_filters.PRUNE_FILTERS),
        (filter_flags.VOLUMES, volumes.LIST_KEYS),
        (filter_flags.VOLUME_PRUNE, volumes.PRUNE_KEYS),
        (filter_flags.SEARCH, registries.SEARCH_KEYS),
        (filter_flags.BUILD_CACHE, build.CACHE_KEYS),
        (filter_flags.EVENTS, EVENT_FILTERS),
    ],
)
def test_the_filters_are_those_of_the_daemons(keys, accepted):
    assert set(keys) == accepted


@pytest.mark.parametrize(
    "words", [["ps"], ["images"], ["network", "ls"], ["volume", "ls"], ["events"], ["system", "prune"]]
)
def test_an_unknown_filter_is_answered_with_the_known_ones(peer, netctl, words):
    said = netctl(*words, "--filter", "zork=1")
    assert said.code == 125 and not peer.asked
    assert "unknown filter 'zork'; use " in said.err and "label" in said.err
