"""Image names as users write them, and the full names that they stand for.  Pure.

``nginx`` is ``docker.io/library/nginx:latest``; listings show the short form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from netd.common.errors import BadRequest

DEFAULT_DOMAIN = "docker.io"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*\Z")
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?\Z")
_TAG = re.compile(r"\w[\w.-]{0,127}\Z", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_ID = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})\Z")


@dataclass(frozen=True, slots=True)
class Reference:
    """A repository with a tag or a digest; both are empty if neither was given."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """The full name without tag: ``docker.io/library/nginx``."""
        return f"{self.domain}/{self.path}"

    @property
    def short_repository(self) -> str:
        """The name as users write it: ``nginx``."""
        if self.domain != DEFAULT_DOMAIN:
            return self.repository
        return self.path.removeprefix("library/") if self.path.count("/") == 1 else self.path

    @property
    def full(self) -> str:
        """The key of the tag's record: ``docker.io/library/nginx:latest``."""
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag or 'latest'}"

    @property
    def short(self) -> str:
        """``nginx:latest``."""
        suffix = f"@{self.digest}" if self.digest else f":{self.tag or 'latest'}"
        return self.short_repository + suffix


def parse(text: str) -> Reference:
    """Parse an image name.  Raises BadRequest with Docker's text if it is invalid."""
    rest, _, digest = text.partition("@")
    if digest and not _DIGEST.match(digest):
        raise _invalid(text)
    rest, tag = _split_tag(rest)
    if tag is not None and not _TAG.match(tag):
        raise _invalid(text)
    domain, path = _split_domain(rest)
    if not _DOMAIN.match(domain):
        raise _invalid(text)
    if not _PATH.match(path):
        if _PATH.match(path.lower()):
            raise BadRequest(f"invalid reference format: repository name ({path}) must be lowercase")
        raise _invalid(text)
    if domain == DEFAULT_DOMAIN and re.fullmatch(r"library/[0-9a-f]{64}", path):
        raise BadRequest(
            f"invalid repository name ({path.removeprefix('library/')}), cannot specify 64-byte hexadecimal strings"
        )
    if len(domain) + len(path) > 255:
        raise BadRequest("repository name must not be more than 255 characters")
    return Reference(domain, path, tag or "", digest)


def with_tag(repository: str, tag: str) -> Reference:
    """Return the name with a tag or digest that is given apart; *repository* may also have it itself.

    Raises BadRequest with Docker's texts.
    """
    if not tag:
        return parse(repository)
    if _DIGEST.match(tag):
        return parse(f"{repository}@{tag}")
    if not _TAG.match(tag):
        raise BadRequest("invalid tag format")
    return replace(parse(repository), tag=tag, digest="")


def id_prefix(text: str) -> str | None:
    """Return the hexadecimal digits if *text* can be an image id or a prefix of one."""
    found = _ID.match(text)
    return found[1] if found else None


def _split_tag(text: str) -> tuple[str, str | None]:
    head, colon, tail = text.rpartition(":")
    if not colon or "/" in tail:
        return text, None
    return head, tail


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if slash and (any(c in first for c in ".:") or first == "localhost" or first != first.lower()):
        domain, path = first, rest
    else:
        domain, path = DEFAULT_DOMAIN, text
    if domain in ("index.docker.io", DEFAULT_DOMAIN):
        return DEFAULT_DOMAIN, path if "/" in path else f"library/{path}"
    return domain, path


def _invalid(text: str) -> BadRequest:
    return BadRequest(
        f"invalid reference format: {text!r} is not an image name such as nginx, example/app:1 or host:5000/app"
    )
