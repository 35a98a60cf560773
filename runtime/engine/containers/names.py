"""Container names: the rule for valid names, and generated names."""

from __future__ import annotations

import random
import re
from collections.abc import Container

from netd.common.errors import BadRequest

NAME_RULE = "[a-zA-Z0-9][a-zA-Z0-9_.-]"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z")
_MAX_LENGTH = 253
"""The longest name that netd resolves."""

_ADJECTIVE_WORDS = (
    "amber bold brisk calm clear clever crisp eager early fair fleet fresh gentle glad golden grand green happy hardy"
    " keen kind lively loyal lucky merry mild neat nimble noble proud quick quiet ready rosy rustic silent silver"
    " sleek smart snug solid steady sunny swift tidy true vivid warm wise witty young"
)
_NOUN_WORDS = (
    "acorn anchor badger beacon beech birch bridge brook canyon cedar cliff clover comet coral crane creek delta"
    " dune eagle ember falcon fern finch fjord forest glacier grove harbor hawk heron hill island ivy jay juniper"
    " lagoon lake lark lily linden lynx maple marten meadow moss oak orchid otter owl pebble pine plover pond"
    " poplar prairie quartz raven reef ridge river robin rowan sparrow spruce stork swan thistle tulip valley willow"
)
_ADJECTIVES, _NOUNS = tuple(_ADJECTIVE_WORDS.split()), tuple(_NOUN_WORDS.split())


def check_name(name: str) -> str:
    """Return *name* without a leading slash.  Raises BadRequest for an invalid name."""
    bare = name.removeprefix("/")
    if not _NAME.match(bare) or len(bare) > _MAX_LENGTH:
        raise BadRequest(f"Invalid container name ({name}), only {NAME_RULE} are allowed")
    return bare


def free_name(taken: Container[str], rng: random.Random) -> str:
    """Return a generated name that is not in *taken*."""
    while True:
        name = f"{rng.choice(_ADJECTIVES)}_{rng.choice(_NOUNS)}"
        for candidate in (name, f"{name}{rng.randrange(10)}", f"{name}{rng.randrange(10**6)}"):
            if candidate not in taken:
                return candidate
