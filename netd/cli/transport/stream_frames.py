"""Parsers for attached streams: frames from the daemon, detach keys from the terminal.  Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER = 8


class Frames:
    """Parser for Docker's stream frames: a header of eight bytes (stream, length), then the payload."""

    def __init__(self) -> None:
        self._header = b""
        self._stream = 1
        self._left = 0

    @property
    def complete(self) -> bool:
        """Whether the data so far ends with a complete frame."""
        return not self._left and not self._header

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield (stream, bytes): 1 is standard output, 2 is standard error, 3 is an error message of the daemon.

        Payload is yielded as it arrives, before its frame is complete.
        """
        while data:
            if self._left:
                piece, data = data[: self._left], data[self._left :]
                self._left -= len(piece)
                yield self._stream, piece
                continue
            missing = _HEADER - len(self._header)
            self._header, data = self._header + data[:missing], data[missing:]
            if len(self._header) == _HEADER:
                self._stream, self._left = self._header[0], int.from_bytes(self._header[4:], "big")
                self._header = b""


class DetachKeys:
    """Finds the detach keys in the input.  A partial match is held back, and sent when the next key does not match."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, typed: bytes) -> tuple[bytes, bool]:
        """Return the bytes to send, and whether the detach keys are complete."""
        if not self._keys or (not self._matched and self._keys[0] not in typed):
            return typed, False
        sent = bytearray()
        for byte in typed:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    return bytes(sent), True
                continue
            sent += self._keys[: self._matched]
            self._matched = int(byte == self._keys[0])
            if not self._matched:
                sent.append(byte)
        return bytes(sent), False


def detach_keys(text: str) -> bytes:
    """Return the bytes of keys such as ``ctrl-p,ctrl-q`` or ``x,y``.  Raises ValueError for the first invalid one."""
    return bytes(_key(word) for word in text.split(",") if word)


def _key(word: str) -> int:
    letter = word.lower().removeprefix("ctrl-")
    if letter != word.lower() and len(letter) == 1 and ((letter.isascii() and letter.isalpha()) or letter in "@[\\]^_"):
        return ord(letter.upper()) - 64
    if len(word) == 1 and word.isascii():
        return ord(word)
    raise ValueError(f"unknown key '{word}': use one letter, or ctrl- and a letter")
