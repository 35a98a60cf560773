"""Errors of registries, worded as Docker words them.  Pure.

Sources: the distribution specification (error bodies), RFC 6750 (errors in ``WWW-Authenticate``), and the texts of
Docker 28, which clients match.
"""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from netd.common.errors import Problem
from runtime.registry.challenges import Challenge

_STATUS = {
    "BLOB_UNKNOWN": 404,
    "DENIED": 403,
    "DIGEST_INVALID": 400,
    "MANIFEST_INVALID": 400,
    "MANIFEST_UNKNOWN": 404,
    "NAME_INVALID": 400,
    "NAME_UNKNOWN": 404,
    "SIZE_INVALID": 400,
    "TAG_INVALID": 400,
    "TOOMANYREQUESTS": 429,
    "UNAUTHORIZED": 401,
    "UNAVAILABLE": 503,
    "UNSUPPORTED": 405,
}
_TEXTS = {
    "DENIED": "requested access to the resource is denied",
    "UNAUTHORIZED": "authentication required",
}
_BY_STATUS = {401: "UNAUTHORIZED", 403: "DENIED", 429: "TOOMANYREQUESTS"}
_BY_TOKEN_ERROR = {"invalid_token": "UNAUTHORIZED", "insufficient_scope": "DENIED"}
_LONGEST_TEXT = 600


class RegistryError(Problem):
    """A request to a registry failed.  ``code`` is the registry's error code, "" if it sent none."""

    def __init__(self, message: str, *, code: str = "", status: int = 500) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class BrokenTransfer(RegistryError):
    """A transfer ended early, or made no progress; the same request may succeed when it is repeated."""


class Unreachable(RegistryError):
    """No connection to a server; a server that was reached before may be back in a moment."""


class WrongContent(RegistryError):
    """A registry sent other bytes than it was asked for, or than it announced."""


class _ErrorEntry(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Body(msgspec.Struct):
    errors: list[_ErrorEntry] | None = None
    details: str = ""


def of_response(status: int, challenges: list[Challenge], body: bytes) -> RegistryError:
    """Return the error of a response with *status* of 400 or more."""
    if status >= 500:
        return RegistryError(f"received unexpected HTTP status: {status} {_phrase(status)}".rstrip())
    for challenge in challenges:
        code = _BY_TOKEN_ERROR.get(challenge.params.get("error", ""), "")
        if challenge.scheme == "bearer" and code:
            return of_code(code, challenge.params.get("error_description", ""))
    return _of_body(status, body)


def of_code(code: str, message: str = "") -> RegistryError:
    code = code[:60].upper()
    text = shown(message) or _TEXTS.get(code, "") or code.lower().replace("_", " ")
    return RegistryError(f"{code.lower().replace('_', ' ')}: {text}", code=code, status=_STATUS.get(code, 500))


def shown(text: str) -> str:
    """Return *text* of a registry for a message: without control characters, and of bounded length."""
    clean = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return clean if len(clean) <= _LONGEST_TEXT else f"{clean[:_LONGEST_TEXT]}…"


def _of_body(status: int, body: bytes) -> RegistryError:
    try:
        found = msgspec.json.decode(body, type=_Body)
    except (msgspec.DecodeError, RecursionError):
        found = _Body()
    if found.errors:
        return of_code(found.errors[0].code or "UNKNOWN", found.errors[0].message)
    if code := _BY_STATUS.get(status):
        return of_code(code, found.details)
    text = shown(body.decode("utf-8", "replace"))
    return RegistryError(f'error parsing HTTP {status} response body: it is no list of errors: "{text}"')


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
