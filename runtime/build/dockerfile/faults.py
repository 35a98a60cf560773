"""The error of a Dockerfile that cannot be read."""

from __future__ import annotations

from netd.common.errors import BadRequest

SHOWN = 200


class DockerfileError(BadRequest):
    """The Dockerfile is invalid.  With *line*, the message names it as Docker does."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(f"dockerfile parse error on line {line}: {message}" if line else message)
        self.fault = message
        self.line = line


def shortened(text: str) -> str:
    """Return a text of the Dockerfile for a message: one line of at most 200 characters."""
    plain = " ".join(text.split())
    return plain if len(plain) <= SHOWN else f"{plain[:SHOWN]}…"
