"""Detach keys: the key sequence that ends an attach session without stopping the program.  Pure."""

from __future__ import annotations

import string

from netd.common.errors import BadRequest

DEFAULT = "ctrl-p,ctrl-q"
_SPECIAL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def parse(text: str) -> bytes:
    """Return the bytes of ``ctrl-p,ctrl-q`` or ``a,b``; an empty text gives the default.  Raises BadRequest."""
    return bytes(_key(part) for part in (text or DEFAULT).split(","))


def _key(text: str) -> int:
    if len(text) == 1 and text.isascii():
        return ord(text)
    if text.startswith("ctrl-") and len(text) == 6:
        last = text[5]
        if last in string.ascii_lowercase:
            return ord(last) - ord("a") + 1
        if last in _SPECIAL:
            return _SPECIAL[last]
    raise BadRequest(f"invalid detach keys: {text!r} is neither a character nor ctrl- and one of a-z@[\\]^_")


class DetachKeyDetector:
    """Removes the detach keys from a stream of input."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return (input for the program, whether the keys were pressed); input after the keys is dropped."""
        passed = bytearray()
        for byte in data:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    return bytes(passed), True
                continue
            passed += self._keys[: self._matched]
            self._matched = 1 if byte == self._keys[0] else 0
            if not self._matched:
                passed.append(byte)
        return bytes(passed), False
