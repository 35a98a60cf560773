"""Docker's ``filters`` query parameter: parsing and matching."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from netd.common.errors import BadRequest

_TRUE = ("true", "1")
_FALSE = ("false", "0")


@dataclass(frozen=True, slots=True)
class Filters:
    """Filter values by key.  At least one value of each key must match, but all values of ``label``."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def get(self, key: str) -> tuple[str, ...]:
        return self.values.get(key, ())

    def exact(self, key: str, *candidates: str) -> bool:
        """Return whether the key is absent or one of its values equals a candidate."""
        wanted = self.get(key)
        return not wanted or any(value in candidates for value in wanted)

    def matches(self, key: str, *candidates: str) -> bool:
        """Return whether the key is absent, or a value equals a candidate or matches one as a regular expression."""
        wanted = self.get(key)
        return not wanted or any(_equal_or_match(value, text) for value in wanted for text in candidates)

    def prefix(self, key: str, *candidates: str) -> bool:
        wanted = self.get(key)
        return not wanted or any(text.startswith(value) for value in wanted for text in candidates)

    def labels(self, labels: Mapping[str, str], key: str = "label") -> bool:
        """Return whether *labels* contain every ``k`` and ``k=v`` of the filter."""
        return all(_label(text, labels) for text in self.get(key))

    def selects_labels(self, labels: Mapping[str, str]) -> bool:
        """Return whether *labels* match ``label`` and, if that is given, do not match all of ``label!``."""
        return self.labels(labels) and not (self.get("label!") and self.labels(labels, "label!"))

    def flag(self, key: str) -> bool | None:
        """Return the key's boolean value, None if the key is absent.  Raises BadRequest for other values."""
        wanted = self.get(key)
        if not wanted:
            return None
        if len(wanted) > 1:
            raise BadRequest(f'got more than one value for filter key "{key}"')
        if wanted[0] not in _TRUE + _FALSE:
            raise BadRequest(
                f"""invalid value for filter '{key}', must be "true" (or "1"), or "false" (or "0"): {wanted[0]}"""
            )
        return wanted[0] in _TRUE


def parse(text: str, allowed: frozenset[str]) -> Filters:
    """Parse ``{"label":["a=b"]}`` or ``{"label":{"a=b":true}}``; false counts as true, as in Docker.

    Raises BadRequest on other forms and unknown keys.
    """
    if not text:
        return Filters()
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise BadRequest("invalid filter") from None
    if not isinstance(found, dict):
        raise BadRequest("invalid filter")
    if unknown := sorted(set(found) - allowed):
        raise BadRequest(f"invalid filter '{unknown[0]}'")
    return Filters({key: _texts(value) for key, value in found.items()})


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, dict):
        value = list(value)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise BadRequest("invalid filter")
    return tuple(value)


def _equal_or_match(value: str, text: str) -> bool:
    if value == text:
        return True
    try:
        return re.search(value, text) is not None
    except re.error:
        return False


def _label(wanted: str, labels: Mapping[str, str]) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)
