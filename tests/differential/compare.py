"""Compare two sets of answers, path by path, and match what differs with the list of known differences.  Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIFFERENCES = Path(__file__).parent / "data" / "differences.json"

_MISSING = "<missing>"
_DETAILS = " inspect"
"""The end of the name of a call that depends on the call with the rest of the name."""

Answers = dict[str, Any]
"""Answer by name of the call, normalized."""


@dataclass(frozen=True, slots=True)
class Difference:
    call: str
    path: str
    """Keys of the answer joined by dots; list items by their position."""
    docker: Any
    ours: Any

    def __str__(self) -> str:
        return f"{self.call}: {self.path}\n      docker {_shown(self.docker)}\n      ours   {_shown(self.ours)}"


Place = tuple[str, str, str]
"""Topic, call and path of a difference."""


def known(path: Path = DIFFERENCES) -> dict[Place, str]:
    """Return the reason of each listed difference.  The file maps a reason to lines ``topic | call | path``."""
    listed: dict[str, list[str]] = json.loads(path.read_text())
    found: dict[Place, str] = {}
    for reason, lines in listed.items():
        for line in lines:
            topic, call, place = line.split(" | ")
            found[topic, call, place] = reason
    return found


def differences(docker: Answers, ours: Answers) -> Iterator[Difference]:
    """Yield every path at which an answer differs; of an answer with another status, the path ``status`` alone."""
    refused = {call for call in docker if _status(docker[call]) != _status(ours.get(call))}
    for call in docker | ours:
        left, right = docker.get(call, _MISSING), ours.get(call, _MISSING)
        if call in refused:
            yield Difference(call, "status", left, right)
        elif call.removesuffix(_DETAILS) not in refused or _MISSING not in (left, right):
            for path, there, here in _walk("", left, right):
                yield Difference(call, path, there, here)


def _status(answer: Any) -> Any:
    return (
        next((answer[key] for key in ("status", "create") if key in answer), None) if isinstance(answer, dict) else None
    )


def _walk(path: str, docker: Any, ours: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(docker, dict) and isinstance(ours, dict):
        for key in docker | ours:
            yield from _walk(_joined(path, key), docker.get(key, _MISSING), ours.get(key, _MISSING))
    elif isinstance(docker, list) and isinstance(ours, list) and len(docker) == len(ours):
        for place, (left, right) in enumerate(zip(docker, ours, strict=True)):
            yield from _walk(_joined(path, str(place)), left, right)
    elif docker != ours or type(docker) is not type(ours):
        yield path, docker, ours


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 400 else f"{text[:400]}…"
