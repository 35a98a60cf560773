"""Names of containers: the rule, and a name for those that were given none."""

from __future__ import annotations

import random
import re
from collections.abc import Container

from netd.common.errors import BadRequest

NAME_RULE = "[a-zA-Z0-9][a-zA-Z0-9_.-]"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z")
_LONGEST = 255

_KIND_WORDS = (
    "amber bold brisk calm clear clever crisp eager early fair fleet fresh gentle glad golden grand green happy hardy"
    " keen kind lively loyal lucky merry mild neat nimble noble proud quick quiet ready rosy rustic silent silver"
    " sleek smart snug solid steady sunny swift tidy true vivid warm wise witty young"
)
_THING_WORDS = (
    "acorn anchor badger beacon beech birch bridge brook canyon cedar cliff clover comet coral crane creek delta"
    " dune eagle ember falcon fern finch fjord forest glacier grove harbor hawk heron hill island ivy jay juniper"
    " lagoon lake lark lily linden lynx maple marten meadow moss oak orchid otter owl pebble pine plover pond"
    " poplar prairie quartz raven reef ridge river robin rowan sparrow spruce stork swan thistle tulip valley willow"
)
_KINDS, _THINGS = tuple(_KIND_WORDS.split()), tuple(_THING_WORDS.split())


def check_name(name: str) -> str:
    """Return *name* without the slash that clients may put before it.  Raises BadRequest when it breaks the rule."""
    bare = name.removeprefix("/")
    if not _NAME.match(bare) or len(bare) > _LONGEST:
        raise BadRequest(f"Invalid container name ({name}), only {NAME_RULE} are allowed")
    return bare


def free_name(taken: Container[str], choose: random.Random) -> str:
    """Return a readable name that is not in *taken*."""
    while True:
        name = f"{choose.choice(_KINDS)}_{choose.choice(_THINGS)}"
        for candidate in (name, f"{name}{choose.randrange(10)}", f"{name}{choose.randrange(10**6)}"):
            if candidate not in taken:
                return candidate
